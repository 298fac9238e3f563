"""The tests of the server need the real library, which is there for some platforms alone."""

from __future__ import annotations

import importlib.util
import sys

collect_ignore_glob: list[str] = []
if sys.platform != "linux" or importlib.util.find_spec("neonize") is None:
    collect_ignore_glob.append("test_*.py")
