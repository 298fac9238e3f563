"""The remote engine over a real server: what comes back is what the far side said, and no wait is in vain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio
from msgspec import structs

from pipeline import lanes
from stages.engine import Capabilities, Engine
from stages.errors import (
    ContentRefused,
    EngineFailure,
    OutcomeUnknown,
    RateLimited,
    RecipientsRejected,
    TooLarge,
    Unavailable,
)
from stages.messages import Image, Text
from tests.nats_support import (
    AT_MOST,
    Events,
    eventually,
    open_ear,
    open_nats,
    open_restartable,
    open_worker,
    publish_story,
)
from tests.remote.scripted import ScriptedEngine, failures
from tests.remote.serving import OFTEN, open_gateway, open_service
from tests.support import FULL, people
from transports.bus import Bus, Outbound, open_bus
from transports.remote import AlreadyServed, RemoteEngine, ensure_alone, open_remote
from transports.remote.wire import EngineFailed, EngineReport

pytestmark = pytest.mark.trio

HELLO = Text(text="Hello!")
THREE = people(3)
READY = Outbound("", msgspec.json.encode(EngineReport(state="ready", capabilities=FULL)))
FREE = Capabilities(reuses_message_id=False, targets_recipients=True)


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    async with open_nats(max_payload=100_000) as bus:
        yield bus


async def test_a_call_reaches_the_engine_and_its_receipt_comes_back(bus: Bus) -> None:
    far = ScriptedEngine()
    far.left_out = {THREE[1]: "not-on-whatsapp"}
    content = Image(mimetype="image/png", data=b"\x00\xff picture", caption="Nice")
    async with open_service(bus, far), open_remote(bus, "main") as engine:
        receipt = await engine.send(content, THREE, "3EB0A")
        await engine.send(content, THREE[:1], "3EB0A")
    assert (receipt.message_id, receipt.failed) == ("3EB0A", far.left_out)
    assert [call.recipients for call in far.posted] == [(THREE[0], THREE[2]), (THREE[0],)]
    assert {call.message_id for call in far.posted} == {"3EB0A"}
    assert len({call.content for call in far.posted}) == 1


async def test_an_id_that_the_engine_chooses_comes_back(bus: Bus) -> None:
    async with open_service(bus, ScriptedEngine(FREE)), open_remote(bus, "main") as engine:
        assert engine.capabilities == FREE
        assert (await engine.send(HELLO, THREE, None)).message_id == "CHOSEN1"


@pytest.mark.parametrize("failure", failures().values(), ids=failures())
async def test_a_failure_comes_out_as_it_was_raised(bus: Bus, failure: EngineFailure) -> None:
    far = ScriptedEngine()
    far.failure = failure
    async with open_service(bus, far), open_remote(bus, "main") as engine:
        with pytest.raises(type(failure)) as raised:
            await engine.send(HELLO, THREE, "A")
    assert (raised.type, str(raised.value)) == (type(failure), str(failure))


async def test_what_a_failure_knows_more_than_words_comes_out_too(bus: Bus) -> None:
    far = ScriptedEngine()
    async with open_service(bus, far), open_remote(bus, "main") as engine:
        far.failure = RateLimited("slowly", retry_after=2.5)
        with pytest.raises(RateLimited) as limited:
            await engine.send(HELLO, THREE, "A")
        far.failure = RecipientsRejected("bad ones", rejected={THREE[0]: "400"})
        with pytest.raises(RecipientsRejected) as rejected:
            await engine.send(HELLO, THREE, "A")
    assert limited.value.retry_after == 2.5
    assert rejected.value.rejected == {THREE[0]: "400"}


async def test_status_and_audience_are_the_engines_own(bus: Bus) -> None:
    far = ScriptedEngine(people=THREE)
    far.state = "restricted"
    async with open_service(bus, far), open_remote(bus, "main") as engine:
        status = await engine.status()
        assert (status.state, status.reason) == ("restricted", "as the test has it")
        assert await engine.audience() == THREE


async def test_an_audience_that_cannot_be_told_is_refused_with_the_reason(bus: Bus) -> None:
    async with open_service(bus, ScriptedEngine()), open_remote(bus, "main") as engine:
        with pytest.raises(ContentRefused, match="does not list"):
            await engine.audience()
    async with open_service(bus, ScriptedEngine(people=people(10_000))), open_remote(bus, "main") as engine:
        with pytest.raises(ContentRefused, match="10,000 does not fit"):
            await engine.audience()


async def test_nobody_there_is_unavailable_at_opening_and_in_a_call(bus: Bus) -> None:
    with pytest.raises(Unavailable, match="nobody serves the engine of session 'main'"):
        async with open_remote(bus, "main"):
            pass
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(open_service(bus, ScriptedEngine()))
        engine = await stack.enter_async_context(open_remote(bus, "main"))
        await service.stop()
        with pytest.raises(Unavailable, match="nobody serves"):
            await engine.send(HELLO, THREE, "A")
        with pytest.raises(Unavailable, match="nobody serves"):
            await engine.status()


async def test_who_only_listens_to_everything_is_not_taken_for_a_service(bus: Bus) -> None:
    async with (
        bus.subscribe(">"),
        open_service(bus, ScriptedEngine()) as service,
        open_remote(bus, "main") as engine,
    ):
        await service.stop()
        with pytest.raises(Unavailable, match="no answer to go by"):
            await engine.send(HELLO, THREE, "A")


async def test_nothing_goes_out_over_an_engine_that_is_closed(bus: Bus) -> None:
    far = ScriptedEngine()
    async with open_service(bus, far):
        async with open_remote(bus, "main") as engine:
            pass
        with pytest.raises(Unavailable, match="closed"):
            await engine.send(HELLO, THREE, "A")
    assert far.begun == 0


async def test_nothing_goes_out_while_there_is_no_connection_and_all_is_well_once_it_is_back(
    tmp_path: Path,
) -> None:
    far, events = ScriptedEngine(), Events()
    async with open_restartable(tmp_path) as server:
        await server.start()
        async with (
            open_bus(server.url, on_event=events) as bus,
            open_service(bus, far),
            open_remote(bus, "main") as engine,
        ):
            await server.stop()
            await events.until("is lost")
            with pytest.raises(Unavailable, match="no connection to NATS"):
                await engine.send(HELLO, THREE, "A")
            assert far.begun == 0
            await server.start()
            await events.until("connected to NATS again")
            await eventually(partial(sends, engine), bool)
    assert len(far.posted) == 1


async def sends(engine: RemoteEngine) -> bool:
    """Whether it sends: its service may be a moment behind."""
    try:
        return bool(await engine.send(HELLO, THREE, "A"))
    except Unavailable:
        return False


async def test_a_call_that_does_not_fit_in_a_message_is_too_large_and_one_person_a_refusal(bus: Bus) -> None:
    far = ScriptedEngine()
    async with open_service(bus, far), open_remote(bus, "main") as engine:
        await engine.send(HELLO, people(1_000), "A")
        for many in (2_500, 5_000):  # of the first it is the answer that might not fit
            with pytest.raises(TooLarge, match=f"{many:,} recipients"):
                await engine.send(HELLO, people(many), "A")
        picture = Image(mimetype="image/png", data=bytes(90_000))
        with pytest.raises(TooLarge):
            await engine.send(picture, THREE, "A")
        with pytest.raises(ContentRefused, match=r"max_payload.*url"):
            await engine.send(picture, THREE[:1], "A")
    assert far.begun == 1


async def test_an_answer_that_names_everybody_fits_whenever_the_call_did(bus: Bus) -> None:
    far = ScriptedEngine()
    everybody = people(1_200)
    async with open_service(bus, far), open_remote(bus, "main") as engine:
        far.left_out = dict.fromkeys(everybody, "x" * 1_000)
        assert (await engine.send(HELLO, everybody, "A")).failed == dict.fromkeys(everybody, "x" * 40)
        far.failure = RecipientsRejected("all", rejected=dict.fromkeys(everybody, "y" * 1_000))
        with pytest.raises(RecipientsRejected, match="all") as raised:
            await engine.send(HELLO, everybody, "A")
    assert raised.value.rejected == {}


@pytest.mark.parametrize(
    "answer",
    [
        Outbound("", b""),
        Outbound(
            "", b"Internal Server Error", {"Nats-Service-Error": "boom", "Nats-Service-Error-Code": "500"}
        ),
        Outbound("", b'{"type": "receipt"}'),
        Outbound("", msgspec.json.encode(EngineFailed(kind="struck-by-lightning"))),
        READY,
    ],
    ids=["nothing", "an error without a body of ours", "half a receipt", "an unknown kind", "a status"],
)
async def test_an_answer_that_says_nothing_leaves_the_outcome_unknown(bus: Bus, answer: Outbound) -> None:
    async with open_gateway(bus, status=READY, send=answer), open_remote(bus, "main") as engine:
        with pytest.raises(OutcomeUnknown):
            await engine.send(HELLO, THREE, "A")


async def test_what_an_answer_says_beyond_the_contract_is_passed_over(bus: Bus) -> None:
    receipt = {
        "type": "receipt",
        "messageId": "A",
        "failed": {"stranger": "x", THREE[0]: "y"},
        "mood": "good",
    }
    gateway = open_gateway(bus, status=READY, send=Outbound("", msgspec.json.encode(receipt)))
    async with gateway, open_remote(bus, "main") as engine:
        assert (await engine.send(HELLO, THREE, "A")).failed == {THREE[0]: "y"}


@pytest.mark.parametrize("most", [0, -5])
async def test_an_engine_that_takes_nobody_in_a_call_is_unavailable_and_told_why(bus: Bus, most: int) -> None:
    able = structs.replace(FULL, max_batch=most)
    status = Outbound("", msgspec.json.encode(EngineReport(state="ready", capabilities=able)))
    async with open_gateway(bus, status=status):
        with pytest.raises(Unavailable, match=r">= 1 - at `\$.capabilities.maxBatch`"):
            async with open_remote(bus, "main"):
                pass


async def test_no_phone_number_and_nothing_long_is_taken_from_a_gateway(bus: Bus) -> None:
    long = f"6281234567890 is not there {'x' * 30_000}"
    receipt = {"type": "receipt", "messageId": "A", "failed": {THREE[0]: long}}
    report = EngineReport(state="lost", reason=long, served_by=long, capabilities=FULL)
    status = Outbound("", msgspec.json.encode(report))
    gateway = open_gateway(bus, status=status, send=Outbound("", msgspec.json.encode(receipt)))
    async with gateway, open_remote(bus, "main") as engine:
        reason = (await engine.status()).reason
        (left_out,) = (await engine.send(HELLO, THREE, "A")).failed.values()
        with pytest.raises(AlreadyServed) as served:
            await ensure_alone(bus, "main")
    for said in (reason, left_out, str(served.value)):
        assert "628...90" in said
        assert "6281234567890" not in said
        assert len(said) < 1_000


@pytest.mark.parametrize("status", [b"", b"{}", b'{"type": "failure", "kind": "outcome-unknown"}'])
async def test_a_status_that_says_nothing_is_unavailable(bus: Bus, status: bytes) -> None:
    async with open_gateway(bus, status=Outbound("", status)):
        with pytest.raises(Unavailable):
            async with open_remote(bus, "main"):
                pass


async def test_a_call_whose_service_is_gone_is_given_up_long_before_its_deadline(bus: Bus) -> None:
    far = ScriptedEngine()
    far.gate = trio.Event()
    async with open_service(bus, far) as service, open_remote(bus, "main", look_every=OFTEN) as engine:

        async def kill_it() -> None:
            await far.until(begun=1)
            await service.kill()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_it)
            with trio.fail_after(AT_MOST), pytest.raises(OutcomeUnknown):
                await engine.send(HELLO, THREE, "A")


async def test_a_call_that_a_restarted_service_knows_nothing_of_is_given_up(bus: Bus) -> None:
    forgetful = Outbound("", msgspec.json.encode(EngineReport(state="ready", capabilities=FULL, calls=[])))
    async with open_gateway(bus, status=forgetful), open_remote(bus, "main", look_every=OFTEN) as engine:
        with trio.fail_after(AT_MOST), pytest.raises(OutcomeUnknown, match="lost the call"):
            await engine.send(HELLO, THREE, "A")


async def test_a_call_that_takes_long_is_not_given_up_while_the_service_has_it(bus: Bus) -> None:
    far = ScriptedEngine()
    far.gate = trio.Event()
    async with open_service(bus, far) as service, open_remote(bus, "main", look_every=OFTEN) as engine:

        async def open_gate() -> None:
            with trio.fail_after(AT_MOST):
                while (
                    far.asked < 8
                ):  # at opening, before the call, and then that many looks that have found it
                    await trio.lowlevel.checkpoint()
            far.gate.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_gate)
            assert (await engine.send(HELLO, THREE, "A")).message_id == "A"
        del service


async def test_the_far_side_ends_a_call_by_its_callers_deadline(bus: Bus) -> None:
    far = ScriptedEngine()
    far.silent = True
    async with open_service(bus, far), open_remote(bus, "main") as engine:
        with trio.move_on_after(0.5) as late:
            await engine.send(HELLO, THREE, "A")
        assert late.cancelled_caught
        await far.until(cancelled=1)


async def test_a_cancelled_call_is_left_at_once(bus: Bus) -> None:
    far = ScriptedEngine()
    far.gate = trio.Event()
    async with open_service(bus, far, grace=0), open_remote(bus, "main") as engine:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.send, HELLO, THREE, "A")
            await far.until(begun=1)
            nursery.cancel_scope.cancel()
        far.gate.set()
        assert (await engine.send(HELLO, THREE, "B")).message_id == "B"


async def use_until_it_is_another(bus: Bus, other: Engine) -> None:
    async with open_service(bus, ScriptedEngine()) as service, open_remote(bus, "main") as engine:
        await service.stop()
        async with open_service(bus, other):
            for ask in (partial(engine.send, HELLO, THREE, "A"), engine.status):
                with trio.CancelScope(shield=True), pytest.raises(Unavailable, match="open it anew"):
                    await ask()
            await trio.sleep_forever()


async def test_an_engine_that_became_another_one_sends_no_more_and_ends_its_block(bus: Bus) -> None:
    other = ScriptedEngine(FREE)
    with (
        trio.fail_after(AT_MOST),
        pytest.RaisesGroup(pytest.RaisesExc(Unavailable, match="open it anew"), flatten_subgroups=True),
    ):
        await use_until_it_is_another(bus, other)
    assert other.begun == 0


async def test_a_worker_goes_on_over_the_engine_that_its_session_is_served_by_now(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "AWAY_DELAY", 0.05)
    far, other = ScriptedEngine(), ScriptedEngine(FREE)
    async with open_ear(bus, "storycast.report.>") as ear, open_worker(bus, partial(open_remote, bus)):
        async with open_service(bus, far):
            await publish_story(bus, "first", THREE)
            await ear.until_reports(1)
        async with open_service(bus, other):
            await publish_story(bus, "second", THREE)
            await ear.until_reports(2)
            await publish_story(bus, "third", THREE)
            [first, second, third] = await ear.until_reports(3)
    assert [report.sent_successfully for report in (first, second, third)] == [3, 0, 3]
    # What was about to go out when the other one was noticed is not sent again under another id.
    assert second.unknown == 3
    assert third.message_id == other.posted[0].message_id == "CHOSEN1"
