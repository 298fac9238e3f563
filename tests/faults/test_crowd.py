"""Many workers serve many sessions while workers are killed and started at random."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from tests.faults.checks import at_the_same_time
from tests.faults.crowd import BATCH, After, Crowd, kill_in_a_crowd
from tests.faults.figures import Row

pytestmark = pytest.mark.timeout(300)

SMALL = Crowd(workers=3, sessions=20, stories=100, seconds=15)
LARGE = Crowd(workers=10, sessions=200, stories=2_000, seconds=120)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(SMALL, id="small"),
        pytest.param(LARGE, marks=[pytest.mark.soak, pytest.mark.timeout(1800)], id="large"),
    ],
)
def after(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, figures: Callable[[Row], None]
) -> After:
    home = tmp_path_factory.mktemp("crowd") / "0"
    found: After = trio.run(kill_in_a_crowd, home, request.param)
    figures(found.row())
    return found


def test_every_story_has_one_report(after: After) -> None:
    assert after.missing() == []
    assert {subject: count for subject, count in after.reports.items() if count != 1} == {}
    assert len(after.reports) == after.crowd.stories


def test_every_recipient_sees_every_story_exactly_once(after: After) -> None:
    assert after.not_seen() == 0
    assert after.foreign() == set()


def test_no_session_is_served_by_two_workers_at_once(after: After) -> None:
    assert at_the_same_time(after.record) == []


def test_a_story_that_passes_to_another_worker_has_one_batch_sent_again_at_most(after: After) -> None:
    passes = after.passes()
    assert {
        story: again for story, again in after.sent_again().items() if again > passes[story] * BATCH
    } == {}


def test_workers_do_nothing_that_nats_server_forbids(after: After) -> None:
    """What it forbids is lost in silence, and comes again only when its time is over."""
    assert after.refused == []
