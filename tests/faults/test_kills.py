"""A worker, or nats-server, is killed at random instants of a story to 20,000 recipients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from tests.faults import promises
from tests.faults.checks import Outcome
from tests.faults.coming import CHECKPOINTS
from tests.faults.figures import Row, row
from tests.faults.runs import kill_nats, kill_workers
from tests.faults.scene import all_of


class Kills(NamedTuple):
    what: str
    stories: int
    run: Callable[[Path, int], Awaitable[Outcome]]


SOAK = [pytest.mark.soak, pytest.mark.timeout(3600)]
TWICE = partial(kill_workers, kills=2)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(Kills("worker", 4, kill_workers), id="worker"),
        pytest.param(Kills("nats-server", 3, kill_nats), id="nats-server"),
        pytest.param(Kills("worker killed", 50, kill_workers), marks=SOAK, id="worker-soak"),
        pytest.param(
            Kills("worker killed, and the next one too", 10, TWICE), marks=SOAK, id="two-workers-soak"
        ),
        pytest.param(Kills("nats-server killed", 20, kill_nats), marks=SOAK, id="nats-server-soak"),
    ],
)
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, figures: Callable[[Row], None]
) -> list[Outcome]:
    kills: Kills = request.param
    home = tmp_path_factory.mktemp("kills")

    async def one(seed: int) -> Outcome:
        return await kills.run(home / str(seed), seed)

    found = trio.run(all_of, kills.stories, one)
    figures(row(kills.what, found))
    return found


pytestmark = pytest.mark.timeout(240)


def test_every_recipient_sees_the_story_exactly_once(outcomes: list[Outcome]) -> None:
    promises.seen_exactly_once(outcomes)


def test_there_is_exactly_one_report_and_its_counts_add_up(outcomes: list[Outcome]) -> None:
    promises.reported_once(outcomes)


@CHECKPOINTS
def test_a_kill_has_one_batch_sent_again_at_most(outcomes: list[Outcome]) -> None:
    promises.one_batch_again_at_most(outcomes)


def test_the_session_is_never_served_by_two_workers_at_once(outcomes: list[Outcome]) -> None:
    promises.served_by_one_at_a_time(outcomes)
