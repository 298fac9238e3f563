"""A process that plays: an order on each line of stdin, what came of it on a line of stdout. It ends with stdin."""

from __future__ import annotations

import sys

import msgspec

from ops.bench.policies.grid import Order, Watch, fulfilled


def main() -> None:
    """Play until there are no more orders."""
    for line in sys.stdin.buffer:
        order = msgspec.json.decode(line, type=Order | Watch)
        sys.stdout.buffer.write(msgspec.json.encode(fulfilled(order)) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
