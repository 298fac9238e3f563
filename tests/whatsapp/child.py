"""Runs a module in a process whose neonize knows only the server on loopback.

    python -m tests.whatsapp.child PORT MODULE [ARGUMENT ...]

The module runs as `__main__`, as `python -m MODULE` would run it, so that a test can start the product's own host
process by this entry instead of the host's.
"""

from __future__ import annotations

import runpy
import sys

import neonize  # noqa: F401 - loading the library is what the patch needs

from tests.whatsapp.patch import point_at


def main() -> None:
    _, port, module, *rest = sys.argv
    point_at(int(port))
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
