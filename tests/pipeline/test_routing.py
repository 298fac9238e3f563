"""Routing: whichever worker gets a request, the one that owns its session serves it, as it came, and once."""

from __future__ import annotations

from functools import partial

import msgspec
import pytest

from pipeline import custody as custody_module
from pipeline import lanes as lanes_module
from pipeline import presence as presence_module
from pipeline import routing as routing_module
from pipeline.leases import Lease
from stages import message_id_of
from tests.nats_support import (
    MIB,
    Ear,
    GatedEngine,
    RunningWorker,
    engines,
    eventually,
    open_ear,
    open_nats,
    open_worker,
    publish,
    publish_story,
    quick,
    stored,
    until_empty,
)
from tests.pipeline.crew import (
    SteppedEngine,
    claim_for,
    in_twos,
    nothing_expires,
    owner_of,
    until,
)
from tests.support import people, request
from transports.bus import Outbound
from transports.layout import CONSUMERS
from transports.subjects import forwards_to


def forwarded(*workers: RunningWorker) -> int:
    return sum(each.worker.routing.statistics().forwarded for each in workers)


def answered(ear: Ear, count: int) -> bool:
    return len(ear.on("answers.")) == count


@pytest.mark.trio
async def test_all_requests_of_a_session_are_served_by_its_owner_each_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing_expires(monkeypatch)
    engine = GatedEngine(is_open=True)
    async with (
        open_nats() as bus,
        open_ear(bus, "storycast.report.>") as ear,
        open_ear(bus, "$JS.ACK.>") as settled,
        open_worker(bus, engines(main=engine), quick()) as one,
        open_worker(bus, engines(main=engine), quick()) as two,
    ):
        for n in range(100):
            await publish_story(bus, f"s{n}", 1)
        await ear.until_reports(100)
        await until_empty(bus)
        assert forwarded(one, two)
        owner = owner_of("main", one, two)
        assert owner.worker.publisher.statistics().reports == 100
        assert owner.worker.custody.statistics().acknowledged == 100
    assert sorted(engine.messages) == sorted(message_id_of("main", f"s{n}") for n in range(100))
    assert [message.data for message in settled.messages].count(b"+ACK") == 100


@pytest.mark.trio
async def test_a_request_that_is_passed_on_has_everything_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_expires(monkeypatch)
    monkeypatch.setattr(lanes_module, "IDLE_AFTER", 600)
    engine = GatedEngine(is_open=True)
    async with (
        open_nats(max_payload=MIB) as bus,
        open_ear(bus, "storycast.report.>", "storycast.rejected.>", "answers.>") as ear,
        open_ear(bus, "storycast.worker.*.send.>") as passed_on,
        open_worker(bus, engines(main=engine), quick()) as one,
        open_worker(bus, engines(main=engine), quick()) as two,
    ):
        count = 0
        while not passed_on.messages:
            body = msgspec.msgpack.encode(request(f"s{count}", 1))
            await publish(
                bus,
                body,
                level="bulk",
                Content_Type="application/msgpack",
                Storycast_Reply_To=f"answers.s{count}",
                X_Other="kept",
            )
            count += 1
            await ear.until(partial(answered, ear, count))
        await until_empty(bus)
        assert forwarded(one, two)
    assert ear.rejections == []
    assert len(ear.reports) == count
    [message, *_] = passed_on.messages
    assert message.subject.endswith(".send.main.bulk")
    assert message.headers["X-Other"] == "kept"


@pytest.mark.trio
async def test_a_request_as_large_as_the_server_takes_is_passed_on_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing_expires(monkeypatch)
    engine = GatedEngine(is_open=True)
    headers = {"Storycast-Reply-To": "answers.all"}
    room = MIB - len("NATS/1.0\r\n\r\n") - sum(len(f"{name}: {value}\r\n") for name, value in headers.items())
    async with (
        open_nats(max_payload=MIB) as bus,
        open_ear(bus, "answers.>") as ear,
        open_worker(bus, engines(main=engine), quick()) as one,
        open_worker(bus, engines(main=engine), quick()) as two,
    ):
        count = 0
        while not forwarded(one, two):
            body = msgspec.json.encode(request(f"s{count}", 1))
            await publish(bus, body + b" " * (room - len(body)), Storycast_Reply_To="answers.all")
            count += 1
            await ear.until(partial(answered, ear, count))
        await until_empty(bus)
    assert len(engine.messages) == count


