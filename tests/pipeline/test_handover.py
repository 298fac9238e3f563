"""A session moves from worker to worker: at once after a clean stop, and never is it served by two."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial

import pytest
import trio
from msgspec import structs

from pipeline import lanes as lanes_module
from pipeline import presence as presence_module
from pipeline import routing as routing_module
from pipeline.custody import Custody
from pipeline.leases import Leases
from stages import message_id_of
from stages.engine import Engine, Receipt
from stages.messages import Content, Level
from tests.nats_support import (
    GatedEngine,
    engines,
    eventually,
    open_ear,
    open_nats,
    open_worker,
    publish_story,
    quick,
    until_empty,
)
from tests.pipeline.crew import SteppedEngine, claim_for, in_twos, nothing_expires, order, until
from tests.pipeline.test_custody import pulled
from tests.support import people, virtual_now
from transports.bus import Bus, Outbound, Stored
from transports.errors import TransportError
from transports.jobs import NatsJobs
from transports.leases import claimed

SEVEN = people(7)
ONCE = dict.fromkeys(SEVEN, 1)


class Reports:
    """Holds up the storing of reports."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = trio.Event()
        self.waiting = 0
        store = Bus.store_all

        async def slow(bus: Bus, messages: Sequence[Outbound]) -> Sequence[Stored | TransportError]:
            reports = [each for each in messages if each.subject.startswith("storycast.report.")]
            if reports:
                self.waiting += len(reports)
                await self.go_on.wait()
            return await store(bus, messages)

        monkeypatch.setattr(Bus, "store_all", slow)


# A clean stop


@pytest.mark.trio
async def test_a_worker_that_stops_in_mid_story_hands_it_to_another_one_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing_expires(monkeypatch)
    first, second = SteppedEngine(steps=1), SteppedEngine(steps=float("inf"))
    async with (
        open_nats() as bus,
        open_ear(bus) as ear,
        open_worker(bus, engines(main=first), in_twos()) as one,
    ):
        await publish_story(bus, "sale", SEVEN)
        await first.until_calls(2)
        async with open_worker(bus, engines(main=second), in_twos()):
            for n in range(5):
                await publish_story(bus, f"s{n}", 2)
            one.shutdown.set()
            first.let(1)
            await one.stop()
            reports = await ear.until_reports(6)
            await until_empty(bus)
    sale = next(report for report in reports if report.story_id == "sale")
    assert first.sent("sale") == dict.fromkeys(SEVEN[:3], 1)
    assert second.sent("sale") == dict.fromkeys(SEVEN[3:], 1)
    assert (sale.sent_successfully, sale.unknown) == (7, 0)


@pytest.mark.trio
async def test_a_call_that_outlasts_the_grace_is_in_doubt_and_made_again_by_the_next_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing_expires(monkeypatch)
    first, second = SteppedEngine(steps=1), SteppedEngine(steps=float("inf"))
    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, engines(main=first), in_twos(grace=0.05)):
            await publish_story(bus, "sale", SEVEN)
            await first.until_calls(2)
        async with open_worker(bus, engines(main=second), in_twos()):
            [report] = await ear.until_reports(1)
            await until_empty(bus)
    again = first.sent("sale") + second.sent("sale")
    assert again == ONCE | dict.fromkeys(SEVEN[1:3], 2)
    assert {message_id for message_id, _ in first.calls + second.calls} == {message_id_of("main", "sale")}
    assert (report.sent_successfully, report.unknown) == (7, 0)


@pytest.mark.trio
async def test_what_was_in_doubt_and_is_not_sent_again_is_unknown_and_not_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing_expires(monkeypatch)
    first, second = SteppedEngine(steps=1), SteppedEngine()
    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, engines(main=first), in_twos(grace=0)):
            await publish_story(bus, "sale", SEVEN)
            await first.until_calls(2)
        async with open_worker(bus, engines(main=second), in_twos()):
            await second.until_calls(1)
            assert (await order(bus, "cancel")).unknown == 0
            second.let()
            [report] = await ear.until_reports(1)
    assert report.state == "cancelled"
    assert (report.sent_successfully, report.unknown, report.skipped, report.failed) == (3, 2, 2, 0)


