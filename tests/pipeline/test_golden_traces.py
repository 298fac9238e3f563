"""Whole lanes on virtual time: the traces that must come out, call by call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import pytest
import trio

from stages.errors import (
    AccountRestricted,
    ContentRefused,
    EngineFailure,
    OutcomeUnknown,
    RateLimited,
    RecipientsRejected,
    SessionLost,
    Unavailable,
)
from stages.flow import Delivery
from stages.message_id import message_id_of
from stages.messages import Report
from stages.options import SmartSend
from tests.support import (
    EPOCH,
    SESSION,
    LaneRun,
    ScriptedEngine,
    delivery,
    most_in_a_window,
    on_virtual_time,
    people,
    proven,
    request,
    run_through,
)
from transports.simulated import Profile, SimulatedEngine, load_profile
from transports.simulated.profile import FarLimits, Latency, Numbers, Timeout, Window

pytestmark = pytest.mark.trio(run=on_virtual_time)

TIMINGS = load_profile("story-timings")
QUICK = Profile(latency=Latency(a=0.1, b=0))
SLOWER = Profile(
    latency=Latency(points=((1, 0.15), (2_000, 2.5), (4_000, 4.2), (4_999, 14.0), (5_000, 16.0))),
    timeout=Timeout(seconds=15, delivers=0),
)
HOUR = 3_600


def sizes(run: LaneRun) -> list[int]:
    return [size for size, _ in run.batches]


def of(recipients: int, story_id: str = "sale", **fields: Any) -> list[Delivery]:
    return [delivery(request(story_id, recipients, **fields), key=story_id)]


async def seen_once_by_all(run: LaneRun, recipients: int) -> None:
    """Everybody saw one story, with one content, under the id that follows from its name."""
    assert run.audience() == frozenset(people(recipients))
    assert set(run.ledger.sightings().values()) == {1}
    assert run.ledger.versions(message_id_of(SESSION, "sale")) == 1


def adds_up(report: Report) -> bool:
    parts = report.sent_successfully + report.failed + report.skipped + report.unknown
    return parts == report.total_recipients


# The three traces of the ladder


async def test_without_history_five_thousand_go_out_as_anchor_100_1000_3899() -> None:
    run = await run_through(of(5_000), profile=TIMINGS)
    assert [call.recipients for call in run.ledger.calls] == [1, 100, 1_000, 3_899]
    assert run.report.batch_sequence == [100, 1_000, 3_899]
    assert [event.batch.duration_ms for event in run.events if event.batch] == pytest.approx(
        [150, 800, 1_500, 3_433], abs=1
    )
    assert (run.report.success, run.report.session_learning.max_proven_batch_size) == (True, 4_000)
    await seen_once_by_all(run, 5_000)


async def test_the_next_story_of_the_session_starts_where_the_last_one_ended() -> None:
    run = await run_through([*of(5_000, "first"), *of(5_000, "second")], profile=TIMINGS)
    assert [report.batch_sequence for report in run.reports] == [[100, 1_000, 3_899], [4_000, 999]]
    assert [report.session_learning.used_historical_data for report in run.reports] == [False, True]
    assert run.reports[0].session_learning.will_skip_ramping_next_time


async def test_with_4000_proven_five_thousand_go_out_as_4000_and_999_and_4000_stays_proven() -> None:
    profile = Profile(latency=Latency(points=((1, 0.15), (999, 1.4), (4_000, 3.2))))
    run = await run_through(of(5_000), profile=profile, history=proven(4_000))
    assert run.batches == [(4_000, "sent"), (999, "sent")]
    assert run.report.session_learning.max_proven_batch_size == 4_000
    await seen_once_by_all(run, 5_000)


@pytest.mark.parametrize("delivers", [0.0, 1.0])
async def test_after_a_time_out_at_5000_the_ladder_goes_2000_4000_3999_and_4000_is_proven(
    delivers: float,
) -> None:
    profile = Profile(latency=SLOWER.latency, timeout=Timeout(seconds=15, delivers=delivers))
    run = await run_through(of(10_000), profile=profile, history=proven(5_000))
    assert run.batches == [(5_000, "timed-out"), (2_000, "sent"), (4_000, "sent"), (3_999, "sent")]
    took = [event.batch.duration_ms for event in run.events if event.batch and event.batch.index]
    assert took[:3] == pytest.approx([15_000, 2_500, 4_200], abs=1)
    learned = run.report.session_learning
    assert (learned.max_proven_batch_size, learned.used_historical_data) == (4_000, True)
    assert (run.report.sent_successfully, run.report.unknown, run.report.success) == (10_000, 0, True)
    assert run.ledger.repeats == (5_000 if delivers else 0), "the phones drop what they have seen"
    await seen_once_by_all(run, 10_000)


async def test_after_a_setback_the_next_story_starts_at_what_was_proven_since() -> None:
    run = await run_through(
        [*of(10_000, "first"), *of(9_000, "second")], profile=SLOWER, history=proven(5_000)
    )
    assert run.reports[1].batch_sequence == [4_000, 4_000, 999]


# What the ladder does not do


@pytest.mark.parametrize(("age", "first"), [(0.0, 4_000), (23.9, 4_000), (24.1, 100), (400.0, 100)])
async def test_a_history_older_than_its_time_is_ignored(age: float, first: int) -> None:
    run = await run_through(of(5_000), profile=TIMINGS, history=proven(4_000, age_hours=age))
    assert run.report.batch_sequence[0] == first
    assert run.report.session_learning.used_historical_data is (first == 4_000)


async def test_failed_batches_never_raise_the_proven_size() -> None:
    engine = ScriptedEngine(None, *[Unavailable("500")] * 3, otherwise=OutcomeUnknown())
    run = await run_through(of(2_000), engine=engine, history=proven(1_000))
    assert {outcome for _, outcome in run.batches} == {"failed", "timed-out"}
    kept = await run.histories.load(SESSION)
    assert kept is not None
    assert kept.proven == 100, "two rungs below what failed, and nothing was proven after it"
    assert run.report.session_learning.max_proven_batch_size == 100
    assert not run.report.success


async def test_three_batches_of_5000_that_time_out_together_shut_5000_once_and_2000_goes_on() -> None:
    engine = ScriptedEngine(None, *[OutcomeUnknown()] * 3, seconds=3)
    options = SmartSend(max_concurrent=3, batch_delay=0)
    run = await run_through(of(15_001), engine=engine, options=options, history=proven(5_000))
    assert run.batches[:3] == [(5_000, "timed-out")] * 3
    assert max(engine.sizes[4:7]) == 2_000
    assert all(size == 2_000 for size in engine.sizes[4:7])
    kept = await run.histories.load(SESSION)
    assert kept is not None
    assert kept.shut[5_000].span == 5
    assert list(kept.shut) == [5_000]
    assert (run.report.sent_successfully, run.report.unknown) == (15_001, 0)


async def test_one_failed_tail_does_not_wipe_what_the_session_knows() -> None:
    engine = ScriptedEngine(None, None, OutcomeUnknown())
    run = await run_through([*of(4_040, "first"), *of(5_000, "next")], engine=engine, history=proven(4_000))
    assert engine.sizes[:4] == [1, 4_000, 39, 39]
    assert run.reports[0].session_learning.max_proven_batch_size == 2_000, "the tail was planned with 5,000"
    assert run.reports[1].batch_sequence[0] == 2_000


async def test_with_a_largest_batch_between_two_rungs_it_is_climbed_to_and_proven() -> None:
    options = SmartSend(max_batch_size=1_500)
    run = await run_through([*of(5_000, "first"), *of(5_000, "next")], profile=TIMINGS, options=options)
    assert run.reports[0].batch_sequence == [100, 1_000, 1_500, 1_500, 899]
    assert run.reports[0].session_learning.max_proven_batch_size == 1_500
    assert run.reports[1].batch_sequence[0] == 1_500


async def test_a_ceiling_that_the_frame_sets_is_the_top_of_the_ladder_from_then_on() -> None:
    profile = Profile(latency=Latency(a=1, b=0), frame_limit=3_000)
    run = await run_through([*of(9_000, "first"), *of(4_001, "next")], profile=profile, history=proven(5_000))
    assert run.reports[0].batch_sequence == [5_000, 2_500, 1_499]
    assert run.reports[1].batch_sequence == [2_500, 1_500]
    assert [call.outcome for call in run.ledger.calls].count("too-large") == 1
    assert all(report.success for report in run.reports)


async def test_a_plain_story_reports_what_its_session_has_proven_without_having_used_it() -> None:
    run = await run_through([*of(5_000, "first"), *of(5, "plain")], profile=TIMINGS)
    learned = run.reports[1].session_learning
    assert (learned.max_proven_batch_size, learned.used_historical_data) == (4_000, False)
    assert learned.will_skip_ramping_next_time


async def test_a_plain_story_is_sent_in_calls_of_the_largest_batch_allowed() -> None:
    run = await run_through(of(50), profile=QUICK, options=SmartSend(max_batch_size=20))
    assert [call.recipients for call in run.ledger.calls] == [20, 20, 10]
    await seen_once_by_all(run, 50)


@pytest.mark.parametrize(("dead", "sequence"), [(6, [100, 100]), (5, [100, 1_000])])
async def test_a_success_share_below_the_minimum_stops_growth(dead: int, sequence: list[int]) -> None:
    numbers = Numbers(dead=tuple(people(101)[1 : dead + 1]))
    run = await run_through(of(3_000), profile=Profile(latency=Latency(a=0.5, b=0), numbers=numbers))
    assert run.report.batch_sequence[:2] == sequence
    assert run.report.failed == dead


@pytest.mark.parametrize("rate", [0.5, 2.0, 10.0])
async def test_the_largest_batch_and_the_calls_a_second_are_never_passed(rate: float) -> None:
    options = SmartSend(max_batch_size=800, max_batches_per_second=rate, batch_delay=0, max_concurrent=3)
    run = await run_through(of(9_000), profile=QUICK, options=options, history=proven(5_000))
    assert max(call.recipients for call in run.ledger.calls) == 800
    starts = [call.began for call in run.ledger.calls]
    assert most_in_a_window(starts) == max(1, rate)
    assert all(after - before >= 1 / rate - 1e-5 for before, after in pairwise(starts))
    await seen_once_by_all(run, 9_000)


async def test_the_batch_size_of_a_request_is_the_largest_it_gets() -> None:
    run = await run_through(
        of(2_000, smartSendConfig={"batchSize": 300}), profile=QUICK, history=proven(5_000)
    )
    assert run.report.batch_sequence == [300] * 6 + [199]


async def test_between_two_batches_there_is_the_pause_that_was_asked_for() -> None:
    run = await run_through(of(2_000, smartSendConfig={"delayMs": 7_000}), profile=QUICK)
    gaps = [after.began - before.ended for before, after in pairwise(run.ledger.calls)]
    assert gaps == pytest.approx([7] * len(gaps), abs=1e-6)


async def test_tiered_sends_three_thousand_as_1000_1000_999() -> None:
    run = await run_through(of(3_000, smartSendConfig={"strategy": "tiered"}), profile=TIMINGS)
    assert run.report.batch_sequence == [1_000, 1_000, 999]


async def test_fixed_sends_every_batch_with_the_size_of_the_request() -> None:
    config = {"strategy": "fixed", "batchSize": 1_200}
    run = await run_through(of(3_000, smartSendConfig=config), profile=TIMINGS)
    assert run.report.batch_sequence == [1_200, 1_200, 599]


# Dead numbers


@pytest.mark.parametrize("first_is_dead", [False, True])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [("reported", "not-on-whatsapp"), ("named", "not-on-whatsapp"), ("unnamed", "recipients-rejected")],
)
async def test_of_three_thousand_with_fifteen_dead_numbers_2985_are_sent_and_the_fifteen_named(
    answer: Literal["reported", "named", "unnamed"], reason: str, *, first_is_dead: bool
) -> None:
    dead = people(3_000)[0 if first_is_dead else 7 :: 200]
    assert len(dead) == 15
    profile = Profile(latency=TIMINGS.latency, numbers=Numbers(dead=tuple(dead), answer=answer))
    run = await run_through(of(3_000), profile=profile)
    report = run.report
    assert (report.sent_successfully, report.failed, report.unknown) == (2_985, 15, 0)
    assert sorted(report.failed_recipients) == dead
    assert report.failure_reasons == dict.fromkeys(report.failed_recipients, reason)
    assert report.failures == {reason: 15}
    assert (report.success, report.batches.failed) == (True, 0)
    assert run.audience() == frozenset(people(3_000)) - frozenset(dead)


# Limits


async def test_three_refusals_in_a_row_wait_one_two_and_four_seconds_and_then_the_batch_goes_out_whole() -> (
    None
):
    engine = ScriptedEngine(None, None, RateLimited(), RateLimited(), RateLimited())
    run = await run_through(of(5_000), engine=engine, options=SmartSend(batch_delay=0))
    assert engine.sizes == [1, 100, 1_000, 1_000, 1_000, 1_000, 3_899]
    assert engine.waits()[2:5] == pytest.approx([1, 2, 4], rel=0.1)
    held = [event for event in run.events if event.state == "waiting"]
    assert len(held) == 3
    assert (run.report.success, run.report.batches.failed, run.report.batches.retried) == (True, 0, 0)


async def test_after_refusals_the_gap_comes_down_in_steps() -> None:
    engine = ScriptedEngine(None, RateLimited(), RateLimited(), RateLimited())
    options = SmartSend(strategy="fixed", batch_size=100, batch_delay=0, max_batches_per_second=1_000)
    run = await run_through(of(1_000), engine=engine, options=options)
    gaps = engine.waits()[4:]
    assert gaps[:4] == pytest.approx([2, 1, 0.5, 0.25], rel=0.15)
    assert all(0.4 < after / before < 0.6 for before, after in pairwise(gaps[:4]))
    told = [scaling.gap_ms for scaling in run.scalings[1:6]]
    assert told == pytest.approx([2_000, 1_000, 500, 250, 125], rel=0.15)


async def test_under_a_strict_limit_the_story_still_reaches_everybody() -> None:
    profile = Profile(latency=TIMINGS.latency, limits=FarLimits(calls_per_second=0.25, calls_burst=2))
    options = SmartSend(strategy="fixed", batch_size=200, batch_delay=0)
    run = await run_through(of(3_000), profile=profile, options=options)
    passed = [call.began for call in run.ledger.calls if call.outcome == "sent"]
    assert len(run.ledger.calls) > len(passed) == 16
    assert most_in_a_window(passed, seconds=8) <= 4
    await seen_once_by_all(run, 3_000)


async def test_an_outage_holds_the_batch_and_costs_no_attempt() -> None:
    profile = Profile(latency=TIMINGS.latency, outages=(Window(start=1, end=300),))
    run = await run_through(of(5_000), profile=profile)
    assert run.report.batch_sequence == [100, 1_000, 3_899]
    assert (run.report.batches.failed, run.report.batches.retried) == (0, 0)
    assert "unavailable" in {call.outcome for call in run.ledger.calls}
    await seen_once_by_all(run, 5_000)


@pytest.mark.parametrize(("recipients", "start"), [(5_000, 0), (5_000, 2), (1, 0), (50, 0)])
async def test_an_outage_within_all_patience_fails_nobody_whatever_it_meets(
    recipients: int, start: float
) -> None:
    profile = Profile(latency=Latency(a=0.5, b=0), outages=(Window(start=start, end=start + 800),))
    run = await run_through(of(recipients), profile=profile)
    assert (run.report.sent_successfully, run.report.failed, run.report.unknown) == (recipients, 0, 0)
    assert (run.report.batches.failed, run.report.batches.retried, run.alerts) == (0, 0, [])
    await seen_once_by_all(run, recipients)


async def test_an_outage_during_the_anchor_uses_up_no_candidate() -> None:
    engine = ScriptedEngine(*[Unavailable("server error 500")] * 30)
    run = await run_through(of(500), engine=engine)
    assert {call.recipients for call in engine.calls[:31]} == {(people(1)[0],)}
    assert (run.report.sent_successfully, run.report.batches.failed) == (500, 0)


async def test_what_stays_unknown_to_the_end_is_reported_as_unknown_and_not_as_failed() -> None:
    engine = ScriptedEngine(None, otherwise=OutcomeUnknown())
    run = await run_through(of(101), engine=engine, options=SmartSend(max_retries=2))
    report = run.report
    assert (report.sent_successfully, report.failed, report.unknown) == (1, 0, 100)
    assert report.unknown_recipients == people(101)[1:]
    assert engine.sizes == [1, 100, 100, 100]
    assert not report.success


async def test_rejected_recipients_do_not_keep_the_others_of_their_batch_from_a_retry() -> None:
    dead = people(300)[150]

    def answer(recipients: Sequence[str]) -> Mapping[str, str]:
        if dead in recipients:
            raise RecipientsRejected
        return {}

    engine = ScriptedEngine(None, *[Unavailable()] * 3, otherwise=answer)
    run = await run_through(of(300), engine=engine)
    assert (run.report.sent_successfully, run.report.failures) == (299, {"recipients-rejected": 1})
    assert run.report.batches.retried >= 1


# Order and repetition


async def test_the_same_story_ten_times_is_one_post_and_nine_repeated() -> None:
    run = await run_through(
        [delivery(request(recipients=200), key=str(key)) for key in range(10)], profile=QUICK
    )
    assert len(run.reports) == 1
    assert [one.delivery.key for one in run.repeated] == [str(key) for key in range(1, 10)]
    await seen_once_by_all(run, 200)


async def test_behind_a_thousand_waiting_a_high_one_is_anchored_next() -> None:
    waiting = [delivery(request(f"normal-{number}", 100), key=f"{number}") for number in range(1_000)]
    urgent = delivery(request("urgent", 100), level="high")
    run = await run_through([*waiting, urgent], profile=QUICK)
    order = [report.story_id for report in run.reports]
    assert order[:3] == ["normal-0", "urgent", "normal-1"]
    assert len(order) == 1_001


async def test_bulk_gets_its_turn_while_high_ones_keep_coming() -> None:
    urgent = [delivery(request(f"high-{number}", 2), level="high") for number in range(40)]
    bulk = [delivery(request(f"bulk-{number}", 2), level="bulk") for number in range(3)]
    run = await run_through([urgent[0], *bulk, *urgent[1:]], profile=QUICK)
    order = [report.story_id for report in run.reports]
    places = [order.index(f"bulk-{number}") for number in range(3)]
    assert places == sorted(places)
    assert all(after - before <= 10 for before, after in pairwise([0, *places]))


async def test_a_bad_request_between_good_ones_is_refused_and_stops_nothing() -> None:
    run = await run_through([*of(2, "a"), delivery(b"nonsense"), *of(2, "b")], profile=QUICK)
    assert [report.story_id for report in run.reports] == ["a", "b"]
    assert [one.rejection.code for one in run.refused] == ["not-decodable"]


async def test_a_story_that_is_not_due_is_handed_back_with_its_time() -> None:
    run = await run_through(of(2, notBefore="2026-11-22T08:00:00Z"), profile=QUICK)
    assert (run.reports, run.ledger.calls) == ([], [])
    assert run.postponed[0].until > EPOCH


# Stopped


@pytest.mark.parametrize("calls", [0, 1, 2])
async def test_a_restricted_account_stops_the_lane_at_once_with_an_event_and_an_alert(calls: int) -> None:
    profile = Profile(latency=TIMINGS.latency, restricted_after_calls=calls)
    with trio.fail_after(HOUR):
        run = await run_through([*of(5_000), *of(5_000, "next")], profile=profile)
    assert len(run.ledger.calls) == calls + 1, "no call after the one that was told"
    assert run.reports == []
    assert [alert.kind for alert in run.alerts] == ["account-restricted"]
    assert run.alerts[0].story_id == "sale"
    assert (run.events[-1].state, run.events[-1].story_id) == ("parked", "sale")
    assert {event.story_id for event in run.events} == {"sale"}


async def test_a_lost_session_parks_the_lane_too() -> None:
    run = await run_through(of(500), engine=ScriptedEngine(None, SessionLost("logged out")))
    assert (run.alerts[0].kind, run.alerts[0].reason) == ("session-lost", "logged out")
    assert run.events[-1].state == "parked"


@pytest.mark.parametrize("failure", [AccountRestricted("463"), SessionLost("logged out")])
async def test_a_restricted_account_gets_no_further_call_from_batches_out_at_the_same_time(
    failure: EngineFailure,
) -> None:
    engine = ScriptedEngine(None, failure, seconds=3.2)
    options = SmartSend(strategy="fixed", batch_size=100, batch_delay=0, max_concurrent=8)
    with trio.fail_after(HOUR):
        run = await run_through(of(5_000), engine=engine, options=options)
    told = engine.calls[1].at + 3.2
    assert [call.at for call in engine.calls if call.at > told] == []
    assert (len(run.alerts), run.events[-1].state, run.reports) == (1, "parked", [])


async def test_a_refused_content_fails_the_story_with_its_reason_and_the_next_one_goes_on() -> None:
    engine = ScriptedEngine(None, ContentRefused("no such media"))
    run = await run_through([*of(500), *of(2, "next")], engine=engine)
    failed, following = run.reports
    assert (failed.state, failed.reason, failed.success) == ("failed", "content-refused", False)
    assert (failed.sent_successfully, failed.failures) == (1, {"content-refused": 499})
    assert following.success


async def test_without_any_anchor_the_story_fails_and_everybody_is_told_why() -> None:
    run = await run_through(of(500), profile=Profile(numbers=Numbers(dead=tuple(people(3)))))
    assert (run.report.state, run.report.reason, run.report.message_id) == ("failed", "no-anchor", None)
    assert run.report.failures == {"not-on-whatsapp": 3, "no-anchor": 497}
    assert [call.recipients for call in run.ledger.calls] == [1, 1, 1]


# Out of patience


@pytest.mark.parametrize("recipients", [1, 50, 5_000])
@pytest.mark.parametrize("start", [0, 2])
async def test_an_outage_beyond_all_patience_parks_the_session_with_an_event_and_an_alert(
    recipients: int, start: float
) -> None:
    profile = Profile(latency=Latency(a=3, b=0), outages=(Window(start=start, end=1e6),))
    if recipients < 100 and start:
        profile = Profile(latency=Latency(a=3, b=0), outages=(Window(start=0, end=1e6),))
    with trio.fail_after(HOUR):
        run = await run_through([*of(recipients), *of(5, "next")], profile=profile)
    [alert] = run.alerts
    assert (alert.kind, alert.reason, alert.story_id) == ("unavailable", "the connection is down", "sale")
    assert (run.events[-1].state, run.events[-1].story_id) == ("parked", "sale")
    assert run.events[-1].reason == "the connection is down"
    assert run.reports == [], "nobody is failed for an outage"
    assert {event.story_id for event in run.events} == {"sale"}
    assert 900 - 12 < run.ended_at < 900 + 12


async def test_endless_refusals_park_the_session_with_an_event_and_an_alert() -> None:
    engine = ScriptedEngine(None, None, otherwise=RateLimited("slow down"))
    with trio.fail_after(HOUR):
        run = await run_through([*of(5_000), *of(5, "next")], engine=engine)
    assert [(alert.kind, alert.reason) for alert in run.alerts] == [("rate-limited", "slow down")]
    assert (run.events[-1].state, run.events[-1].reason, run.reports) == ("parked", "slow down", [])
    assert set(engine.sizes[2:]) == {1_000}, "one batch was tried again and again, and no other"


@pytest.mark.parametrize("failure", [RateLimited("slow down"), Unavailable("down")])
async def test_when_patience_runs_out_batches_that_are_out_at_the_same_time_get_no_further_call(
    failure: EngineFailure,
) -> None:
    engine = ScriptedEngine(None, otherwise=failure, seconds=0.7, states=["unavailable"])
    options = SmartSend(strategy="fixed", batch_size=100, batch_delay=0, max_concurrent=8)
    with trio.fail_after(HOUR):
        run = await run_through(of(5_000), engine=engine, options=options)
    parked = [event for event in run.events if event.batch and event.batch.outcome == "parked"]
    first = (parked[0].at - EPOCH).total_seconds()
    assert [call.at for call in engine.calls if call.at > first + 1e-3] == []
    assert len(parked) == 8
    assert [alert.kind for alert in run.alerts] == [failure.kind]
    assert run.reports == []


async def test_a_story_that_was_parked_comes_to_its_end_when_it_is_delivered_again() -> None:
    """The message id is the same, so who had it already sees it once."""
    profile = Profile(latency=TIMINGS.latency, outages=(Window(start=2, end=1_200),))
    engine = SimulatedEngine(profile)
    parked = await run_through(of(5_000), engine=engine)
    assert [alert.kind for alert in parked.alerts] == ["unavailable"]
    await trio.sleep(600)
    again = await run_through(of(5_000), engine=engine)
    assert (again.report.sent_successfully, again.report.failed) == (5_000, 0)
    await seen_once_by_all(again, 5_000)


async def test_the_alert_comes_as_soon_as_the_session_is_stopped() -> None:
    engine = ScriptedEngine(None, RateLimited(retry_after=3_600))
    options = SmartSend(strategy="fixed", batch_size=100, batch_delay=0, max_concurrent=4)
    run = await run_through(of(5_000), engine=engine, options=options)
    assert [alert.kind for alert in run.alerts] == ["rate-limited"]
    assert run.ended_at < 60


async def test_a_story_that_must_not_be_reshared_is_refused_where_the_engine_cannot_see_to_it() -> None:
    run = await run_through(of(5, canBeReshared=False), profile=QUICK)
    assert [one.rejection.code for one in run.refused] == ["engine-cannot"]
    assert (run.ledger.calls, run.reports) == ([], [])


# Several at once, and the smallest stories


@pytest.mark.parametrize("strategy", ["fixed", "progressive"])
async def test_with_max_concurrent_four_are_in_flight_and_never_more(strategy: str) -> None:
    options = SmartSend(max_concurrent=4, max_batches_per_second=100, batch_delay=0, max_batch_size=100)
    profile = Profile(latency=Latency(a=2, b=0), numbers=Numbers(dead_share=0.01))
    run = await run_through(
        of(3_000, smartSendConfig={"strategy": strategy, "batchSize": 100}), profile=profile, options=options
    )
    calls = run.ledger.calls
    in_flight = [sum(one.began <= call.began < one.ended - 1e-9 for one in calls) for call in calls]
    assert max(in_flight) == 4
    report = run.report
    assert adds_up(report)
    assert (report.sent_successfully + report.failed, report.unknown) == (3_000, 0)
    assert report.batches.total == report.batches.successful == 31
    assert sum(report.batch_sequence) == 2_999
    assert len(run.audience()) == report.sent_successfully


async def test_one_recipient_is_one_plain_call() -> None:
    run = await run_through(of(1), profile=QUICK)
    assert (run.report.sent_successfully, run.report.success, run.report.batch_sequence) == (1, True, [1])
    assert [call.recipients for call in run.ledger.calls] == [1]
    assert [event.state for event in run.events] == ["sending", "sending", "completed"]
    await seen_once_by_all(run, 1)


async def test_below_the_minimum_and_with_smart_send_off_there_is_one_plain_call() -> None:
    run = await run_through([*of(99, "few"), *of(3_000, "off", useSmartSend=False)], profile=QUICK)
    assert [call.recipients for call in run.ledger.calls] == [99, 3_000]
    assert run.scalings == []


async def test_a_story_whose_recipients_are_all_skipped_is_completed_without_a_call() -> None:
    run = await run_through(of(5), profile=QUICK, suppressed=frozenset(people(5)))
    assert (run.report.state, run.report.skipped, run.report.skips) == ("completed", 5, {"suppressed": 5})
    assert run.ledger.calls == []
    assert run.report.message_id is None


@pytest.mark.parametrize("recipients", [1, 500])
async def test_a_dry_run_calls_nobody_and_reports_everybody_as_skipped(recipients: int) -> None:
    run = await run_through(of(recipients, dryRun=True), profile=QUICK)
    assert run.ledger.calls == []
    assert (run.report.dry_run, run.report.skips, run.report.success) == (True, {"dry-run": recipients}, True)


async def test_duplicates_and_invalid_recipients_are_skipped_and_the_others_sent_once() -> None:
    listed = [*people(200), *people(50), "+62 812 0000 0000", "nobody"]
    run = await run_through([delivery(request(recipients=listed))], profile=QUICK)
    assert (run.report.sent_successfully, run.report.skips) == (200, {"duplicate": 51, "invalid": 1})
    assert adds_up(run.report)
    await seen_once_by_all(run, 200)


async def test_the_most_active_recipient_is_the_anchor() -> None:
    listed: list[Any] = people(200)
    listed[123] = {"jid": people(200)[123], "priority": 9}
    engine = ScriptedEngine()
    await run_through([delivery(request(recipients=listed))], engine=engine)
    assert engine.calls[0].recipients == (people(200)[123],)


async def test_the_content_of_every_call_is_that_of_the_request_byte_for_byte() -> None:
    content = {"type": "image", "mimetype": "image/png", "data": "AAECAw==", "caption": "Hi \u2764\ufe0f"}
    engine = ScriptedEngine(None, OutcomeUnknown(), RateLimited())
    await run_through(of(500, content=content), engine=engine)
    assert len(engine.calls) >= 5
    assert len({id(call.content) for call in engine.calls}) == 1
    assert {call.message_id for call in engine.calls} == {message_id_of(SESSION, "sale")}


async def test_percentages_never_fall_while_all_goes_well() -> None:
    run = await run_through(of(5_000), profile=TIMINGS)
    shown = [event.progress.percentage for event in run.events]
    assert shown == sorted(shown)
    assert (shown[0], shown[-1]) == (0, 100)
    assert [event.state for event in run.events] == ["anchoring", *["sending"] * 4, "completed"]