@pytest.mark.trio
async def test_a_request_whose_owner_is_dead_waits_until_its_lease_has_expired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(presence_module, "SILENT_FOR", 0.0)
    monkeypatch.setattr(routing_module, "AGAIN_SOON", 0.05)
    monkeypatch.setattr(routing_module, "BELIEVED", 0.0)
    engine = GatedEngine(is_open=True)
    async with (
        open_nats() as bus,
        open_ear(bus, "storycast.report.>") as ear,
        open_ear(bus, "storycast.worker.*.send.>") as passed_on,
        open_worker(bus, engines(main=engine), quick()) as one,
    ):
        await claim_for(bus, "ghost", ttl=1)
        await publish_story(bus, "sale")
        await until(lambda: one.worker.routing.statistics().handed_back > 0)
        assert engine.calls == []
        [report] = await ear.until_reports(1)
        await until_empty(bus)
    assert report.success
    assert passed_on.messages == []


@pytest.mark.trio
async def test_a_request_that_was_passed_on_to_a_worker_that_died_before_it_took_it_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = [each.evolve(ack_wait=1.0) for each in CONSUMERS]
    monkeypatch.setattr("transports.streams.CONSUMERS", short)
    monkeypatch.setattr(custody_module, "HEARTBEAT", 0.1)
    monkeypatch.setattr(presence_module, "SILENT_FOR", 1.0)
    engine = GatedEngine(is_open=True)
    async with (
        open_nats() as bus,
        open_ear(bus, "storycast.report.>") as ear,
        open_ear(bus, forwards_to("ghost")) as passed_on,
        open_worker(bus, engines(main=engine), quick()) as one,
    ):
        await claim_for(bus, "ghost", ttl=2)
        await bus.publish([Outbound("storycast.workers.alive", b"ghost")])
        await publish_story(bus, "sale")
        await passed_on.until(lambda: len(passed_on.messages) >= 1)
        [report] = await ear.until_reports(1)
        await until_empty(bus)
        assert one.worker.custody.statistics().acknowledged == 1
    assert report.success
    assert len(engine.calls) == 1


@pytest.mark.trio
async def test_an_owner_that_is_full_hands_back_what_is_passed_on_to_it_and_serves_it_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing_expires(monkeypatch)
    monkeypatch.setattr(lanes_module, "HELD_PER_LEVEL", 2)
    monkeypatch.setattr(lanes_module, "busy_delay", lambda attempt: 0.05)
    engine = GatedEngine()
    async with (
        open_nats() as bus,
        open_ear(bus, "storycast.report.>") as ear,
        open_worker(bus, engines(main=engine), quick()) as one,
        open_worker(bus, engines(main=engine), quick()) as two,
    ):
        for n in range(20):
            await publish_story(bus, f"s{n}", 1)
        await until(lambda: forwarded(one, two) > 2)
        owner = owner_of("main", one, two)
        await until(lambda: owner.worker.custody.statistics().handed_back > 2)
        assert owner.worker.custody.count("main", "normal") <= 2
        engine.gate.set()
        await ear.until_reports(20)
        await until_empty(bus)
    assert sorted(engine.messages) == sorted(message_id_of("main", f"s{n}") for n in range(20))


@pytest.mark.trio
async def test_a_worker_that_holds_as_much_as_it_may_takes_nothing_that_is_passed_on_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing_expires(monkeypatch)
    engine = GatedEngine()
    async with (
        open_nats() as bus,
        open_ear(bus, "storycast.report.>") as ear,
        open_worker(bus, engines(main=engine), quick(max_held=8)) as one,
    ):
        await publish_story(bus, "first", 1)
        await engine.until_calls(1)
        async with open_worker(bus, engines(main=engine), quick()) as two:
            for n in range(40):
                await publish_story(bus, f"s{n}", 1)
            await until(lambda: forwarded(two) > 20)
            await until(lambda: one.worker.routing.statistics().handed_back > 5)
            assert one.worker.custody.statistics().held <= 16, (
                "what was asked for when there was room still comes"
            )
            engine.gate.set()
            await ear.until_reports(41)
            await until_empty(bus)


