"""A story over the real library: nobody gets it twice, whatever goes wrong, and the report says who has it.

Ids cannot be chosen with this library, so a call whose outcome is unknown is never made again.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio

from pipeline import lanes as lanes_module
from stages import turns
from tests.whatsapp.clients import OWNER
from tests.whatsapp.faults import Fault, Hangup, LoginFailure, Point, Refused, Silence, Slow, Stream
from tests.whatsapp.rig import BAN, BUSY, LIMITED
from tests.whatsapp.stories import Scene, open_scene
from transports.neonize.store import JOURNAL

pytestmark = [pytest.mark.whatsapp, pytest.mark.trio]

PEOPLE, BATCH = 2_000, 100
FEW = 300
"""Enough for an anchor and three batches."""
SIZES = [600, pytest.param(PEOPLE, marks=pytest.mark.soak)]

PASSING: list[tuple[Point, Fault]] = [
    ("send", Refused(429)),
    ("send", Refused(500)),
    ("send", Refused(400)),
    ("send", Refused(479)),
    ("send", Hangup(delivered=False)),
    ("privacy", LIMITED),
    ("send", Hangup(delivered=True)),
    ("devices", LIMITED),
    ("privacy", Hangup()),
    ("privacy", BUSY),
    ("devices", Hangup()),
    ("devices", BUSY),
    ("prekeys", Hangup()),
]
"""After these everybody is sent it all the same. A frame that is sent once more comes in between, and meets none."""

STOPS: list[tuple[list[tuple[Point, Fault]], str]] = [
    ([("send", Refused(463))], "account-restricted"),
    ([("login", BAN), ("send", Hangup(delivered=True))], "account-restricted"),
    ([("send", Stream(conflict="replaced"))], "session-lost"),
    ([("login", LoginFailure(405)), ("send", Hangup())], "session-lost"),
]
"""What stops a session until a person has acted, and the alert that says so."""

LOGOUTS: dict[str, list[tuple[Point, Fault]]] = {
    "removed on the phone": [("send", Stream("401", "device_removed"))],
    "unknown when it comes back": [("send", Hangup())],
    "banned for good": [("login", LoginFailure(403)), ("send", Hangup(delivered=True))],
}
"""What ends the link with the account."""


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(lanes_module, "PARKED_DELAY", 0.05)


async def test_everybody_gets_it_once_whatever_single_calls_meet() -> None:
    async with open_scene(PEOPLE, BATCH) as scene:
        async with scene.worker():
            await scene.publish()
            for fault in PASSING:
                await scene.next_post()
                add(scene, fault)
            report = await scene.report()
        assert all(scene.faults.meet(point) is None for point, _ in PASSING), "the story met all of it"
        assert report.sent_successfully == PEOPLE
        scene.reckon(report)


async def test_whoever_is_left_out_is_told_as_failed_with_the_reason_and_nobody_else_is() -> None:
    async with open_scene(FEW, BATCH) as scene:
        no_bundle, broken_bundle, no_device, *_ = reversed(scene.people)
        scene.faults.without_bundle.update({no_bundle: "absent", broken_bundle: "error"})
        scene.faults.without_devices.add(no_device)
        async with scene.worker():
            await scene.publish()
            report = await scene.report()
        no_keys = dict.fromkeys([no_bundle, broken_bundle], "keys-unavailable")
        assert report.failure_reasons == {**no_keys, no_device: "not-on-whatsapp"}
        scene.reckon(report)


async def test_a_batch_whose_keys_are_refused_is_told_as_failed() -> None:
    async with open_scene(FEW, BATCH) as scene:
        async with scene.worker():
            await scene.publish()
            await scene.next_post()
            add(scene, ("prekeys", LIMITED))
            report = await scene.report()
        assert report.failures == {"keys-unavailable": BATCH}
        scene.reckon(report)


async def test_a_call_that_is_never_answered_is_unknown_and_not_made_again() -> None:
    async with open_scene(FEW, BATCH, timeout=2) as scene:
        async with scene.worker():
            await scene.publish()
            await scene.next_post()
            add(scene, ("send", Silence()))
            silent = await scene.next_post()
            report = await scene.report()
        assert set(report.unknown_recipients) == silent.recipients
        scene.reckon(report)


async def test_a_slow_answer_is_waited_for() -> None:
    gate = trio.Event()
    async with open_scene(FEW, BATCH) as scene:
        async with scene.worker():
            await scene.publish()
            await scene.next_post()
            add(scene, ("send", Slow(gate)))
            await scene.next_post()
            gate.set()
            report = await scene.report()
        assert report.sent_successfully == FEW
        scene.reckon(report)


@pytest.mark.parametrize("people", SIZES)
async def test_a_stopped_session_parks_the_story_which_goes_on_when_it_is_resumed(people: int) -> None:
    async with open_scene(people, people // 10) as scene:
        async with scene.worker() as worker:
            await scene.publish()
            for number, (faults, kind) in enumerate(STOPS, start=1):
                await scene.next_post()
                add(scene, *faults)
                assert (await scene.until_alerts(number)).kind == kind
                await scene.until_left_alone(worker)
                await scene.resume()
            report = await scene.report()
        assert len(scene.ear.alerts) == len(STOPS)
        assert report.failed == 0
        scene.reckon(report)


@pytest.mark.parametrize("faults", LOGOUTS.values(), ids=LOGOUTS)
async def test_a_session_that_was_logged_out_in_mid_story_goes_on_once_it_is_linked_anew(
    faults: list[tuple[Point, Fault]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_scene(FEW, BATCH) as scene:
        async with scene.worker() as worker:
            await scene.publish()
            await scene.next_post()
            scene.rig.whatsapp.world.account(OWNER).devices.clear()
            add(scene, *faults)
            under_way = await scene.next_post()
            assert (await scene.until_alerts(1)).kind == "session-lost"
            await scene.until_left_alone(worker)
            await scene.pair(monkeypatch)
            report = await scene.report()
        assert len(scene.ear.alerts) == 1
        assert set(report.unknown_recipients) == under_way.recipients
        assert report.failed == 0
        scene.reckon(report)


@pytest.mark.parametrize("people", SIZES)
async def test_a_client_that_is_killed_in_mid_call_leaves_that_call_unknown_and_every_name_in_place(
    people: int,
) -> None:
    async with open_scene(people, BATCH) as scene:
        names, killed = scene.rig.names(), set[str]()
        async with scene.worker():
            await scene.publish()
            for delivered in (True, False):
                killed |= (await scene.call_in_the_air(delivered=delivered)).recipients
                assert len(scene.rig.names()) == BATCH, "nobody else has a name while the call lasts"
                os.kill(scene.client(), signal.SIGKILL)
            report = await scene.report()
        assert set(report.unknown_recipients) == killed
        assert report.failed == 0
        scene.reckon(report)
        unchanged(scene, names)


@pytest.mark.parametrize("people", SIZES)
async def test_a_worker_that_is_killed_in_mid_call_leaves_that_call_unknown_and_another_does_the_rest(
    tmp_path: Path, people: int
) -> None:
    async with open_scene(people, BATCH) as scene:
        names, killed = scene.rig.names(), set[str]()
        for delivered in (True, False):
            with scene.worker_process(tmp_path) as worker:
                if not killed:
                    await worker.until_says("serving")
                    await scene.publish()
                killed |= (await scene.call_in_the_air(delivered=delivered)).recipients
        with scene.worker_process(tmp_path):
            report = await scene.report()
        assert set(report.unknown_recipients) == killed
        assert report.failed == 0
        scene.reckon(report)
        unchanged(scene, names)


async def test_a_story_to_the_audience_is_one_call_to_whom_the_report_counts() -> None:
    async with open_scene(PEOPLE, BATCH, targeting="audience") as scene:
        audience = sorted(scene.rig.names())
        async with scene.worker():
            await scene.publish(audience="contacts")
            report = await scene.report()
        [call] = scene.rig.whatsapp.world.calls()
        assert list(call.recipients) == audience
        assert (report.total_recipients, report.sent_successfully) == (PEOPLE, PEOPLE)
        assert report.message_ids == [call.message_id]


def add(scene: Scene, *faults: tuple[Point, Fault]) -> None:
    """The next visits of these points meet these faults."""
    for point, fault in faults:
        scene.faults.add(point, fault)


def unchanged(scene: Scene, names: dict[str, str]) -> None:
    """The contact list of the linked device is what it was."""
    assert scene.rig.names() == names
    assert not (scene.rig.session / JOURNAL).exists()
