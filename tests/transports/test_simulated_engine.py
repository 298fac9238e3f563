"""The simulated engine keeps the promises of every engine, and its ledger says what became of each call."""

from __future__ import annotations

import anyio
import pytest

from stages.errors import AccountRestricted, OutcomeUnknown, RecipientsRejected, Unavailable
from stages.messages import Text
from tests.support import people
from transports.simulated import Profile, SimulatedEngine
from transports.simulated.profile import Latency, Numbers, Timeout, Window

pytestmark = pytest.mark.anyio

HELLO = Text(text="Hello!")
TEN = people(10)


async def test_a_call_takes_its_time_on_the_clock_of_the_event_loop() -> None:
    engine = SimulatedEngine(Profile(latency=Latency(a=3, b=0.1)))
    receipt = await engine.send(HELLO, TEN, "A")
    assert anyio.current_time() == pytest.approx(4, abs=1e-6)
    assert (receipt.message_id, receipt.failed) == ("A", {})
    assert engine.ledger.audience("A") == frozenset(TEN)


async def test_with_speed_twenty_its_time_runs_twenty_times_as_fast() -> None:
    engine = SimulatedEngine(Profile(latency=Latency(a=40, b=0), timeout=Timeout(seconds=100)), speed=20)
    await engine.send(HELLO, TEN, "A")
    assert anyio.current_time() == pytest.approx(2, abs=1e-6)
    assert engine.ledger.calls[0].ended == pytest.approx(40, abs=1e-4)


async def test_without_an_id_it_chooses_a_new_one_each_time() -> None:
    engine = SimulatedEngine(Profile())
    ids = {(await engine.send(HELLO, TEN, None)).message_id for _ in range(3)}
    assert len(ids) == 3
    assert all(one.startswith("3EB0") for one in ids)


async def test_the_ledger_notes_each_call_with_its_times_size_id_and_outcome() -> None:
    engine = SimulatedEngine(Profile(latency=Latency(a=1, b=0), outages=(Window(start=2, end=3),)))
    await engine.send(HELLO, TEN, "A")
    await anyio.sleep(1.5)
    with pytest.raises(Unavailable):
        await engine.send(HELLO, TEN[:4], "A")
    first, second = engine.ledger.calls
    assert (first.recipients, first.message_id, first.outcome) == (10, "A", "sent")
    assert (first.began, first.ended) == pytest.approx((0, 1), abs=1e-6)
    assert (second.recipients, second.outcome) == (4, "unavailable")
    assert second.began == pytest.approx(2.5, abs=1e-6)


async def test_a_call_that_fails_has_reached_nobody() -> None:
    engine = SimulatedEngine(Profile(numbers=Numbers(dead=(TEN[0],), answer="unnamed")))
    with pytest.raises(RecipientsRejected):
        await engine.send(HELLO, TEN, "A")
    assert engine.ledger.audience("A") == frozenset()


@pytest.mark.parametrize(("delivers", "reached"), [(0.0, 0), (1.0, 10)])
async def test_a_call_that_timed_out_may_have_reached_everybody(delivers: float, reached: int) -> None:
    engine = SimulatedEngine(Profile(latency=Latency(a=99), timeout=Timeout(seconds=15, delivers=delivers)))
    with pytest.raises(OutcomeUnknown):
        await engine.send(HELLO, TEN, "A")
    assert anyio.current_time() == pytest.approx(15, abs=1e-6)
    assert len(engine.ledger.audience("A")) == reached


async def test_a_cancelled_call_has_reached_nobody_and_is_noted() -> None:
    engine = SimulatedEngine(Profile(latency=Latency(a=10)))
    with anyio.move_on_after(3):
        await engine.send(HELLO, TEN, "A")
    assert engine.ledger.audience("A") == frozenset()
    [call] = engine.ledger.calls
    assert call.outcome == "cancelled"
    assert call.ended == pytest.approx(3, abs=1e-6)


async def test_recipients_the_receipt_names_have_not_seen_it() -> None:
    engine = SimulatedEngine(Profile(numbers=Numbers(dead=tuple(TEN[:3]))))
    receipt = await engine.send(HELLO, TEN, "A")
    assert list(receipt.failed) == TEN[:3]
    assert engine.ledger.audience("A") == frozenset(TEN[3:])


async def test_calls_at_the_same_time_slow_each_other_down_as_the_profile_has_it() -> None:
    engine = SimulatedEngine(Profile(latency=Latency(a=1, b=0, concurrency_cost=1)))
    async with anyio.create_task_group() as calls:
        for _ in range(3):
            calls.start_soon(engine.send, HELLO, TEN, "A")
    assert sorted(call.ended for call in engine.ledger.calls) == pytest.approx([1, 2, 3], abs=1e-6)


async def test_its_status_tells_of_outages_and_of_a_restriction() -> None:
    engine = SimulatedEngine(Profile(outages=(Window(start=5, end=9),), restricted_after_calls=0))
    states = []
    for _ in range(3):
        states.append((await engine.status()).state)
        await anyio.sleep(5)
    assert states == ["ready", "unavailable", "ready"]
    with pytest.raises(AccountRestricted):
        await engine.send(HELLO, TEN, "A")
    assert (await engine.status()).state == "restricted"
