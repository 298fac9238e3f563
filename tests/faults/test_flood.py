"""Bad requests in great number, and one that kills whoever takes it, do not stop or slow the good ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from msgspec import Struct

from stages.messages import Report
from tests.faults.flood import BAD, GOOD, Flood, flood
from tests.faults.processes import RARELY, until
from tests.faults.scene import Scene, open_scene
from transports.subjects import STREAM_REJECTED, rejected_subject

pytestmark = pytest.mark.timeout(240)

SLOW = {"STORYCAST_SPEED": "0.05"}
"""Calls last for seconds, so that a worker is surely killed before one comes back."""
DEADLY = 12
"""So many workers die of a request at most before it is given up."""


@pytest.fixture(scope="module")
def flooded(tmp_path_factory: pytest.TempPathFactory) -> Flood:
    return trio.run(flood, tmp_path_factory.mktemp("flood") / "0")


def test_every_bad_request_is_refused(flooded: Flood) -> None:
    assert flooded.rejections == BAD


def test_a_good_story_does_not_wait_for_bad_ones_before_it(flooded: Flood) -> None:
    """Five thousand bad ones came before it and five thousand after it: it is done before they all are."""
    assert {session for session in GOOD if flooded.reports[session] < flooded.last_rejection} == set(GOOD)


class Poisoned(Struct, frozen=True):
    """What became of a request of which every worker dies that makes a call for it."""

    deaths: int
    refused: bool
    reason: str
    """Why its report says that it failed."""
    good: Report


async def poison(home: Path) -> Poisoned:
    deaths = 0
    async with open_scene(home) as scene:
        await scene.worker(**SLOW)
        await scene.publish("deadly", 300, session="poison")
        while deaths < DEADLY and await _is_tried_again(scene, deaths):
            killed = scene.owner("poison")
            assert killed is not None
            killed.kill()
            deaths += 1
            scene.start_worker(**SLOW)
        await scene.publish("good", 300, session="good")
        good = await scene.until_report("good", session="good")
        deadly = await scene.until_report("deadly", session="poison")
        await scene.until_settled()
        return Poisoned(deaths, await _refused(scene), deadly.reason or "", good)


async def _is_tried_again(scene: Scene, deaths: int) -> bool:
    """Wait for the next call for the session `poison`, or for the end of it: False then."""

    async def which() -> str:
        if len(scene.record.of("poison").calls) > deaths:
            return "tried"
        return "refused" if await _refused(scene) else ""

    return await until(which, lambda: "it is tried again or refused", every=RARELY) == "tried"


async def _refused(scene: Scene) -> bool:
    subject = rejected_subject("poison")
    return await scene.ask(lambda: scene.bus.last(STREAM_REJECTED, subject)) is not None


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_request_that_kills_whoever_takes_it_is_refused_at_last(tmp_path: Path) -> None:
    after = trio.run(poison, tmp_path / "0")
    assert after.refused
    assert after.deaths < DEADLY
    assert "poison" in after.reason
    assert after.good.success