@pytest.mark.trio
async def test_a_worker_that_serves_as_many_sessions_as_it_may_still_passes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing_expires(monkeypatch)
    monkeypatch.setattr(lanes_module, "BUSY_DELAY", 600)
    monkeypatch.setattr(routing_module, "busy_delay", lambda attempt: 600.0)
    busy, engine = GatedEngine(), GatedEngine(is_open=True)
    async with (
        open_nats() as bus,
        open_ear(bus, "storycast.report.>") as ear,
        open_worker(bus, engines(busy=busy), quick(max_sessions=1)) as full,
    ):
        await publish_story(bus, "one", session="busy")
        await busy.until_calls(1)
        async with open_worker(bus, engines(main=engine), quick()) as other:
            assert isinstance(await other.worker.leases.acquire("main"), Lease)
            for n in range(40):
                await publish_story(bus, f"s{n}", 1)
            await ear.until_reports(40)
            assert forwarded(full)
            busy.gate.set()
            await until_empty(bus)


@pytest.mark.trio
@pytest.mark.parametrize(
    "reply", ["", "answers.x", "a.b.c.d.e.f", "STORYCAST_SENDS.storycast-normal.x.y.z.1.2"]
)
async def test_what_is_passed_on_without_being_a_request_stops_nothing(reply: str) -> None:
    engine = GatedEngine(is_open=True)
    async with (
        open_nats() as bus,
        open_ear(bus, "storycast.report.>") as ear,
        open_worker(bus, engines(main=engine), quick()) as one,
    ):
        subject = f"storycast.worker.{one.worker.id}.send.main"
        for onto in (
            subject,
            f"{subject}.high",
            f"{subject}.x.y.z",
            f"storycast.worker.{one.worker.id}.send.ü",
        ):
            await bus.publish([Outbound(onto, b"{}", reply=reply)])
        await publish_story(bus, "sale")
        [report] = await ear.until_reports(1)
    assert report.success


@pytest.mark.trio
async def test_a_session_that_cannot_be_is_refused_once_whoever_gets_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nothing_expires(monkeypatch)
    async with (
        open_nats() as bus,
        open_ear(bus, "storycast.rejected.>") as ear,
        open_worker(bus, engines(), quick()) as one,
        open_worker(bus, engines(), quick()) as two,
    ):
        for n in range(20):
            await publish(bus, request(f"s{n}", 1), session=f"no-sëssion{n}")
        await until_empty(bus)
        assert one.worker.custody.statistics().held == two.worker.custody.statistics().held == 0
    assert [rejection.code for rejection in ear.rejections] == ["invalid-session"] * 20
    assert len({rejection.found for rejection in ear.rejections}) == 20


@pytest.mark.trio
async def test_a_worker_that_has_stopped_is_passed_nothing_on_to(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing_expires(monkeypatch)
    monkeypatch.setattr(routing_module, "BELIEVED", 600)
    engine = SteppedEngine()
    async with (
        open_nats() as bus,
        open_ear(bus, "storycast.report.>") as ear,
        open_worker(bus, engines(main=engine), in_twos()) as one,
        open_worker(bus, engines(main=engine), in_twos()) as two,
    ):
        await publish_story(bus, "sale", people(7))
        await engine.until_calls(1)
        owner = owner_of("main", one, two)
        count = 0
        while not forwarded(one, two):
            await publish_story(bus, f"more{count}", 2)
            count += 1
        custody = owner.worker.custody
        await eventually(lambda: stored(bus), lambda _: custody.statistics().held == 1 + count)
        engine.let()
        await owner.stop()
        for n in range(20):
            await publish_story(bus, f"late{n}", 2)
        await ear.until_reports(1 + count + 20)
        await until_empty(bus)
    assert engine.sent("sale") == dict.fromkeys(people(7), 1)
