"""A service of an engine: found by NATS' tools, the only one of its session, bounded, and orderly in leaving."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import msgspec
import pytest
import trio
from nats.micro.service import ServiceInfo, ServicePing, ServiceStats

from stages.engine import Capabilities
from stages.errors import OutcomeUnknown, RateLimited, Unavailable
from stages.messages import Text
from tests.nats_support import AT_MOST, eventually, open_nats, url_of
from tests.remote.scripted import ScriptedEngine
from tests.remote.serving import OFTEN, Service, open_service
from tests.support import people
from transports.bus import Bus, Inbound, Outbound, open_bus
from transports.errors import NoResponders
from transports.remote import AlreadyServed, open_remote, serve_engine
from transports.remote.alone import Claim, claimed
from transports.remote.service import MOST
from transports.remote.wire import HEADER_ERROR, HEADER_ERROR_CODE, EngineReport

pytestmark = pytest.mark.trio

HELLO = Text(text="Hello!")
TWO = people(2)
SEND = "storycast.engine.main.send"


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    async with open_nats() as bus:
        yield bus


async def asked(bus: Bus, subject: str, body: Any = None) -> Inbound:
    return await bus.request(Outbound(subject, b"" if body is None else msgspec.json.encode(body)))


def call(**changes: Any) -> dict[str, Any]:
    content = {"type": "text", "text": "Hi"}
    return {"callId": "1", "content": content, "recipients": TWO, "deadlineMs": 60_000} | changes


# Being found


@pytest.mark.parametrize("whom", ["", ".storycast-engine", ".storycast-engine.{id}"])
async def test_tools_find_the_service_by_nothing_by_its_name_and_by_its_id(bus: Bus, whom: str) -> None:
    async with open_service(bus, ScriptedEngine(), session="sales", kind="waha") as service:
        name = whom.format(id=service.identity.id)
        pinged = ServicePing.from_dict(msgspec.json.decode((await asked(bus, f"$SRV.PING{name}")).data))
        info = ServiceInfo.from_dict(msgspec.json.decode((await asked(bus, f"$SRV.INFO{name}")).data))
        stats = ServiceStats.from_dict(msgspec.json.decode((await asked(bus, f"$SRV.STATS{name}")).data))
    for found in (pinged, info, stats):
        assert (found.name, found.id) == ("storycast-engine", service.identity.id)
        assert found.metadata == {"session": "sales", "engine": "waha"}
    assert {endpoint.name: (endpoint.subject, endpoint.queue_group) for endpoint in info.endpoints} == {
        name: (f"storycast.engine.sales.{name}", "q") for name in ("send", "status", "audience")
    }


async def test_its_statistics_count_requests_errors_and_the_time_they_took(bus: Bus) -> None:
    far = ScriptedEngine()
    async with open_service(bus, far), open_remote(bus, "main") as engine:
        await engine.send(HELLO, TWO, "A")
        far.failure = RateLimited("too many")
        with pytest.raises(RateLimited):
            await engine.send(HELLO, TWO, "A")
        answer = await asked(bus, "$SRV.STATS.storycast-engine")
    [send, status, _] = ServiceStats.from_dict(msgspec.json.decode(answer.data)).endpoints
    assert (send.num_requests, send.num_errors) == (2, 1)
    assert send.last_error == "rate-limited: too many"
    assert send.processing_time >= send.average_processing_time > 0
    assert status.num_errors == 0


async def test_a_failure_is_an_error_to_every_tool_and_a_receipt_is_none(bus: Bus) -> None:
    far = ScriptedEngine()
    async with open_service(bus, far):
        assert HEADER_ERROR not in (await asked(bus, SEND, call())).headers
        far.failure = RateLimited("too many")
        failed = await asked(bus, SEND, call())
    assert (failed.headers[HEADER_ERROR_CODE], failed.headers[HEADER_ERROR]) == ("429", "too many")
    assert msgspec.json.decode(failed.data)["kind"] == "rate-limited"


async def test_what_is_no_call_is_refused_and_reaches_nobody(bus: Bus) -> None:
    far = ScriptedEngine()
    async with open_service(bus, far):
        for body in (None, {}, call(mood="good"), call(recipients=[]), call(deadlineMs=0)):
            answer = await asked(bus, SEND, body)
            assert msgspec.json.decode(answer.data)["kind"] == "content-refused"
            assert answer.headers[HEADER_ERROR_CODE] == "400"
    assert far.begun == 0


@pytest.mark.parametrize("wanted", [{"targeted": False}, {"messageId": "A"}])
async def test_a_call_for_another_kind_of_engine_reaches_nobody(bus: Bus, wanted: dict[str, Any]) -> None:
    far = ScriptedEngine(Capabilities(reuses_message_id=False, targets_recipients=True))
    async with open_service(bus, far):
        answer = await asked(bus, SEND, call(**wanted))
    assert msgspec.json.decode(answer.data)["kind"] == "unavailable"
    assert far.begun == 0


# Being the only one


async def test_a_second_service_of_a_session_is_refused_and_told_who_is_there(bus: Bus) -> None:
    async with (
        open_service(bus, ScriptedEngine(), kind="waha"),
        open_service(bus, ScriptedEngine(), session="b"),
    ):
        with pytest.RaisesGroup(
            pytest.RaisesExc(AlreadyServed, match=r"'main' is served already by waha on .*process \d+"),
            flatten_subgroups=True,
        ):
            async with open_service(bus, ScriptedEngine()):
                pass


@pytest.mark.parametrize("attempt", range(3))
async def test_of_services_that_start_at_the_same_moment_one_stays_and_gets_all_calls(
    bus: Bus, attempt: int
) -> None:
    engines = [ScriptedEngine() for _ in range(4)]
    refused = trio.Semaphore(0)
    shutdown = trio.Event()
    up = trio.Event()

    async def run(engine: ScriptedEngine) -> None:
        async with open_bus(url_of(bus)) as own, trio.open_nursery() as nursery:
            try:
                await nursery.start(
                    partial(serve_engine, own, "main", engine, kind="waha", shutdown=shutdown)
                )
                up.set()
            except* AlreadyServed:
                refused.release()

    async with trio.open_nursery() as nursery:
        for engine in engines:
            nursery.start_soon(run, engine)
        with trio.fail_after(AT_MOST):
            await up.wait()
            for _ in engines[1:]:
                await refused.acquire()
        async with open_remote(bus, "main") as remote:
            for number in range(10):
                await remote.send(HELLO, TWO, f"A{number}")
        shutdown.set()
    assert sorted(engine.begun for engine in engines) == [0, 0, 0, 10]


async def test_a_service_that_is_there_stays_though_a_newcomer_claims_the_session(bus: Bus) -> None:
    async with open_service(bus, ScriptedEngine()):
        with pytest.RaisesGroup(AlreadyServed, flatten_subgroups=True, allow_unwrapped=True):
            async with claimed(bus, "main", Claim(id="0")):
                pass
        async with open_remote(bus, "main") as engine:
            await engine.send(HELLO, TWO, "A")


async def test_a_session_is_free_again_once_its_service_has_ended(bus: Bus) -> None:
    async with open_service(bus, ScriptedEngine()) as first:
        await first.stop()
        async with open_service(bus, ScriptedEngine()):
            pass


# Bounds


async def test_calls_beyond_the_bound_are_refused_and_all_others_answered(bus: Bus) -> None:
    far = ScriptedEngine()
    far.gate = trio.Event()
    async with open_service(bus, far), open_remote(bus, "main") as engine, trio.open_nursery() as nursery:
        for number in range(MOST):
            nursery.start_soon(engine.send, HELLO, TWO, f"A{number}")
        await far.until(begun=MOST)
        with pytest.raises(RateLimited, match="64 calls are under way") as raised:
            await engine.send(HELLO, TWO, "B")
        assert raised.value.retry_after == 1
        assert (await engine.status()).state == "ready"
        far.gate.set()
    assert far.begun == len(far.posted) == MOST


async def test_a_fault_in_the_engine_costs_one_call_and_not_the_service(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    far = ScriptedEngine()
    far.failure = ZeroDivisionError("with a secret in it")
    async with open_service(bus, far), open_remote(bus, "main") as engine:
        with pytest.raises(OutcomeUnknown, match="fault of its own"):
            await engine.send(HELLO, TWO, "A")
        await engine.send(HELLO, TWO, "A")
    [record] = [it for it in caplog.records if it.getMessage() == "a fault in a call"]
    assert vars(record)["fault"] == "ZeroDivisionError"
    assert "secret" not in str(vars(record))


# Leaving


async def leaving(bus: Bus, far: ScriptedEngine, service: Service) -> None:
    """Ask the service to end in the middle of a call; returns when it takes no more."""
    await far.until(begun=1)
    service.shutdown.set()

    async def ask() -> str:
        try:
            return str(msgspec.json.decode((await asked(bus, SEND, {})).data)["kind"])
        except NoResponders:
            return "nobody"

    await eventually(ask, lambda said: said == "nobody")


async def test_it_leaves_once_the_calls_under_way_have_ended(bus: Bus) -> None:
    far = ScriptedEngine()
    far.gate = trio.Event()
    async with open_service(bus, far) as service, open_remote(bus, "main", look_every=OFTEN) as engine:

        async def end() -> None:
            await leaving(bus, far, service)
            status = await engine.status()
            assert (status.state, status.reason) == ("unavailable", "the service is about to end")
            with pytest.raises(Unavailable):
                await engine.send(HELLO, TWO, "B")
            assert not service.ended.is_set()
            far.gate.set()
            with trio.fail_after(AT_MOST):
                await service.ended.wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end)
            assert (await engine.send(HELLO, TWO, "A")).message_id == "A"
    assert len(far.posted) == 1


async def test_calls_that_do_not_end_in_time_are_answered_that_nobody_knows(bus: Bus) -> None:
    far = ScriptedEngine()
    far.gate = trio.Event()
    async with (
        open_service(bus, far, grace=0.1) as service,
        open_remote(bus, "main") as engine,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(leaving, bus, far, service)
        with trio.fail_after(AT_MOST), pytest.raises(OutcomeUnknown, match="ended in the middle"):
            await engine.send(HELLO, TWO, "A")
    assert far.posted == []


async def test_the_status_names_the_calls_under_way(bus: Bus) -> None:
    far = ScriptedEngine()
    far.gate = trio.Event()

    async def calls() -> list[str] | None:
        answer = await asked(bus, "storycast.engine.main.status")
        return msgspec.json.decode(answer.data, type=EngineReport).calls

    async with open_service(bus, far), trio.open_nursery() as nursery:
        nursery.start_soon(asked, bus, SEND, call(callId="mine"))
        await far.until(begun=1)
        assert await calls() == ["mine"]
        far.gate.set()
        await eventually(calls, lambda named: named == [])
