"""NATS is away for long in the middle of a story: the worker waits for it, says so, and goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from tests.faults import promises
from tests.faults.checks import Outcome
from tests.faults.figures import Row, row
from tests.faults.runs import long_outage

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(
    scope="module", params=[pytest.param(12, id="12 s"), pytest.param(60, marks=pytest.mark.soak, id="60 s")]
)
def outage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, figures: Callable[[Row], None]
) -> tuple[Outcome, str]:
    async def one() -> tuple[Outcome, str]:
        return await long_outage(tmp_path_factory.mktemp("outage") / "0", 0, seconds=request.param)

    outcome, said = trio.run(one)
    figures(row(f"nats-server away for {request.param} s", [outcome]))
    return outcome, said


def test_the_worker_lives_on_and_everybody_sees_the_story_once(outage: tuple[Outcome, str]) -> None:
    promises.seen_exactly_once([outage[0]])


def test_there_is_exactly_one_report_and_its_counts_add_up(outage: tuple[Outcome, str]) -> None:
    promises.reported_once([outage[0]])


def test_one_batch_at_most_is_sent_again(outage: tuple[Outcome, str]) -> None:
    promises.one_batch_again_at_most([outage[0]])


def test_the_log_says_meanwhile_what_it_waits_for(outage: tuple[Outcome, str]) -> None:
    assert "NATS" in outage[1]
