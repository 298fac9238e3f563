"""The tests of the server need the real library, which is there for some platforms alone: elsewhere that is said."""

from __future__ import annotations

import importlib.util
import sys

import pytest

MISSING = sys.platform != "linux" or importlib.util.find_spec("neonize") is None

collect_ignore_glob: list[str] = ["test_*.py"] if MISSING else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if MISSING:
        terminalreporter.write_line(
            "tests/whatsapp is skipped: it needs neonize on Linux, which is not installed"
        )
