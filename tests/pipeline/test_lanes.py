"""Lanes: whatever becomes of one session, the others go on, and nothing of it is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

import pytest
import trio

from pipeline import lanes as lanes_module
from pipeline.lanes import HELD_PER_LEVEL
from stages import message_id_of
from stages.checkpoint import Checkpoint
from stages.engine import Engine, Receipt
from stages.errors import AccountRestricted, EngineFailure, SessionLost, Unavailable
from stages.messages import Content
from tests.nats_support import (
    GatedEngine,
    RunningWorker,
    engines,
    eventually,
    open_ear,
    open_nats,
    open_worker,
    publish_story,
    quick,
    stored,
    until_empty,
)
from tests.support import Hang, ScriptedEngine
from transports.bus import Bus
from transports.jobs import NatsJobs
from transports.parking import parked
from transports.simulated import Profile, SimulatedEngine
from transports.streams import ensure

SPEED = 200


def calm() -> SimulatedEngine:
    return SimulatedEngine(Profile(), speed=SPEED)


async def until_handed_back(bus: Bus, running: RunningWorker, count: int) -> None:
    """Wait until the worker has given so many requests back to the stream."""
    worker = running.worker

    def is_so() -> bool:
        given_back = worker.custody.statistics().handed_back + worker.routing.statistics().handed_back
        return given_back >= count

    await eventually(lambda: stored(bus), lambda _: is_so())


async def until_all_wait_with_the_urgent_one(bus: Bus, running: RunningWorker, session: str) -> None:
    """Wait until all that the worker holds for a session is in its line, but for the story under way."""
    custody = running.worker.custody

    def is_so() -> bool:
        urgent = custody.count(session, "high")
        line = running.worker.statistics().lanes[session].line
        return urgent == 1 and line.waiting + 1 == urgent + custody.count(session, "normal")

    await eventually(lambda: stored(bus), lambda _: is_so())


class Broken(GatedEngine):
    """Raises what no engine may raise, on the first `times` calls."""

    def __init__(self, times: int) -> None:
        super().__init__(is_open=True)
        self._times = times

    async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
        receipt = await super().send(content, recipients, message_id)
        if len(self.calls) <= self._times:
            raise ZeroDivisionError("a bug in the engine")
        return receipt


# Failing


@pytest.mark.trio
async def test_a_session_whose_engine_hangs_does_not_delay_another() -> None:
    hanging, good = ScriptedEngine(otherwise=Hang()), calm()
    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, engines(stuck=hanging, main=good), quick(grace=0)):
            for n in range(5):
                await publish_story(bus, f"stuck{n}", session="stuck")
            for n in range(5):
                await publish_story(bus, f"good{n}")
            reports = await ear.until_reports(5)
        assert [report.story_id for report in reports] == [f"good{n}" for n in range(5)]
        assert len(hanging.calls) == 1
        assert (await stored(bus)).messages == 5


@pytest.mark.trio
async def test_a_lane_that_fails_says_so_gives_back_its_requests_and_lets_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes_module, "FAILED_DELAY", 0.1)
    broken = Broken(times=1)
    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, engines(broken=broken, main=calm())) as running:
            for n in range(3):
                await publish_story(bus, f"b{n}", session="broken")
            await publish_story(bus, "good")
            reports = await ear.until_reports(4)
            await until_empty(bus)
            assert running.worker.custody.statistics().handed_back >= 1
        assert [(alert.session_id, alert.kind) for alert in ear.alerts] == [("broken", "lane-failed")]
        assert "ZeroDivisionError: a bug in the engine" in ear.alerts[0].reason
        assert sorted(report.story_id for report in reports) == ["b0", "b1", "b2", "good"]
        assert all(report.success for report in reports)


@pytest.mark.trio
async def test_an_engine_that_cannot_be_opened_fails_its_lane_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes_module, "AWAY_DELAY", 0.1)
    tries: list[str] = []

    def open_engine(session: str) -> AbstractAsyncContextManager[Engine]:
        tries.append(session)
        if session == "closed" and tries.count("closed") < 3:
            raise Unavailable("no such server")
        return nullcontext(calm())

    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, open_engine):
            await publish_story(bus, "a", session="closed")
            await publish_story(bus, "b")
            await ear.until_reports(2)
        assert [alert.reason for alert in ear.alerts] == ["no such server"]
        assert sorted(tries) == ["closed"] * 3 + ["main"]


@pytest.mark.trio
async def test_an_engine_that_stays_away_is_told_once_and_again_if_the_reason_is_another_or_it_was_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes_module, "AWAY_DELAY", 0.1)
    tries = iter(["away", "away", "far away", "far away", "away", None, "away", "away", None])

    @asynccontextmanager
    async def open_engine(session: str) -> AsyncIterator[Engine]:
        if session == "main" and (reason := next(tries)):
            raise Unavailable(reason)
        yield calm()

    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, open_engine, quick(max_sessions=1)):
            for count, session in enumerate(["main", "b", "main"], 1):
                await publish_story(bus, f"story{count}", session=session)
                await ear.until_reports(count)
                await until_empty(bus)
        assert [alert.reason for alert in ear.alerts] == ["away", "far away", "away", "away"]
        assert next(tries, "no more") == "no more"


@pytest.mark.trio
async def test_an_engine_is_not_opened_again_while_it_is_still_closing() -> None:
    open_now: list[str] = []
    opened, closed = trio.Event(), trio.Event()

    @asynccontextmanager
    async def open_engine(session: str) -> AsyncIterator[Engine]:
        assert session not in open_now
        open_now.append(session)
        yield calm()
        if session == "a" and not opened.is_set():
            opened.set()
            await closed.wait()
        open_now.remove(session)

    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, open_engine, quick(max_sessions=1)) as running:
            for count, session in enumerate(["a", "b"], 1):
                await publish_story(bus, f"story{count}", session=session)
                await ear.until_reports(count)
            await opened.wait()
            await publish_story(bus, "again", session="a")
            await until_handed_back(bus, running, 1)
            closed.set()
            await ear.until_reports(3)
        assert ear.alerts == []
        assert open_now == []


# Parking


@pytest.mark.trio
async def test_a_restricted_session_is_parked_makes_no_further_call_and_loses_no_request() -> None:
    restricted = SimulatedEngine(Profile(restricted_after_calls=1), speed=SPEED)
    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, engines(main=restricted, other=calm())) as running:
            await publish_story(bus, "before")
            await ear.until_reports(1)
            await publish_story(bus, "hit")
            await until_handed_back(bus, running, 1)
            await publish_story(bus, "after")
            await until_handed_back(bus, running, 2)
            await publish_story(bus, "elsewhere", session="other")
            await ear.until_reports(2)
        assert [call.outcome for call in restricted.ledger.calls] == ["sent", "account-restricted"]
        [alert] = ear.alerts
        assert (alert.session_id, alert.kind, alert.story_id) == ("main", "account-restricted", "hit")
        assert [event.state for event in ear.progress if event.story_id == "hit"][-1] == "parked"
        assert [report.story_id for report in ear.reports] == ["before", "elsewhere"]
        assert (await stored(bus)).messages == 2


@pytest.mark.trio
async def test_a_restricted_session_stays_so_even_if_its_lease_is_lost_in_that_moment() -> None:
    restricted = SimulatedEngine(Profile(restricted_after_calls=0), speed=SPEED)
    running: RunningWorker

    @asynccontextmanager
    async def open_engine(session: str) -> AsyncIterator[Engine]:
        yield restricted
        running.worker.leases.held()[session].lost.set()

    async with open_nats() as bus, open_worker(bus, open_engine) as running:
        await publish_story(bus, "hit")
        found = await eventually(lambda: parked(bus, "main"), lambda alert: alert is not None)
        assert found is not None
        assert (found.kind, found.reason != "") == ("account-restricted", True)


@pytest.mark.trio
@pytest.mark.parametrize("gravest", [SessionLost("logged out"), AccountRestricted("463")])
async def test_of_what_fails_at_once_the_gravest_counts(gravest: EngineFailure) -> None:
    @asynccontextmanager
    async def open_engine(session: str) -> AsyncIterator[Engine]:
        async with trio.open_nursery():
            failures = [Unavailable("no such server"), SessionLost("logged out"), gravest]
            raise ExceptionGroup("several", [failures[0], ExceptionGroup("more", failures[1:])])
        yield calm()

    async with open_nats() as bus, open_worker(bus, open_engine):
        await publish_story(bus, "hit")
        found = await eventually(lambda: parked(bus, "main"), lambda alert: alert is not None)
        assert found is not None
        assert (found.kind, found.reason) == (gravest.kind, str(gravest))


# More than a lane can hold


@pytest.mark.trio
async def test_a_session_with_more_requests_than_it_may_hold_blocks_neither_others_nor_its_urgent_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes_module, "BUSY_DELAY", 0.2)
    slow = GatedEngine()
    count = HELD_PER_LEVEL * 3
    async with open_nats() as bus, open_ear(bus, "storycast.report.>") as ear:
        await ensure(bus)
        for n in range(count):
            await publish_story(bus, f"s{n}", 1, session="slow")
        async with open_worker(bus, engines(slow=slow, main=calm())) as running:
            await slow.until_calls(1)
            await until_handed_back(bus, running, HELD_PER_LEVEL)
            assert running.worker.custody.count("slow", "normal") <= HELD_PER_LEVEL + 256
            await publish_story(bus, "other")
            await ear.until_reports(1)
            await publish_story(bus, "urgent", 1, session="slow", level="high")
            await until_all_wait_with_the_urgent_one(bus, running, "slow")
            slow.gate.set()
            await slow.until_calls(count + 1)
            await until_empty(bus)
        assert slow.messages[1] == message_id_of("slow", "urgent")
        assert len(set(slow.messages)) == len(slow.messages) == count + 1


@pytest.mark.trio
async def test_sessions_that_have_nothing_to_do_make_room_for_others() -> None:
    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, lambda session: nullcontext(calm()), quick(max_sessions=2)) as running:
            for count, session in enumerate(["a", "b", "c", "d", "a", "c"], 1):
                await publish_story(bus, f"story{count}", session=session)
                await ear.until_reports(count)
                await until_empty(bus)
            assert len(running.worker.statistics().lanes) == 2
        assert len({report.message_id for report in ear.reports}) == 6


@pytest.mark.trio
async def test_no_more_sessions_are_served_than_allowed_and_another_worker_takes_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes_module, "BUSY_DELAY", 0.1)
    busy = GatedEngine()
    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, engines(a=busy), quick(max_sessions=1)) as running:
            await publish_story(bus, "one", session="a")
            await busy.until_calls(1)
            await publish_story(bus, "two", session="b")
            await until_handed_back(bus, running, 2)
            assert list(running.worker.statistics().lanes) == ["a"]
            async with open_worker(bus, engines(b=calm())):
                await ear.until_reports(1)
                busy.gate.set()
                await ear.until_reports(2)
        assert [report.story_id for report in ear.reports] == ["two", "one"]


@pytest.mark.trio
async def test_sessions_whose_stories_are_all_paused_make_room_for_others() -> None:
    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, lambda session: nullcontext(calm()), quick(max_sessions=1)) as running:
            await NatsJobs(bus).save(Checkpoint(session_id="a", story_id="one", state="paused"))
            await publish_story(bus, "one", session="a")
            custody = running.worker.custody
            await eventually(lambda: stored(bus), lambda _: custody.paused("a") == ["one"])
            await publish_story(bus, "two", session="b")
            await ear.until_reports(1)
        assert [report.story_id for report in ear.reports] == ["two"]
