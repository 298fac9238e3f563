"""A worker is frozen beyond its lease, another one takes its session over, and then it is thawed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from tests.faults import promises
from tests.faults.coming import CHECKPOINTS, LEASES
from tests.faults.figures import Row, row
from tests.faults.runs import Frozen, freeze_worker
from tests.faults.scene import all_of

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(1, id="once"),
        pytest.param(20, marks=[pytest.mark.soak, pytest.mark.timeout(3600)], id="soak"),
    ],
)
def frozen(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, figures: Callable[[Row], None]
) -> list[Frozen]:
    home = tmp_path_factory.mktemp("frozen")

    async def one(seed: int) -> Frozen:
        return await freeze_worker(home / str(seed), seed)

    found = trio.run(all_of, request.param, one)
    figures(row("worker frozen beyond its lease, and thawed", [each.outcome for each in found]))
    return found


@LEASES
def test_who_lost_a_session_makes_no_call_for_it(frozen: list[Frozen]) -> None:
    late = {
        str(each.outcome): sum(
            call.pid == each.pid and call.began > each.thawed for call in each.outcome.record.calls
        )
        for each in frozen
    }
    assert set(late.values()) == {0}, late


def test_every_recipient_sees_the_story_exactly_once(frozen: list[Frozen]) -> None:
    promises.seen_exactly_once([each.outcome for each in frozen])


def test_there_is_exactly_one_report_and_its_counts_add_up(frozen: list[Frozen]) -> None:
    promises.reported_once([each.outcome for each in frozen])


@CHECKPOINTS
def test_only_the_batch_in_flight_is_sent_again(frozen: list[Frozen]) -> None:
    promises.one_batch_again_at_most([each.outcome for each in frozen])
