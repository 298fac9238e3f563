"""The figures that the scenarios come to are shown at the end of a soak."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.figures import Row, table

pytest.register_assert_rewrite("tests.faults.promises")

ROWS = pytest.StashKey[list[Row]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Callable[[Row], None]:
    """Keeps a row for the table at the end."""
    return request.config.stash[ROWS].append


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash[ROWS]
    if rows and config.option.markexpr == "soak":
        terminalreporter.section("figures")
        terminalreporter.write_line(table(rows))
