"""Scenarios are played when a test asks for them, and their figures are shown at the end of a soak."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.checks import Outcome
from tests.faults.figures import Row, row, table
from tests.faults.plays import Play, perform

pytest.register_assert_rewrite("tests.faults.promises")

ROWS = pytest.StashKey[list[Row]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Callable[[Row], None]:
    """Keeps a row for the table at the end."""
    return request.config.stash[ROWS].append


@pytest.fixture(scope="session")
def played(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, figures: Callable[[Row], None]
) -> dict[Play, list[Outcome] | Exception]:
    """What became of all plays that some selected test asks for, played at the same time."""
    chosen = {play: None for item in request.session.items if (play := _play_of(item))}
    outcomes = perform(list(chosen), tmp_path_factory.mktemp("plays"))
    for play, its in outcomes.items():
        if isinstance(its, list):
            figures(row(play.scenario, its))
    return outcomes


def _play_of(item: pytest.Item) -> Play | None:
    """The play that a test asks for, if it is not skipped."""
    callspec = getattr(item, "callspec", None)
    play = callspec.params.get("play") if callspec else None
    is_skipped = any(mark.args[0] for mark in item.iter_markers("skipif"))
    return play if isinstance(play, Play) and not is_skipped else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash[ROWS]
    if rows and config.option.markexpr == "soak":
        terminalreporter.section("figures")
        terminalreporter.write_line(table(rows))
