"""What is promised of a story in whose course something is killed, frozen, or away."""

from __future__ import annotations

import pytest

from tests.faults import promises
from tests.faults.checks import Outcome
from tests.faults.plays import ORDINARY, SOAK, Play

LONG = [pytest.mark.soak, pytest.mark.timeout(7200)]


@pytest.fixture(
    scope="module",
    params=[
        *(pytest.param(play, id=name) for name, play in ORDINARY.items()),
        *(pytest.param(play, id=f"{name}, soak", marks=LONG) for name, play in SOAK.items()),
    ],
)
def play(request: pytest.FixtureRequest) -> Play:
    chosen: Play = request.param
    return chosen


@pytest.fixture
def outcomes(play: Play, played: dict[Play, list[Outcome] | Exception]) -> list[Outcome]:
    found = played[play]
    if isinstance(found, Exception):
        raise found
    return found


pytestmark = pytest.mark.timeout(300)


def test_every_recipient_sees_the_story_exactly_once(outcomes: list[Outcome]) -> None:
    promises.seen_exactly_once(outcomes)


def test_there_is_exactly_one_report_and_its_counts_add_up(outcomes: list[Outcome]) -> None:
    promises.reported_once(outcomes)


def test_one_batch_for_each_fault_is_sent_again_at_most(outcomes: list[Outcome]) -> None:
    promises.one_batch_again_at_most(outcomes)


def test_no_call_is_made_by_who_lost_the_session_nor_while_the_story_is_paused(
    outcomes: list[Outcome],
) -> None:
    promises.no_banned_call(outcomes)


def test_two_workers_never_serve_the_session_at_once(outcomes: list[Outcome]) -> None:
    # The call in which a worker was frozen ends when it is thawed: for those there is the test above.
    promises.served_by_one_at_a_time([one for one in outcomes if one.ban is None or one.ban.pid is None])


def test_who_waits_for_nats_for_long_says_so_meanwhile(outcomes: list[Outcome]) -> None:
    promises.says_what_it_waits_for(outcomes)
