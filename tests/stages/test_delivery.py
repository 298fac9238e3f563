"""A batch to the engine: what follows from each kind of failure, and that nobody is lost on the way."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from stages.cadence import NO_LIMIT, Pace
from stages.control import Control, Order
from stages.delivery import Fence, Limits, Sender, unfenced
from stages.engine import EngineState, Receipt
from stages.errors import (
    AccountRestricted,
    ContentRefused,
    EngineFailure,
    OutcomeUnknown,
    RateLimited,
    RecipientsRejected,
    SessionLost,
    TooLarge,
    Unavailable,
)
from stages.flow import BatchResult, Held
from stages.messages import Content
from stages.options import SmartSend
from stages.pacing import Pacer
from stages.tally import CALLS, Tally
from tests.support import (
    Answer,
    Hang,
    ScriptedEngine,
    batch,
    most_in_a_window,
    no_jitter,
    on_virtual_time,
    people,
    story,
)

pytestmark = pytest.mark.anyio


@dataclass
class Sending:
    """A sender over an engine, whose pace does not matter unless a test says so."""

    engine: ScriptedEngine
    limits: Limits = field(default_factory=Limits)
    rate: float = 1_000.0
    held: list[Held] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pacer = Pacer(self.rate, random=no_jitter)
        self.sender = Sender(self.engine, self.pacer, limits=self.limits, random=no_jitter)

    async def send(self, size: int = 8, **fields: object) -> BatchResult:
        of = structs.replace(batch(story(size, options=SmartSend(batch_delay=0))), **fields)
        return await self.sender.send(of, of.recipients, self._hold)

    async def _hold(self, held: Held) -> None:
        self.held.append(held)


def places(came_back: BatchResult) -> tuple[int, int, int, int]:
    return len(came_back.sent), len(came_back.failed), len(came_back.unsent), len(came_back.unsure)


def refuses(bad: Sequence[str], *, named: bool) -> Answer:
    """An engine that refuses every call with one of `bad` in it."""

    def answer(recipients: Sequence[str]) -> Mapping[str, str]:
        found = [jid for jid in recipients if jid in bad]
        if found:
            raise RecipientsRejected(rejected=dict.fromkeys(found, "not-on-whatsapp") if named else None)
        return {}

    return answer


# It goes well


async def test_a_batch_that_goes_through_is_one_call_with_the_id_of_the_anchor() -> None:
    sending = Sending(ScriptedEngine(seconds=1.5))
    came_back = await sending.send()
    assert (came_back.outcome, came_back.sent, came_back.whole) == ("sent", people(8), True)
    assert came_back.duration == pytest.approx(1.5, abs=1e-6)
    [call] = sending.engine.calls
    assert (call.recipients, call.message_id) == (tuple(people(8)), "3EB0ANCHOR")
    assert sending.held == []


async def test_recipients_the_receipt_names_are_failed_with_its_reason_and_the_others_sent() -> None:
    dead = people(3)[2]
    came_back = await Sending(ScriptedEngine({dead: "not-on-whatsapp", "a stranger": "x"})).send()
    assert came_back.outcome == "sent"
    assert came_back.failed == {dead: "not-on-whatsapp"}
    assert places(came_back) == (7, 1, 0, 0)


async def test_the_pause_between_batches_comes_from_the_options_of_the_story() -> None:
    sending = Sending(ScriptedEngine())
    of = batch(story(3, options=SmartSend(batch_delay=2_500)))
    for _ in range(2):
        await sending.sender.send(of, of.recipients, sending._hold)
    assert sending.engine.waits() == pytest.approx([2.5], abs=1e-5)


# RateLimited


async def test_a_refused_call_is_repeated_whole_after_one_two_and_four_seconds() -> None:
    sending = Sending(ScriptedEngine(RateLimited(), RateLimited(), RateLimited()))
    came_back = await sending.send()
    assert sending.engine.waits() == pytest.approx([1, 2, 4], abs=1e-5)
    assert sending.engine.sizes == [8, 8, 8, 8]
    assert (places(came_back), came_back.whole) == ((8, 0, 0, 0), True)
    assert [held.seconds for held in sending.held] == [1, 2, 4]
    assert came_back.gap == pytest.approx(2), "the gap comes down by a step with the call that went through"


async def test_the_duration_of_a_batch_that_was_refused_first_is_that_of_the_call_that_went_through() -> None:
    came_back = await Sending(ScriptedEngine(RateLimited(), seconds=0.3)).send()
    assert came_back.duration == pytest.approx(0.3, abs=1e-6)
    assert came_back.elapsed == pytest.approx(1.6, abs=1e-5), "both calls, and the wait between them"


async def test_the_time_of_a_batch_counts_from_its_first_call_and_not_from_its_turn() -> None:
    sending = Sending(ScriptedEngine(TooLarge(), seconds=0.5))
    sending.pacer.pause(60)
    came_back = await sending.send()
    assert anyio.current_time() > 60
    assert came_back.duration == pytest.approx(0.5, abs=1e-6)
    assert came_back.elapsed == pytest.approx(1.5, abs=0.01)


async def test_the_wait_the_server_names_is_kept() -> None:
    sending = Sending(ScriptedEngine(RateLimited(retry_after=33)))
    await sending.send()
    assert sending.engine.waits() == pytest.approx([33 * 1.05], abs=1e-5)


async def test_refusals_beyond_all_patience_stop_the_session_with_nobody_failed() -> None:
    sending = Sending(ScriptedEngine(otherwise=RateLimited("slow down")), limits=Limits(patience=60))
    came_back = await sending.send()
    assert (came_back.outcome, came_back.failure) == ("parked", "rate-limited")
    assert (places(came_back), came_back.reason) == ((0, 0, 8, 0), "slow down")
    assert 45 < anyio.current_time() <= 60


async def test_refusals_within_all_patience_stop_nothing() -> None:
    sending = Sending(ScriptedEngine(*[RateLimited()] * 7), limits=Limits(patience=60))
    assert (await sending.send()).outcome == "sent"


async def test_a_server_that_asks_for_more_than_all_patience_is_not_waited_for() -> None:
    sending = Sending(ScriptedEngine(RateLimited(retry_after=3_600)), limits=Limits(patience=60))
    assert (await sending.send()).outcome == "parked"
    assert anyio.current_time() < 1


async def test_the_pace_of_the_session_itself_uses_up_none_of_its_patience() -> None:
    sending = Sending(ScriptedEngine(None, RateLimited()), limits=Limits(patience=900))
    of = batch(story(8, options=SmartSend(batch_delay=1_000_000)))
    outcomes = [(await sending.sender.send(of, of.recipients, sending._hold)).outcome for _ in range(2)]
    assert outcomes == ["sent", "sent"]


# Unavailable


async def test_an_outage_costs_no_try_while_the_engine_says_that_it_is_not_ready() -> None:
    states = ["unavailable"] * 6 + ["starting"] * 4 + ["ready"]
    sending = Sending(ScriptedEngine(*[Unavailable("down")] * 10, states=states))  # type: ignore[arg-type] # states
    came_back = await sending.send()
    assert (came_back.outcome, places(came_back)) == ("sent", (8, 0, 0, 0))
    assert sending.engine.waits() == pytest.approx([1, 2, 4, 8, 10, 10, 10, 10, 10, 10], abs=1e-5)
    assert {call.message_id for call in sending.engine.calls} == {"3EB0ANCHOR"}


@pytest.mark.parametrize("size", [2, 8])
async def test_a_call_that_fails_three_times_although_the_engine_is_ready_gives_the_batch_back(
    size: int,
) -> None:
    sending = Sending(ScriptedEngine(otherwise=Unavailable("server error 500")))
    came_back = await sending.send(size)
    assert sending.engine.sizes == [size] * 3
    assert (came_back.outcome, came_back.failure, came_back.reason) == (
        "failed",
        "unavailable",
        "server error 500",
    )
    assert places(came_back) == (0, 0, size, 0)


@pytest.mark.parametrize("tries", [1, 2, 5])
async def test_a_batch_comes_back_after_as_many_failures_as_its_policy_says(tries: int) -> None:
    sending = Sending(ScriptedEngine(otherwise=Unavailable("server error 500")))
    came_back = await sending.send(tries=tries)
    assert len(sending.engine.calls) == tries
    assert (came_back.outcome, places(came_back)) == ("failed", (0, 0, 8, 0))


async def test_an_outage_gives_no_batch_back_though_it_has_a_single_try() -> None:
    sending = Sending(ScriptedEngine(*[Unavailable()] * 6, states=("unavailable",)))
    assert (await sending.send(tries=1)).outcome == "sent"


async def test_batches_that_come_back_in_a_row_pause_the_session_longer_and_longer() -> None:
    sending = Sending(ScriptedEngine(otherwise=Unavailable("server error 500")))
    for _ in range(7):
        await sending.send(tries=1)
    assert sending.engine.waits() == pytest.approx([0, 1, 2, 4, 8, 10], abs=0.01)


async def test_a_call_that_goes_through_ends_the_row_of_batches_that_came_back() -> None:
    failing = [Unavailable("server error 500")] * 3
    sending = Sending(ScriptedEngine(*failing, None, *failing))
    for _ in range(7):
        await sending.send(tries=1)
    assert sending.engine.waits() == pytest.approx([0, 1, 2, 0, 0, 1], abs=0.01)


async def test_a_result_says_how_many_calls_were_under_way_beside_it_in_the_mean() -> None:
    sending, came_back = Sending(ScriptedEngine(seconds=0.9), rate=2), list[BatchResult]()

    async def send() -> None:
        came_back.append(await sending.send())

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(send)
    # Each begins half a second after the one before it: the first begins alone, the last ends alone.
    assert [one.beside for one in came_back] == [0.5, 1.0, 0.5]
    assert (await sending.send()).beside == 0


async def test_a_pace_that_is_known_is_held_to_from_the_first_batch_that_tells_it() -> None:
    sending = Sending(ScriptedEngine(seconds=0.1))
    pace = Pace(per_call=7.0, per_recipient=7.0)
    for _ in range(3):
        assert (await sending.send(pace=pace)).pace.per_call <= 7.0
    first, second = sending.engine.waits()
    assert first == pytest.approx(6.9, abs=0.01)
    assert 5 < second < 7


async def test_the_pace_that_refusals_teach_is_in_the_result() -> None:
    teaching = [None] * 3 + [RateLimited()] + [None] * 4 + [RateLimited()]
    sending = Sending(ScriptedEngine(*teaching), rate=2)
    paces = [(await sending.send()).pace for _ in range(8)]
    assert paces[3] == NO_LIMIT
    assert paces[-1].per_call > 0.5


async def test_a_batch_that_was_given_back_is_tried_again_for_the_session_goes_on() -> None:
    sending = Sending(ScriptedEngine(*[Unavailable()] * 3))
    assert [(await sending.send()).outcome for _ in range(2)] == ["failed", "sent"]


async def test_a_single_recipient_waits_on_though_the_engine_is_ready_for_it_cannot_be_made_fewer() -> None:
    sending = Sending(ScriptedEngine(*[Unavailable("server error 500")] * 20))
    came_back = await sending.send(1)
    assert (came_back.outcome, places(came_back)) == ("sent", (1, 0, 0, 0))
    assert len(sending.engine.calls) == 21


@pytest.mark.parametrize(("size", "state"), [(8, "unavailable"), (8, "starting"), (1, "unavailable")])
async def test_an_outage_beyond_all_patience_stops_the_session_with_nobody_failed(
    size: int, state: EngineState
) -> None:
    engine = ScriptedEngine(otherwise=Unavailable("down"), states=[state])
    came_back = await Sending(engine, limits=Limits(patience=120)).send(size)
    assert (came_back.outcome, came_back.failure, came_back.reason) == ("parked", "unavailable", "down")
    assert places(came_back) == (0, 0, size, 0)
    assert 100 < anyio.current_time() <= 120


async def test_a_single_recipient_that_fails_although_the_engine_is_ready_is_given_back_and_stops_nobody() -> (
    None
):
    engine = ScriptedEngine(*[Unavailable("server error 500")] * 15)
    sending = Sending(engine, limits=Limits(patience=120))
    came_back = await sending.send(1)
    assert (came_back.outcome, came_back.failure, places(came_back)) == (
        "failed",
        "unavailable",
        (0, 0, 1, 0),
    )
    assert 100 < anyio.current_time() <= 120
    assert (await sending.send()).outcome == "sent"


async def test_patience_is_the_sessions_and_begins_anew_with_every_call_that_goes_through() -> None:
    answers = [*[RateLimited()] * 8, None]
    sending = Sending(ScriptedEngine(*answers * 4), limits=Limits(patience=130))
    assert [(await sending.send()).outcome for _ in range(4)] == ["sent"] * 4
    assert anyio.current_time() > 200


@pytest.mark.parametrize("failure", [RateLimited(), Unavailable()])
async def test_once_patience_has_run_out_no_later_batch_is_called_for_though_the_far_side_is_back(
    failure: EngineFailure,
) -> None:
    sending = Sending(ScriptedEngine(*[failure] * 4, states=["unavailable"]), limits=Limits(patience=10))
    first = await sending.send()
    made = len(sending.engine.calls)
    second = await sending.send(5)
    assert (len(sending.engine.calls), first.outcome) == (made, "parked")
    assert (second.outcome, second.failure, places(second)) == ("parked", failure.kind, (0, 0, 5, 0))
    assert (second.elapsed, second.duration) == (0, 0)


async def test_patience_counts_anew_for_every_call_that_has_to_wait() -> None:
    answers = [TooLarge(), *[RateLimited()] * 6, None, *[RateLimited()] * 6]
    sending = Sending(ScriptedEngine(*answers), limits=Limits(patience=60))
    assert (await sending.send()).outcome == "sent"
    assert anyio.current_time() > 60


async def test_when_patience_runs_out_within_a_batch_what_was_sent_stays_sent() -> None:
    engine = ScriptedEngine(TooLarge(), None, otherwise=Unavailable(), states=["unavailable"])
    came_back = await Sending(engine, limits=Limits(patience=20)).send()
    assert (came_back.outcome, came_back.sent, came_back.unsent) == ("parked", people(8)[:4], people(8)[4:])


@pytest.mark.parametrize("state", [Unavailable("no answer"), Hang()])
async def test_an_engine_whose_status_has_no_answer_is_not_ready(state: EngineFailure | Hang) -> None:
    engine = ScriptedEngine(*[Unavailable()] * 5, states=[state])
    assert (await Sending(engine).send()).outcome == "sent"
    assert len(engine.calls) == 6


async def test_every_wait_is_told_with_its_reason() -> None:
    sending = Sending(ScriptedEngine(Unavailable("the connection is down"), RateLimited("slow down")))
    await sending.send()
    assert [held.reason for held in sending.held] == ["the connection is down", "slow down"]


# OutcomeUnknown


async def test_a_call_with_unknown_outcome_gives_its_recipients_back_as_unsure() -> None:
    sending = Sending(ScriptedEngine(OutcomeUnknown("no ack")))
    came_back = await sending.send()
    assert (came_back.outcome, came_back.failure) == ("timed-out", "outcome-unknown")
    assert places(came_back) == (0, 0, 0, 8)
    assert len(sending.engine.calls) == 1, "it is not for the sender to repeat it"


async def test_after_an_unknown_outcome_the_session_pauses_lest_a_late_ack_complete_the_next_call() -> None:
    sending = Sending(ScriptedEngine(OutcomeUnknown()), limits=Limits(unsure_pause=7))
    await sending.send()
    await sending.send()
    assert sending.engine.waits() == pytest.approx([7], abs=1e-5)


async def test_an_engine_that_never_answers_is_left_at_the_deadline_with_unknown_outcome() -> None:
    came_back = await Sending(ScriptedEngine(Hang()), limits=Limits(call=90)).send()
    assert (came_back.outcome, came_back.failure) == ("timed-out", "outcome-unknown")
    assert came_back.duration == pytest.approx(90, abs=1e-6)
    assert places(came_back) == (0, 0, 0, 8)


# RecipientsRejected


async def test_rejected_recipients_that_are_named_fail_and_the_rest_goes_out_at_once() -> None:
    bad = [people(8)[1], people(8)[6]]
    engine = ScriptedEngine(otherwise=refuses(bad, named=True))
    came_back = await Sending(engine).send()
    assert (came_back.outcome, came_back.failed) == ("sent", dict.fromkeys(bad, "not-on-whatsapp"))
    assert engine.sizes == [8, 6]


async def test_unnamed_rejected_recipients_are_found_by_bisection_and_everybody_else_is_sent_once() -> None:
    bad = [people(8)[1], people(8)[6]]
    engine = ScriptedEngine(otherwise=refuses(bad, named=False))
    came_back = await Sending(engine).send()
    assert (came_back.outcome, came_back.whole) == ("sent", False)
    assert came_back.failed == dict.fromkeys(bad, "recipients-rejected")
    assert sorted(came_back.sent) == sorted(set(people(8)) - set(bad))
    assert engine.sizes == [8, 4, 4, 2, 2, 2, 2, 1, 1, 1, 1]


async def test_a_call_in_which_all_are_rejected_by_name_ends_without_another() -> None:
    engine = ScriptedEngine(otherwise=refuses(people(8), named=True))
    came_back = await Sending(engine).send()
    assert (came_back.outcome, places(came_back)) == ("sent", (0, 8, 0, 0))
    assert engine.sizes == [8]


async def test_an_engine_that_names_only_strangers_is_bisected() -> None:
    engine = ScriptedEngine(RecipientsRejected(rejected={"a stranger": "x"}))
    came_back = await Sending(engine).send()
    assert (came_back.sent, engine.sizes) == (people(8), [8, 4, 4])


@pytest.mark.parametrize("seconds", [0.001, 5.0])
async def test_a_batch_whose_bad_recipients_are_too_many_to_be_singled_out_gives_up_after_500_calls(
    seconds: float,
) -> None:
    engine = ScriptedEngine(otherwise=RecipientsRejected(), seconds=seconds)
    came_back = await Sending(engine).send(2_000)
    assert len(engine.calls) == CALLS == 500
    assert (came_back.outcome, came_back.failure) == ("failed", "recipients-rejected")
    assert (places(came_back), came_back.whole) == ((0, 0, 2_000, 0), False)
    assert sorted(came_back.unsent) == people(2_000)
    assert came_back.reason


async def test_who_was_singled_out_before_the_batch_gave_up_stays_failed_and_only_the_others_come_again() -> (
    None
):
    engine = ScriptedEngine(otherwise=RecipientsRejected(), seconds=0.001)
    came_back = await Sending(engine).send(300)
    assert len(engine.calls) == CALLS
    sent, failed, unsent, unsure = places(came_back)
    assert (sent, unsure, failed + unsent) == (0, 0, 300)
    assert min(failed, unsent) > 50
    assert came_back.failed == dict.fromkeys(came_back.failed, "recipients-rejected")


async def test_a_few_bad_recipients_of_many_are_singled_out_without_giving_up() -> None:
    bad = people(10_000)[123::2_500]
    engine = ScriptedEngine(otherwise=refuses(bad, named=False), seconds=0.001)
    came_back = await Sending(engine).send(10_000)
    assert (came_back.outcome, sorted(came_back.failed)) == ("sent", bad)
    assert len(came_back.sent) == 9_996


# TooLarge


async def test_a_batch_that_is_too_large_is_halved_until_it_fits_and_the_ceiling_remembered() -> None:
    def answer(recipients: Sequence[str]) -> Mapping[str, str]:
        if len(recipients) > 300:
            raise TooLarge(f"frame too large: {len(recipients)}")
        return {}

    engine = ScriptedEngine(otherwise=answer)
    came_back = await Sending(engine).send(1_000)
    assert engine.sizes == [1_000, 500, 500, 250, 250, 250, 250]
    assert (came_back.ceiling, came_back.whole, came_back.outcome) == (250, False, "sent")
    assert came_back.sent == people(1_000)


async def test_a_batch_that_gives_up_halving_says_that_it_was_too_large() -> None:
    def answer(recipients: Sequence[str]) -> Mapping[str, str]:
        if len(recipients) > 1:
            raise TooLarge("frame too large")
        return {}

    came_back = await Sending(ScriptedEngine(otherwise=answer, seconds=0.001)).send(2_000)
    assert (came_back.outcome, came_back.failure) == ("failed", "too-large")


async def test_a_single_recipient_that_is_too_large_is_given_back() -> None:
    came_back = await Sending(ScriptedEngine(otherwise=TooLarge())).send(1)
    assert (came_back.outcome, came_back.failure, places(came_back)) == ("failed", "too-large", (0, 0, 1, 0))


# What ends it


@pytest.mark.parametrize(("state", "kind"), [("restricted", "account-restricted"), ("lost", "session-lost")])
async def test_an_engine_that_says_the_account_is_lost_while_calls_fail_stops_the_session_at_once(
    state: EngineState, kind: str
) -> None:
    engine = ScriptedEngine(otherwise=Unavailable("down"), states=[state])
    came_back = await Sending(engine).send()
    assert (came_back.outcome, came_back.failure, places(came_back)) == ("parked", kind, (0, 0, 8, 0))
    assert len(engine.calls) == 1


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (AccountRestricted("463"), "parked"),
        (SessionLost("logged out"), "parked"),
        (ContentRefused("too long"), "refused"),
    ],
)
async def test_a_failure_that_ends_the_story_or_the_session_lets_no_further_call_through(
    failure: EngineFailure, outcome: str
) -> None:
    engine = ScriptedEngine(TooLarge(), TooLarge(), None, failure)
    came_back = await Sending(engine).send()
    assert engine.sizes == [8, 4, 4, 2], "two more are left, and are not tried"
    assert (came_back.outcome, came_back.failure, came_back.reason) == (outcome, failure.kind, str(failure))
    assert places(came_back) == (4, 0, 4, 0)


@pytest.mark.parametrize("failure", [RateLimited("slow down"), Unavailable("down")])
async def test_when_patience_runs_out_every_batch_that_is_out_ends_without_another_call(
    failure: EngineFailure,
) -> None:
    sending = Sending(
        ScriptedEngine(otherwise=failure, states=["unavailable"], seconds=0.5), limits=Limits(patience=60)
    )
    came_back: list[tuple[float, BatchResult]] = []

    async def send() -> None:
        found = await sending.send()
        came_back.append((anyio.current_time(), found))

    async with anyio.create_task_group() as calls:
        for _ in range(6):
            calls.start_soon(send)
    stopped_at = came_back[0][0]
    assert [call.at for call in sending.engine.calls if call.at > stopped_at] == []
    ends = {(one.outcome, one.failure, places(one)) for _, one in came_back}
    assert ends == {("parked", failure.kind, (0, 0, 8, 0))}
    assert stopped_at <= 60


async def test_when_a_session_is_stopped_batches_that_wait_hear_of_it_at_once() -> None:
    sending = Sending(ScriptedEngine(RateLimited(retry_after=3_600), seconds=2))
    ended: list[float] = []

    async def send() -> None:
        await sending.send()
        ended.append(anyio.current_time())

    async with anyio.create_task_group() as calls:
        calls.start_soon(send)
        await anyio.sleep(1)
        sending.pacer.set_rate(0.2)
        calls.start_soon(send)
        calls.start_soon(send)
    assert max(ended) < 30


@pytest.mark.parametrize("failure", [AccountRestricted("463"), SessionLost("logged out")])
async def test_a_session_stopped_for_a_person_stays_so_whatever_calls_in_flight_bring(
    failure: EngineFailure,
) -> None:
    class Slower(ScriptedEngine):
        """Each call takes a second longer than the one before."""

        async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
            await anyio.sleep(len(self.calls))
            return await super().send(content, recipients, message_id)

    sending = Sending(Slower(failure, RateLimited(retry_after=3_600)), limits=Limits(patience=60))
    kinds: list[str | None] = []

    async def send() -> None:
        kinds.append((await sending.send()).failure)

    async with anyio.create_task_group() as calls:
        calls.start_soon(send)
        await anyio.sleep(0.05)
        calls.start_soon(send)
    assert kinds == [failure.kind, failure.kind]
    assert (await sending.send()).failure == failure.kind


@pytest.mark.parametrize("failure", [AccountRestricted("463"), SessionLost("logged out")])
async def test_when_a_session_is_stopped_calls_that_waited_for_their_turn_are_not_made(
    failure: EngineFailure,
) -> None:
    sending = Sending(ScriptedEngine(failure, seconds=2.5), rate=1)
    came_back: list[BatchResult] = []

    async def send() -> None:
        came_back.append(await sending.send())

    async with anyio.create_task_group() as calls:
        for _ in range(6):
            calls.start_soon(send)
    made_after = [call.at for call in sending.engine.calls if call.at > 2.5]
    assert made_after == []
    assert [one.outcome for one in came_back].count("sent") == 2
    assert sum(sum(places(one)) for one in came_back) == 6 * 8


# Whatever happens

FAILURES: st.SearchStrategy[Answer] = st.sampled_from(
    [
        None,
        RateLimited(),
        RateLimited(retry_after=3),
        Unavailable(),
        OutcomeUnknown(),
        RecipientsRejected(),
        RecipientsRejected(rejected={people(3)[1]: "dead"}),
        TooLarge(),
        AccountRestricted(),
        SessionLost(),
        ContentRefused(),
        Hang(),
        {people(5)[4]: "not-on-whatsapp"},
    ]
)


@given(st.lists(FAILURES, max_size=25), st.integers(1, 20), st.sampled_from(["ready", "unavailable"]))
def test_whatever_the_engine_answers_everybody_is_in_exactly_one_place_afterwards(
    answers: list[Answer], size: int, state: str
) -> None:
    async def main() -> BatchResult:
        engine = ScriptedEngine(*answers, states=[state])  # type: ignore[list-item] # a state
        with anyio.fail_after(1e7):
            return await Sending(engine).send(size)

    came_back = on_virtual_time(main)
    ended = [*came_back.sent, *came_back.failed, *came_back.unsent, *came_back.unsure]
    assert sorted(ended) == people(size)
    assert (came_back.outcome == "sent") == (not came_back.unsent and not came_back.unsure)
    assert 0 <= came_back.duration <= came_back.elapsed


@given(
    st.lists(FAILURES, max_size=25),
    st.lists(st.integers(1, 20), min_size=2, max_size=6),
    st.sampled_from(["ready", "unavailable"]),
    st.sampled_from([3.0, 30.0, 900.0]),
    st.booleans(),
)
def test_whatever_stops_a_session_no_batch_gets_a_call_after_it_and_all_say_why(
    answers: list[Answer], sizes: list[int], state: EngineState, patience: float, together: bool
) -> None:
    stopping = {"rate-limited", "unavailable", "account-restricted", "session-lost"}

    async def main() -> None:
        engine = ScriptedEngine(*answers, states=[state], seconds=1.3)
        sending = Sending(engine, limits=Limits(patience=patience))
        came_back: list[tuple[float, BatchResult]] = []

        async def send(size: int) -> None:
            found = await sending.send(size)
            came_back.append((anyio.current_time(), found))

        async with anyio.create_task_group() as batches:
            for size in sizes:
                if together:
                    batches.start_soon(send, size)
                else:
                    await send(size)
        parked = [(at, found) for at, found in came_back if found.outcome == "parked"]
        if not parked:
            return
        stopped_at, kinds = parked[0][0], {found.failure for _, found in parked}
        assert kinds <= stopping
        later = await sending.send(3)
        assert (later.outcome, later.failure in kinds, places(later)) == ("parked", True, (0, 0, 3, 0))
        assert [call.at for call in engine.calls if call.at > stopped_at] == []

    on_virtual_time(main)


async def test_cancelling_a_call_leaves_the_session_able_to_send() -> None:
    for instant in (0.0, 0.05, 0.5, 1.5, 2.5):
        sending = Sending(ScriptedEngine(RateLimited(), seconds=0.1), rate=2)
        with anyio.move_on_after(instant):
            await sending.send()
        assert (await sending.send()).outcome == "sent"


# Orders and fences


def under(
    control: Control, engine: ScriptedEngine, *, fence: Fence = unfenced, rate: float = 1_000
) -> Sender:
    pacer = Pacer(rate, random=no_jitter)
    return Sender(engine, pacer, limits=Limits(), random=no_jitter, control=control, fence=fence)


async def no_hold(held: Held) -> None:
    """Nobody listens."""


@pytest.mark.parametrize("order", ["pause", "cancel", "leave"])
async def test_under_an_order_nothing_is_sent_and_all_is_given_back(order: Order) -> None:
    control, engine = Control(), ScriptedEngine()
    control.give("sale", order)
    of = batch(story(8))
    came_back = await under(control, engine).send(of, of.recipients, no_hold)
    assert (came_back.outcome, came_back.failure) == ("halted", "halted")
    assert (engine.calls, places(came_back)) == ([], (0, 0, 8, 0))


async def test_an_order_cuts_a_wait_short_but_not_a_call_and_what_was_sent_counts() -> None:
    control = Control()
    engine = ScriptedEngine(TooLarge(), None, RateLimited(retry_after=600), seconds=2)
    of = batch(story(8))
    sender = under(control, engine)
    async with anyio.create_task_group() as tasks:

        async def order() -> None:
            await anyio.sleep(30)
            control.give("sale", "pause")

        tasks.start_soon(order)
        came_back = await sender.send(of, of.recipients, no_hold)
        assert anyio.current_time() < 60
    assert (came_back.outcome, places(came_back)) == ("halted", (4, 0, 4, 0))
    assert engine.sizes == [8, 4, 4]


async def test_an_order_for_another_story_changes_nothing() -> None:
    control, engine = Control(), ScriptedEngine()
    control.give("other", "cancel")
    of = batch(story(8))
    came_back = await under(control, engine).send(of, of.recipients, no_hold)
    assert came_back.outcome == "sent"


def fence_at(opened: anyio.Event) -> Fence:
    async def fence() -> bool:
        has_to_wait = not opened.is_set()
        await opened.wait()
        return has_to_wait

    return fence


async def test_calls_that_waited_at_the_fence_together_do_not_go_together() -> None:
    engine, opened = ScriptedEngine(seconds=0.0), anyio.Event()
    sender = under(Control(), engine, fence=fence_at(opened), rate=2)
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            of = batch(story(8, options=SmartSend(batch_delay=0)))
            tasks.start_soon(sender.send, of, of.recipients, no_hold)
        await anyio.sleep(60)
        opened.set()
    starts = [call.at for call in engine.calls]
    assert len(starts) == 4
    assert most_in_a_window(starts, seconds=0.5) == 1


async def test_no_call_starts_before_the_fence_opens() -> None:
    engine, opened = ScriptedEngine(), anyio.Event()
    of = batch(story(8))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(under(Control(), engine, fence=fence_at(opened)).send, of, of.recipients, no_hold)
        await anyio.sleep(60)
        assert engine.calls == []
        opened.set()
    assert engine.sizes == [8]


async def test_an_order_ends_the_wait_for_the_fence() -> None:
    control, engine = Control(), ScriptedEngine()
    of = batch(story(8))
    sender = under(control, engine, fence=fence_at(anyio.Event()))
    with anyio.fail_after(3_600):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sender.send, of, of.recipients, no_hold)
            await anyio.sleep(60)
            control.leave()
    assert engine.calls == []


async def test_an_order_that_is_taken_back_at_once_opens_no_fence() -> None:
    control, engine, opened = Control(), ScriptedEngine(), anyio.Event()
    of = batch(story(8))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(under(control, engine, fence=fence_at(opened)).send, of, of.recipients, no_hold)
        await anyio.sleep(60)
        control.give("sale", "pause")
        control.take_back("sale")
        await anyio.sleep(60)
        assert engine.calls == []
        opened.set()
    assert engine.sizes == [8]


# A turn without a wait


async def test_a_fence_that_is_sure_to_let_a_call_through_is_not_waited_at_and_one_that_is_not_is() -> None:
    is_open, asked = True, 0

    async def fence() -> bool:
        nonlocal asked
        asked += 1
        return False

    engine = ScriptedEngine()
    pacer = Pacer(1_000, random=no_jitter)
    sender = Sender(engine, pacer, limits=Limits(), random=no_jitter, fence=fence, is_open=lambda: is_open)
    of = batch(story(8, options=SmartSend(batch_delay=0)))

    async def unheld(held: Held) -> None:
        raise AssertionError(held)

    assert (await sender.send(of, of.recipients, unheld)).outcome == "sent"
    assert asked == 0
    is_open = False
    await anyio.sleep(1)
    assert (await sender.send(of, of.recipients, unheld)).outcome == "sent"
    assert asked == 1


@pytest.mark.parametrize("order", ["pause", "cancel", "leave"])
async def test_an_order_is_heeded_also_where_a_call_could_start_at_once(order: Order) -> None:
    control, engine = Control(), ScriptedEngine()
    of = batch(story(8, options=SmartSend(batch_delay=0)))
    if order == "leave":
        control.leave()
    else:
        control.give(of.story.story_id, order)
    pacer = Pacer(1_000, random=no_jitter)
    sender = Sender(engine, pacer, limits=Limits(), random=no_jitter, control=control, is_open=lambda: True)

    async def unheld(held: Held) -> None:
        raise AssertionError(held)

    assert (await sender.send(of, of.recipients, unheld)).outcome == "halted"
    assert engine.calls == []


# What is left of it


@pytest.mark.parametrize(
    "fail",
    [
        RateLimited,
        Unavailable,
        OutcomeUnknown,
        TooLarge,
        RecipientsRejected,
        AccountRestricted,
        SessionLost,
        ContentRefused,
        Hang,
    ],
)
def test_a_failed_call_leaves_no_cycle_that_would_keep_its_story_in_memory(
    fail: Callable[[], EngineFailure | Hang],
) -> None:
    async def main() -> None:
        await Sending(ScriptedEngine(fail())).send()

    def tallies() -> int:
        return sum(isinstance(each, Tally) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = tallies()
        on_virtual_time(main)
        assert tallies() == before
    finally:
        gc.enable()