@pytest.mark.trio
async def test_a_session_that_is_being_claimed_when_its_worker_stops_is_not_blocked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_nats() as bus:
        async with open_worker(bus, engines(), quick()):
            pass
        begun = trio.Event()

        class SlowBus(Bus):
            async def store(self, message: Outbound) -> Stored:
                stored = await super().store(message)
                begun.set()
                await trio.sleep_forever()
                return stored

        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                Leases(SlowBus(bus.bridge, bus.client, bus.asker), owner="one", ttl=600).acquire, "main"
            )
            await begun.wait()
            nursery.cancel_scope.cancel()
        assert (await claimed(bus, "main")).claim is None


# A lease that is lost


@pytest.mark.trio
async def test_a_worker_whose_lease_is_lost_in_mid_story_makes_no_further_call_and_the_next_owner_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.worker.Leases", partial(Leases, ttl=1))
    monkeypatch.setattr(presence_module, "SILENT_FOR", 0.0)
    monkeypatch.setattr(routing_module, "AGAIN_SOON", 0.05)
    first, second = SteppedEngine(steps=1), SteppedEngine(steps=float("inf"))
    opened = [first, second]
    async with (
        open_nats() as bus,
        open_ear(bus) as ear,
        open_worker(bus, lambda session: nullcontext(opened.pop(0)), in_twos()) as one,
    ):
        await publish_story(bus, "sale", SEVEN)
        await first.until_calls(2)
        await claim_for(bus, "ghost", ttl=2)
        await until(lambda: one.worker.custody.statistics().held == 0)
        first.let()
        [report] = await ear.until_reports(1)
        await until_empty(bus)
        assert one.worker.publisher._open == {}
    assert len(first.calls) == 2
    assert first.sent("sale") + second.sent("sale") == ONCE | dict.fromkeys(SEVEN[1:3], 2)
    assert (report.sent_successfully, report.unknown) == (7, 0)
    assert ear.alerts == []


@pytest.mark.trio
async def test_a_story_that_another_worker_has_written_is_left_to_the_checkpoint_without_an_alert(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lanes_module, "MOVED_DELAY", 0.1)
    engine = SteppedEngine(steps=1)
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine), in_twos()):
        await publish_story(bus, "sale", SEVEN)
        await publish_story(bus, "other", 2)
        await engine.until_calls(2)
        others = NatsJobs(bus)
        checkpoint = await others.load("main", "sale")
        assert checkpoint is not None
        await others.save(checkpoint)
        engine.let()
        reports = await ear.until_reports(2)
        await until_empty(bus)
    assert "lane taken over" in caplog.text
    assert ear.alerts == []
    assert all(report.success for report in reports)
    assert engine.sent("sale") == ONCE | dict.fromkeys(SEVEN[1:3], 2)


@pytest.mark.trio
async def test_whoever_repeats_a_story_that_another_worker_finished_meanwhile_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.worker.Leases", partial(Leases, ttl=1))
    monkeypatch.setattr(presence_module, "SILENT_FOR", 0.0)
    monkeypatch.setattr(routing_module, "AGAIN_SOON", 0.05)
    monkeypatch.setattr(lanes_module, "MOVED_DELAY", 600.0)
    first = SteppedEngine(steps=1)
    async with open_nats() as bus, open_worker(bus, engines(main=first), in_twos(grace=0)) as one:
        await publish_story(bus, "sale", SEVEN)
        await first.until_calls(2)
        await claim_for(bus, "ghost", ttl=2)
        await until(lambda: one.worker.custody.statistics().held == 0)
        # What another worker does that has finished it.
        await bus.store(Outbound("storycast.report.main.sale", b"{}"))
        jobs = NatsJobs(bus)
        found = await jobs.load("main", "sale")
        assert found is not None
        await jobs.save(structs.replace(found, state="finished"))
        await publish_story(bus, "sale", SEVEN)
        await until(lambda: one.worker.custody.statistics().acknowledged == 1)


# Idle sessions


