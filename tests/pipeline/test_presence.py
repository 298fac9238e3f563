"""Presence: who is there and what they serve, in their own words; who is silent is taken for dead."""

from __future__ import annotations

import os
import socket

import pytest
import trio

from pipeline import presence as presence_module
from pipeline.presence import Presence, roll_call
from stages.errors import SessionLost
from stages.messages import WorkerInfo
from tests.nats_support import engines, open_ear, open_nats, open_worker, publish_story, quick
from tests.pipeline.crew import SteppedEngine, in_twos, order, owner_of, until, until_state
from tests.support import ScriptedEngine, people, virtual_now
from transports.bus import Bus, Outbound
from transports.subjects import BEACON, ROLL_CALL


def presence(bus: Bus, worker: str = "me") -> Presence:
    return Presence(
        bus, worker, lambda: WorkerInfo(worker=worker, host="h", pid=1, since=virtual_now(), sessions=[])
    )


@pytest.mark.trio
async def test_a_roll_call_lists_all_workers_and_what_each_of_them_serves() -> None:
    slow, lost = SteppedEngine(steps=1), ScriptedEngine(otherwise=SessionLost("logged out"))
    async with (
        open_nats() as bus,
        open_ear(bus) as ear,
        open_worker(bus, engines(main=slow, lost=lost), in_twos()) as one,
        open_worker(bus, engines(main=slow, lost=lost), in_twos()) as two,
    ):
        await publish_story(bus, "sale", people(7))
        await slow.until_calls(2)
        await order(bus, "pause")
        slow.let(1)
        await until_state(bus, "paused")
        for n in range(3):
            await publish_story(bus, f"s{n}", 2)
        await slow.until_calls(3)
        owner = owner_of("main", one, two)
        await until(lambda: owner.worker.custody.waiting("main") == 3)
        await publish_story(bus, "never", 2, session="lost")
        await ear.until(lambda: len(ear.alerts) == 1)
        found = await roll_call(bus)
        slow.let()
        await ear.until_reports(3)
    assert [info.worker for info in found] == sorted([one.worker.id, two.worker.id])
    assert {(info.host, info.pid) for info in found} == {(socket.gethostname(), os.getpid())}
    served = {session.session_id: (info.worker, session) for info in found for session in info.sessions}
    worker, session = served["main"]
    assert worker == owner.worker.id
    assert session.story_id is not None
    assert (session.waiting, session.paused, session.parked) == (2, ["sale"], None)
    assert served["lost"][1].parked == "session-lost"


@pytest.mark.trio
async def test_where_no_worker_is_nobody_answers() -> None:
    async with open_nats() as bus:
        assert await roll_call(bus, seconds=0.2) == []


@pytest.mark.trio
async def test_what_answers_a_roll_call_without_being_a_worker_is_not_listed() -> None:
    async with (
        open_nats() as bus,
        open_worker(bus, engines(), quick()) as one,
        trio.open_nursery() as nursery,
    ):

        async def answer(task_status: trio.TaskStatus[None]) -> None:
            async with bus.subscribe(ROLL_CALL) as mailbox:
                task_status.started()
                for message in await mailbox.receive():
                    for data in (b"", b"{}", b"\xff", b'{"worker": "\xff"}'):
                        await bus.publish([Outbound(message.reply, data)])

        await nursery.start(answer)
        assert [info.worker for info in await roll_call(bus)] == [one.worker.id]


@pytest.mark.trio
async def test_who_was_heard_is_alive_and_who_falls_silent_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "SILENT_FOR", 0.5)
    async with open_nats() as bus, trio.open_nursery() as nursery:
        here = presence(bus)
        nursery.start_soon(here.keep)
        assert here.alive("whoever"), "who listens only since now cannot say"
        await until(lambda: not here.alive("other"))
        await bus.publish([Outbound(BEACON, b"other"), Outbound(BEACON, b"\xff"), Outbound(BEACON, b"")])
        await until(lambda: here.alive("other"))
        await until(lambda: not here.alive("other"))
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_who_takes_leave_is_not_alive_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "SILENT_FOR", 600.0)
    async with open_nats() as bus, trio.open_nursery() as nursery:
        here = presence(bus)
        nursery.start_soon(here.keep)
        async with open_worker(bus, engines(), quick()) as one, open_ear(bus, BEACON) as ear:
            await ear.until(lambda: any(message.data.decode() == one.worker.id for message in ear.messages))
            assert here.alive(one.worker.id)
        await until(lambda: not here.alive(one.worker.id))
        assert here.alive("another")
        nursery.cancel_scope.cancel()
