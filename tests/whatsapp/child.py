"""Runs a module in a process whose neonize knows only the server on loopback.

    python -m tests.whatsapp.child PORT MODULE [ARGUMENT ...]

The module runs as `__main__`, as `python -m MODULE` would run it, so that a test can start the product's own host
process by this entry instead of the host's.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from contextlib import suppress

from tests.whatsapp.patch import point_at


def main() -> None:
    _, port, module, *rest = sys.argv
    with suppress(ImportError):  # it brings libmagic along where the system has none
        importlib.import_module("pylibmagic")
    importlib.import_module("neonize")  # what the patch looks for is in memory from here on
    point_at(int(port))
    sys.argv = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