@pytest.mark.trio
async def test_a_session_with_nothing_to_do_is_given_up_and_the_next_request_opens_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing_expires(monkeypatch)
    monkeypatch.setattr(lanes_module, "IDLE_AFTER", 0.1)
    monkeypatch.setattr(lanes_module, "SWEEP", 0.05)
    opened: list[str] = []

    def open_engine(session: str) -> AbstractAsyncContextManager[Engine]:
        opened.append(session)
        return nullcontext(GatedEngine(is_open=True))

    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, open_engine) as one:
        for count in (1, 2):
            await publish_story(bus, f"s{count}")
            await ear.until_reports(count)
            await until(lambda: not one.worker.leases.held())
            await eventually(lambda: claimed(bus, "main"), lambda found: found.claim is None)
            assert one.worker.statistics().lanes == {}
    assert opened == ["main", "main"]


@pytest.mark.trio
async def test_a_session_with_a_paused_story_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "IDLE_AFTER", 0.0)
    monkeypatch.setattr(lanes_module, "SWEEP", 0.01)
    async with (
        open_nats() as bus,
        open_ear(bus) as ear,
        open_worker(bus, lambda session: nullcontext(GatedEngine(is_open=True))) as one,
    ):
        await order(bus, "pause")
        await publish_story(bus, "sale")
        await until(lambda: one.worker.custody.paused("main") == ["sale"])
        for n in range(5):
            await publish_story(bus, f"s{n}", session=f"other{n}")
            await ear.until_reports(n + 1)
            await until(lambda: list(one.worker.leases.held()) == ["main"])
        assert one.worker.custody.paused("main") == ["sale"]


# A session that rests


@pytest.mark.trio
async def test_a_session_that_failed_rests_before_it_is_opened_again_unless_it_is_resumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[str] = []

    class Broken(GatedEngine):
        async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
            if len(opened) == 1:
                raise ZeroDivisionError("a bug in the engine")
            return await super().send(content, recipients, message_id)

    def open_engine(session: str) -> AbstractAsyncContextManager[Engine]:
        opened.append(session)
        return nullcontext(Broken(is_open=True))

    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, open_engine) as one:
        await publish_story(bus, "sale")
        await until(lambda: one.worker.custody.statistics().handed_back == 1)
        for n in range(5):
            await publish_story(bus, f"s{n}")
        await until(lambda: one.worker.custody.statistics().handed_back == 6)
        assert opened == ["main"]
        assert list(one.worker.leases.held()) == ["main"]
        await order(bus, "resume", None)
        await publish_story(bus, "next")
        [report] = await ear.until_reports(1)
    assert report.story_id == "next"
    assert opened == ["main", "main"]


# What is reported is nobody else's any more


@pytest.mark.trio
async def test_a_story_whose_report_is_being_stored_is_not_handed_back_with_its_lane(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reports = Reports(monkeypatch)

    class Breaking(GatedEngine):
        async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
            receipt = await super().send(content, recipients, message_id)
            if len(self.calls) == 2:
                raise ZeroDivisionError("a bug in the engine")
            return receipt

    engine = Breaking(is_open=True)
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine)) as one:
        await publish_story(bus, "done")
        await until(lambda: reports.waiting == 1)
        await publish_story(bus, "breaks")
        await until(lambda: one.worker.custody.statistics().handed_back == 1)
        reports.go_on.set()
        await ear.until_reports(1)
        await until(lambda: one.worker.custody.statistics().acknowledged == 1)
        assert one.worker.custody.statistics().handed_back == 1
    assert engine.messages == [message_id_of("main", "done"), message_id_of("main", "breaks")]


@pytest.mark.trio
async def test_a_worker_that_stops_stores_the_report_of_what_is_done_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reports = Reports(monkeypatch)
    engine = GatedEngine(is_open=True)
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine)) as one:
        await publish_story(bus, "done")
        await until(lambda: reports.waiting == 1)
        one.shutdown.set()
        await until(lambda: one.worker.statistics().lanes["main"].planner.parked is None)
        reports.go_on.set()
        await one.stop()
        await ear.until_reports(1)
        await until_empty(bus)
        assert one.worker.custody.statistics().handed_back == 0


