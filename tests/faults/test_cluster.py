"""Three nats-servers that are one; the leader of the stream of requests is killed in the middle of a story."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from tests.faults import promises
from tests.faults.checks import Outcome
from tests.faults.coming import REPLICAS
from tests.faults.figures import Row, row
from tests.faults.runs import kill_leader
from tests.faults.scene import all_of

pytestmark = [pytest.mark.timeout(240), REPLICAS]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(1, id="once"),
        pytest.param(10, marks=[pytest.mark.soak, pytest.mark.timeout(3600)], id="soak"),
    ],
)
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, figures: Callable[[Row], None]
) -> list[Outcome]:
    home = tmp_path_factory.mktemp("cluster")

    async def one(seed: int) -> Outcome:
        return await kill_leader(home / str(seed), seed)

    found = trio.run(lambda: all_of(request.param, one, at_once=2))
    figures(row("leader of three nats-servers killed", found))
    return found


def test_the_story_goes_on_and_everybody_sees_it_once(outcomes: list[Outcome]) -> None:
    promises.seen_exactly_once(outcomes)


def test_there_is_exactly_one_report_and_its_counts_add_up(outcomes: list[Outcome]) -> None:
    promises.reported_once(outcomes)


def test_one_batch_at_most_is_sent_again(outcomes: list[Outcome]) -> None:
    promises.one_batch_again_at_most(outcomes)
