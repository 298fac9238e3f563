"""What holds for any request, any far side and any options: nobody lost, nobody sent to twice, no limit passed."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from math import ceil
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.delivery import Limits
from stages.errors import RateLimited, Unavailable
from stages.message_id import message_id_of
from stages.messages import Report
from stages.options import SmartSend
from stages.recipients import canonical
from tests.support import (
    SESSION,
    Hang,
    LaneRun,
    ScriptedEngine,
    delivery,
    most_in_a_window,
    no_leaks,
    on_virtual_time,
    people,
    proven,
    request,
    run_through,
)
from transports.simulated import Ledger, Profile, SimulatedEngine, load_profile
from transports.simulated.profile import (
    Condition,
    Failures,
    FarLimits,
    Latency,
    Numbers,
    Timeout,
    Window,
)

YEAR = 365 * 86_400.0

ODD = ["nobody", "12", "+62 812 0000 0000", "6281200000001@c.us", "6281200000002:7@s.whatsapp.net", "77@lid"]


@st.composite
def recipients(draw: st.DrawFn) -> list[Any]:
    """People, some of them twice, in other ways of writing, with a priority, or malformed."""
    listed: list[Any] = people(draw(st.integers(1, 400)))
    for _ in range(draw(st.integers(0, 5))):
        listed.insert(draw(st.integers(0, len(listed))), draw(st.sampled_from(ODD)))
    for place in draw(st.lists(st.integers(0, len(listed) - 1), max_size=5, unique=True)):
        if isinstance(listed[place], str):
            listed[place] = {"jid": listed[place], "priority": draw(st.integers(0, 9))}
    return listed


CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "strategy": st.sampled_from(["tiered", "progressive", "adaptive", "fixed"]),
        "batchSize": st.integers(1, 500),
        "delayMs": st.integers(0, 3_000),
        "regional": st.booleans(),
    },
)

WINDOWS = st.tuples(st.floats(0, 60), st.floats(0.1, 600)).map(lambda drawn: (drawn[0], drawn[0] + drawn[1]))

PROFILES = st.builds(
    Profile,
    seed=st.integers(0, 1_000),
    latency=st.builds(
        Latency,
        a=st.floats(0, 3),
        b=st.floats(0, 0.05),
        c=st.floats(0, 0.0005),
        noise=st.sampled_from([0.0, 0.4]),
        stall_share=st.sampled_from([0.0, 0.2]),
        stall_factor=st.floats(1, 20),
        concurrency_cost=st.sampled_from([0.0, 0.5]),
    ),
    timeout=st.builds(Timeout, seconds=st.floats(0.5, 15), delivers=st.floats(0, 1)),
    limits=st.builds(
        FarLimits,
        calls_per_second=st.sampled_from([0.0, 0.2, 1.0]),
        calls_burst=st.floats(1, 5),
        recipients_per_second=st.sampled_from([0.0, 20.0]),
        recipients_burst=st.floats(1, 500),
        tells_retry_after=st.booleans(),
    ),
    failures=st.builds(Failures, base=st.sampled_from([0.0, 0.1, 0.7]), scale=st.sampled_from([0.0, 200.0])),
    numbers=st.builds(
        Numbers,
        dead=st.lists(st.sampled_from(people(10)), max_size=4).map(tuple),
        dead_share=st.sampled_from([0.0, 0.0, 0.03]),
        answer=st.sampled_from(["reported", "named", "unnamed"]),
    ),
    conditions=st.lists(
        st.tuples(WINDOWS, st.floats(0.1, 10)).map(
            lambda drawn: Condition(start=drawn[0][0], end=drawn[0][1], slower=drawn[1])
        ),
        max_size=2,
    ).map(tuple),
    outages=st.lists(WINDOWS.map(lambda window: Window(start=window[0], end=window[1])), max_size=2).map(
        tuple
    ),
    frame_limit=st.sampled_from([49_000, 49_000, 1, 7, 60]),
    restricted_after_calls=st.sampled_from([None, None, None, 0, 1, 5]),
)

OPTIONS = st.builds(
    SmartSend,
    enabled=st.sampled_from([True, True, True, False]),
    min_recipients=st.sampled_from([2, 20, 100]),
    max_concurrent=st.integers(1, 4),
    max_retries=st.integers(0, 3),
    max_batch_size=st.sampled_from([10_000, 150, 17]),
    max_batches_per_second=st.sampled_from([0.3, 2.0, 7.0, 50.0]),
    batch_delay=st.sampled_from([0, 100, 2_000]),
    progressive_sequence=st.lists(st.integers(1, 300), min_size=1, max_size=6, unique=True).map(
        lambda rungs: tuple(sorted(rungs))
    ),
    min_success_rate=st.sampled_from([0.0, 0.5, 0.95, 1.0]),
    enable_learning=st.booleans(),
)

LIMITS = st.builds(
    Limits,
    call=st.sampled_from([4.0, 90.0]),
    patience=st.sampled_from([30.0, 900.0]),
    unsure_pause=st.just(1.0),
)


@settings(max_examples=150)
@given(
    stories=st.lists(st.tuples(recipients(), CONFIGS), min_size=1, max_size=2),
    profile=PROFILES,
    options=OPTIONS,
    limits=LIMITS,
    known=st.sampled_from([0, 50, 300]),
)
def test_whatever_is_asked_and_however_the_far_side_behaves_the_promises_hold(
    stories: list[tuple[list[Any], dict[str, Any]]],
    profile: Profile,
    options: SmartSend,
    limits: Limits,
    known: int,
) -> None:
    asked = {f"story-{place}": listed for place, (listed, _) in enumerate(stories)}
    deliveries = [
        delivery(request(name, asked[name], smartSendConfig=config), key=name)
        for name, (_, config) in zip(asked, stories, strict=True)
    ]

    async def main() -> LaneRun:
        with trio.fail_after(YEAR):
            return await run_through(
                deliveries,
                engine=SimulatedEngine(profile),
                options=options,
                limits=limits,
                history=proven(known) if known else None,
            )

    run = on_virtual_time(main)
    every_story_ended(run, list(asked))
    what_parked_the_session_was_real(run, profile)
    for report in run.reports:
        everybody_is_somewhere(report, asked[report.story_id])
        what_is_reported_is_true(report, run.ledger, asked[report.story_id], profile)
        the_report_agrees_with_itself_and_its_events(report, run, options)
        nobody_is_failed_for_refusals_or_an_outage(report, profile)
    nobody_saw_a_story_twice(run.ledger, asked)
    no_limit_was_passed(run.ledger, stories, options)


def every_story_ended(run: LaneRun, names: list[str]) -> None:
    """One report each, unless the session was parked, which there is an event and an alert for."""
    assert run.lane is not None
    ended = [report.story_id for report in run.reports]
    parked = [event for event in run.events if event.state == "parked"]
    assert run.lane.planner.statistics().parked == (run.alerts[0].kind if run.alerts else None)
    if run.alerts:
        [alert], [event] = run.alerts, parked
        assert [*ended, alert.story_id] == names[: len(ended) + 1]
        assert event is run.events[-1]
        assert (event.story_id, event.reason) == (alert.story_id, alert.reason)
    else:
        assert (ended, parked) == (names, [])


def what_parked_the_session_was_real(run: LaneRun, profile: Profile) -> None:
    """The far side gave reason for it, and after a restriction no call began."""
    calls, restricted = run.ledger.calls, profile.restricted_after_calls is not None
    kinds = {alert.kind for alert in run.alerts}
    fails = bool(profile.failures.base or profile.failures.scale or profile.outages)
    limited = bool(profile.limits.calls_per_second or profile.limits.recipients_per_second)
    possible = {"account-restricted": restricted, "unavailable": fails, "rate-limited": limited}
    # A call that our own deadline ends is for us one whose outcome is unknown, and for the engine a cancelled one.
    outcomes = {"outcome-unknown" if call.outcome == "cancelled" else call.outcome for call in calls}
    possible["outcome-unknown"] = "outcome-unknown" in outcomes
    assert all(possible[kind] for kind in kinds)
    assert kinds <= outcomes
    stops = [call.ended for call in calls if call.outcome == "account-restricted"]
    assert all(call.began <= min(stops) for call in calls if stops)


def nobody_is_failed_for_refusals_or_an_outage(report: Report, profile: Profile) -> None:
    reasons = set(report.failures)
    assert "rate-limited" not in reasons
    if not (profile.failures.base or profile.failures.scale):
        assert "unavailable" not in reasons
        assert report.reason != "unavailable"


def everybody_is_somewhere(report: Report, asked: list[Any]) -> None:
    parts = report.sent_successfully + report.failed + report.skipped + report.unknown
    assert parts == report.total_recipients == len(asked)
    assert len(report.failed_recipients) == report.failed == sum(report.failures.values())
    assert len(report.unknown_recipients) == report.unknown
    assert len(report.skipped_recipients) == report.skipped == sum(report.skips.values())
    named = [*report.failed_recipients, *report.unknown_recipients]
    assert len(named) == len(set(named))
    assert set(named) <= targets(asked)


def targets(asked: list[Any]) -> set[str]:
    """The people a request names."""
    written = (entry if isinstance(entry, str) else entry["jid"] for entry in asked)
    return {jid for jid in map(canonical, written) if jid is not None}


def what_is_reported_is_true(report: Report, ledger: Ledger, asked: list[Any], profile: Profile) -> None:
    audience = ledger.audience(message_id_of(SESSION, report.story_id))
    unsent = {*report.failed_recipients, *report.unknown_recipients}
    sent = targets(asked) - unsent
    assert len(sent) == report.sent_successfully
    assert sent <= audience
    assert audience <= sent | set(report.unknown_recipients), "who saw it is not reported as failed"
    dead = {jid for jid, reason in report.failure_reasons.items() if reason == "not-on-whatsapp"}
    assert not dead & audience
    if report.sent_successfully:
        assert report.message_id == message_id_of(SESSION, report.story_id)


def the_report_agrees_with_itself_and_its_events(report: Report, run: LaneRun, options: SmartSend) -> None:
    wanted = report.sent_successfully + report.failed + report.unknown
    share = report.sent_successfully / wanted if wanted else 1.0
    assert report.success == (report.reason is None and share >= options.min_success_rate)
    assert report.state == ("completed" if report.reason is None else "failed")
    events = [event for event in run.events if event.story_id == report.story_id]
    batches = [event.batch for event in events if event.batch is not None]
    assert report.batches.total == report.batches.successful + report.batches.failed == len(batches)
    assert report.batch_sequence == [batch.size for batch in batches if batch.index > 0]
    assert [event.state for event in events].count(report.state) == 1
    assert events[-1].state == report.state
    assert events[-1].progress.recipients_sent == report.sent_successfully
    assert all(0 <= event.progress.percentage <= 100 for event in events)


def nobody_saw_a_story_twice(ledger: Ledger, asked: dict[str, list[Any]]) -> None:
    ids = [message_id_of(SESSION, name) for name in asked]
    assert {call.message_id for call in ledger.calls} <= set(ids)
    assert sum(ledger.sightings().values()) == sum(len(ledger.audience(one)) for one in ids)
    assert all(ledger.versions(one) <= 1 for one in ids)
    for name, listed in asked.items():
        assert ledger.audience(message_id_of(SESSION, name)) <= targets(listed)


def no_limit_was_passed(
    ledger: Ledger, stories: list[tuple[list[Any], dict[str, Any]]], options: SmartSend
) -> None:
    for place, (_, config) in enumerate(stories):
        cap = min(options.max_batch_size, config.get("batchSize", options.max_batch_size))
        message_id = message_id_of(SESSION, f"story-{place}")
        assert all(0 < call.recipients <= cap for call in ledger.calls if call.message_id == message_id)
    rate = options.max_batches_per_second
    starts = sorted(call.began for call in ledger.calls)
    assert most_in_a_window(starts) <= max(1, ceil(rate))
    assert all((after - before) * rate >= 1 - 1e-4 for before, after in pairwise(starts))


# Cancelled


@settings(max_examples=40)
@given(instant=st.floats(0, 40), concurrent=st.sampled_from([1, 4]))
@pytest.mark.parametrize("kind", ["flaky", "hanging"])
def test_a_lane_can_be_cancelled_at_any_virtual_instant(kind: str, instant: float, concurrent: int) -> None:
    deliveries = [delivery(request(name, 3_000), key=name) for name in ("first", "second")]

    async def main() -> LaneRun:
        hanging = ScriptedEngine(None, RateLimited(), Unavailable(), None, Hang(), Hang(), seconds=1.3)
        run = LaneRun(hanging if kind == "hanging" else SimulatedEngine(load_profile("flaky")))
        with trio.move_on_after(instant) as scope:
            await run_through(
                deliveries, options=SmartSend(max_concurrent=concurrent), limits=Limits(call=1e6), into=run
            )
        assert scope.cancelled_caught == (run.lane is None), "it was cancelled, or had ended before"
        return run

    with no_leaks():
        on_virtual_time(main)


def test_a_lane_can_be_cancelled_at_any_step_of_its_start() -> None:
    async def lane(run: LaneRun) -> None:
        await run_through([delivery(request(recipients=300))], into=run)

    async def main(steps: int) -> int:
        run = LaneRun(SimulatedEngine(Profile()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lane, run)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        return len(run.reports)

    for steps in range(60):
        with no_leaks():
            assert on_virtual_time(partial(main, steps)) == 0, f"after {steps} steps"