# The share of each level


def fill(custody: Custody, counts: dict[Level, int]) -> None:
    sequence = 0
    for level, count in counts.items():
        for _ in range(count):
            sequence += 1
            custody.take(pulled(sequence), level)


@pytest.mark.trio
@pytest.mark.parametrize(
    ("held", "room"),
    [
        ({}, (80, 70, 70)),
        ({"normal": 70}, (10, 0, 10)),
        ({"normal": 40, "bulk": 30}, (10, 0, 0)),
        ({"high": 80}, (0, 10, 10)),
        ({"high": 80, "normal": 10}, (0, 0, 10)),
        ({"high": 80, "normal": 4, "bulk": 4}, (0, 6, 6)),
        ({"bulk": 80}, (0, 10, 0)),
    ],
    ids=str,
)
async def test_high_comes_first_and_a_share_is_kept_for_the_others(
    held: dict[Level, int], room: tuple[int, int, int]
) -> None:
    async with open_nats() as bus:
        custody = Custody(bus, now=virtual_now)
        fill(custody, held)
        levels: tuple[Level, Level, Level] = ("high", "normal", "bulk")
        assert tuple(custody.room(level, 80) for level in levels) == room


@pytest.mark.trio
async def test_a_worker_full_of_urgent_requests_still_takes_some_of_the_others() -> None:
    engine = GatedEngine()
    async with (
        open_nats() as bus,
        open_ear(bus, "storycast.report.>") as ear,
        open_worker(bus, engines(main=engine), quick(max_held=8)) as one,
    ):
        custody = one.worker.custody
        for n in range(20):
            await publish_story(bus, f"high{n}", 1, level="high")
        await until(lambda: custody.count("main", "high") >= 8)
        await publish_story(bus, "normal", 1)
        await publish_story(bus, "bulk", 1, level="bulk")
        await until(lambda: custody.count("main", "normal") == custody.count("main", "bulk") == 1)
        engine.gate.set()
        await ear.until_reports(22)
        await until_empty(bus)


# Memory


@pytest.mark.trio
async def test_a_worker_that_served_many_sessions_and_stories_remembers_none_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lanes_module, "IDLE_AFTER", 0.1)
    monkeypatch.setattr(lanes_module, "SWEEP", 0.05)
    made: list[NatsJobs] = []

    class Watched(NatsJobs):
        def __init__(self, bus: Bus) -> None:
            super().__init__(bus)
            made.append(self)

    monkeypatch.setattr("pipeline.worker.NatsJobs", Watched)
    async with (
        open_nats() as bus,
        open_ear(bus) as ear,
        open_worker(bus, lambda session: nullcontext(GatedEngine(is_open=True)), in_twos()) as one,
    ):
        for n in range(10):
            await publish_story(bus, "sale", SEVEN, session=f"s{n}")
        await ear.until_reports(10)
        await until(lambda: not one.worker.leases.held())
        assert made[0].remembered == 0
        assert one.worker.custody._counts == {}
        assert one.worker.custody._bytes == {}


@pytest.mark.trio
async def test_what_was_left_to_another_worker_is_remembered_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.worker.Leases", partial(Leases, ttl=1))
    monkeypatch.setattr(presence_module, "SILENT_FOR", 0.0)
    made: list[NatsJobs] = []

    class Watched(NatsJobs):
        def __init__(self, bus: Bus) -> None:
            super().__init__(bus)
            made.append(self)

    monkeypatch.setattr("pipeline.worker.NatsJobs", Watched)
    engine = SteppedEngine(steps=1)
    async with open_nats() as bus, open_worker(bus, engines(main=engine), in_twos(grace=0)):
        await publish_story(bus, "sale", SEVEN)
        await engine.until_calls(2)
        assert made[0].remembered == 1
        await claim_for(bus, "ghost")
        await until(lambda: made[0].remembered == 0)
        others = NatsJobs(bus)
        checkpoint = await others.load("main", "sale")
        assert checkpoint is not None
        await others.save(checkpoint)
        # Whose it is now is not heard of, so this one stores the order.
        assert (await order(bus, "pause")).state == "paused"
