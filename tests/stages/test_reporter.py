"""reporter: an event for every batch and every change of state, one report for each story, sums that add up."""

from __future__ import annotations

from datetime import timedelta
from math import inf
from typing import Any

import anyio
import msgspec
import pytest
from anyio.abc import ObjectReceiveStream
from hypothesis import given
from hypothesis import strategies as st

from stages.account import LONGEST_NAME, NAMED, report_of
from stages.checkpoint import BatchRecord, Counts
from stages.flow import (
    BatchResult,
    BatchSettled,
    Held,
    Onward,
    Paused,
    Reported,
    Skipped,
    Standing,
    Story,
    StoryClosed,
    StoryOpened,
    StoryParked,
)
from stages.messages import Alert, ProgressEvent, Report, SessionLearning
from stages.options import SmartSend
from stages.reporter import Reporter
from tests.support import (
    EPOCH,
    SESSION,
    Pipe,
    batch,
    drained,
    filled,
    no_leaks,
    people,
    result,
    story,
    virtual_now,
)

pytestmark = pytest.mark.anyio


class Bench:
    """A reporter, fed with what flows to it."""

    def __init__(
        self, *items: Onward, inbox: ObjectReceiveStream[Onward] | None = None, room: float = inf
    ) -> None:
        self.outgoing = Pipe(room=room)
        self.reporter = Reporter(inbox or filled(*items), self.outgoing.into, now=virtual_now)

    async def run(self) -> list[Any]:
        await self.reporter()
        return drained(self.outgoing)


def closed(of: Story, *, sent: int | None = None, **fields: Any) -> StoryClosed:
    usual: dict[str, Any] = {"failed": {}, "unknown": [], "skipped": of.skipped, "message_id": "3EB0ANCHOR"}
    usual["began"] = EPOCH
    return StoryClosed(story=of, sent=len(of.recipients) if sent is None else sent, **usual | fields)


def settled(*results: BatchResult) -> list[Onward]:
    """`results` one after the other, each with where the story stands after it."""
    items, sent, failed = list[Onward](), 0, 0
    for went in results:
        sent, failed = sent + len(went.sent), failed + len(went.failed)
        standing = Standing(sent=sent, failed=failed, message_id=went.message_ids[-1] if sent else None)
        items.append(BatchSettled(result=went, standing=standing))
    return items


def whole(of: Story, *sizes: int) -> list[Onward]:
    """A story in which all goes well: opened, an anchor, batches, closed."""
    results = [result(batch(of, size=1, role="anchor", index=0), duration=0.2)]
    results += [result(batch(of, size=size, index=place)) for place, size in enumerate(sizes, start=1)]
    return [StoryOpened(story=of, anchoring=True), *settled(*results), closed(of)]


async def reported(*items: Onward) -> Report:
    [report] = [item.report for item in await Bench(*items).run() if isinstance(item, Reported)]
    return report


async def test_there_is_one_event_per_batch_and_change_of_state_and_then_exactly_one_report() -> None:
    outgoing = await Bench(*whole(story(601), 100, 500)).run()
    assert [type(item) for item in outgoing] == [ProgressEvent] * 5 + [Reported]
    events = outgoing[:-1]
    assert [event.state for event in events] == ["anchoring", "sending", "sending", "sending", "completed"]
    assert [event.batch and event.batch.size for event in events] == [None, 1, 100, 500, None]
    assert [event.progress.recipients_sent for event in events] == [0, 1, 101, 601, 601]
    assert [event.progress.percentage for event in events] == [0, 0, 16, 100, 100]
    assert {event.progress.recipients_total for event in events} == {601}


async def test_a_plain_story_opens_as_sending() -> None:
    of = story(5)
    first, *_ = await Bench(StoryOpened(story=of), closed(of)).run()
    assert first.state == "sending"


async def test_an_event_says_which_batch_how_long_which_attempt_and_how_it_went() -> None:
    of = story(500)
    went = result(batch(of, size=100, index=3, attempt=2), "timed-out", duration=15.2, reason="no answer")
    _, event, *_ = await Bench(StoryOpened(story=of), *settled(went), closed(of)).run()
    found = event.batch
    assert (found.index, found.size, found.duration_ms, found.attempt) == (3, 100, 15_200, 2)
    assert (found.outcome, event.reason, event.at) == ("timed-out", "no answer", EPOCH)


async def test_the_batch_of_an_anchor_is_as_large_as_the_candidates_that_were_tried() -> None:
    of = story(500)
    candidates = batch(of, size=3, role="anchor", index=0)
    first, second, _ = people(3)
    went = result(candidates, sent=[second], failed={first: "dead"}, untried=1)
    _, event, *_ = await Bench(StoryOpened(story=of), *settled(went), closed(of)).run()
    assert event.batch.size == 2


async def test_a_wait_is_told_with_its_reason() -> None:
    of = story(500)
    _, event, *_ = await Bench(
        StoryOpened(story=of), Held(batch=batch(of, size=100), seconds=4, reason="slow down"), closed(of)
    ).run()
    assert (event.state, event.reason, event.batch) == ("waiting", "slow down", None)


async def test_the_time_left_follows_from_the_last_batch_and_its_gap() -> None:
    of = story(300)
    went = result(batch(of, size=100), duration=1.5, gap=0.5)
    opened, event, ended, _ = await Bench(StoryOpened(story=of), *settled(went), closed(of)).run()
    assert opened.eta_ms is None
    assert event.eta_ms == 4_000
    assert ended.eta_ms == 0


async def test_the_report_counts_batches_and_lists_their_sizes_without_the_anchor() -> None:
    of = story(601)
    sizes = [(0, 1), (1, 100), (2, 100), (2, 100), (3, 500)]
    batches = [BatchRecord(index, size, 1, "sent", 1_000) for index, size in sizes]
    counts = Counts(total=5, successful=4, failed=1, retried=2)
    report = await reported(StoryOpened(story=of), closed(of, batches=batches, counts=counts))
    assert report.batch_sequence == [100, 100, 100, 500]
    found = report.batches
    assert (found.total, found.successful, found.failed, found.retried) == (5, 4, 1, 2)


async def test_the_report_says_where_everybody_ended_and_why() -> None:
    a, b, c, d = people(4)
    of = story(
        [a, b, c, d],
        skipped=[Skipped("bad", "invalid"), Skipped(a, "duplicate"), Skipped("worse", "invalid")],
    )
    closing = closed(of, sent=1, failed={b: "not-on-whatsapp", c: "unavailable"}, unknown=[d])
    report = await reported(StoryOpened(story=of), closing)
    assert (report.sent_successfully, report.failed, report.skipped, report.unknown) == (1, 2, 3, 1)
    assert report.total_recipients == 7
    assert report.failures == {"not-on-whatsapp": 1, "unavailable": 1}
    assert report.failure_reasons == {b: "not-on-whatsapp", c: "unavailable"}
    assert report.skips == {"invalid": 2, "duplicate": 1}
    assert (report.failed_recipients, report.unknown_recipients) == ([b, c], [d])
    assert report.skipped_recipients == ["bad", a, "worse"]


@pytest.mark.parametrize(
    ("length", "shown"), [(1, 1), (LONGEST_NAME, LONGEST_NAME), (LONGEST_NAME + 1, 67), (10_000, 67)]
)
async def test_a_name_of_any_length_is_shortened_to_64_characters_in_the_report(
    length: int, shown: int
) -> None:
    name = "\u00e9" * length
    of = story(2, skipped=[Skipped(name, "invalid")])
    report = await reported(StoryOpened(story=of), closed(of))
    [found] = report.skipped_recipients
    assert len(found) == shown
    assert found == (name if length <= 64 else name[:64] + "...")
    assert (report.skipped, report.skips) == (1, {"invalid": 1})


async def test_a_report_of_five_thousand_endless_names_fits_in_one_message() -> None:
    of = story(1, skipped=[Skipped(f"{number} {'x' * 10_000}", "invalid") for number in range(NAMED)])
    report = await reported(StoryOpened(story=of), closed(of))
    assert len(set(report.skipped_recipients)) == NAMED
    assert len(msgspec.json.encode(report)) < 1_000_000


async def test_a_report_names_five_thousand_of_each_list_and_counts_them_all() -> None:
    many = people(NAMED + 7)
    of = story(many, skipped=[Skipped(jid, "duplicate") for jid in many])
    for closing in (closed(of, sent=0, failed=dict.fromkeys(many, "x")), closed(of, sent=0, unknown=many)):
        report = await reported(StoryOpened(story=of), closing)
        assert report.failed + report.unknown == report.skipped == NAMED + 7
        assert sum(report.failures.values()) == report.failed
        assert len(report.failed_recipients) + len(report.unknown_recipients) == NAMED
        assert len(report.failure_reasons) == len(report.failed_recipients)
        assert len(report.skipped_recipients) == NAMED
        assert len(msgspec.json.encode(report)) < 1_000_000, "a report must fit in one message"


@pytest.mark.parametrize(
    ("sent", "reason", "success"),
    [
        (100, None, True),
        (95, None, True),
        (94, None, False),
        (100, "content-refused", False),
        (0, None, False),
    ],
)
async def test_a_success_ran_to_its_end_and_reached_the_wanted_share(
    sent: int, reason: str | None, *, success: bool
) -> None:
    of = story(100)
    failed = dict.fromkeys(people(100)[sent:], "x")
    report = await reported(StoryOpened(story=of), closed(of, sent=sent, failed=failed, reason=reason))
    assert report.success is success
    assert report.state == ("completed" if reason is None else "failed")
    assert report.reason == reason


async def test_the_wanted_share_is_an_option_and_the_skipped_do_not_count_against_it() -> None:
    of = story(10, options=SmartSend(min_success_rate=0.5), skipped=[Skipped("bad", "invalid")] * 90)
    failed = dict.fromkeys(people(10)[5:], "x")
    assert (await reported(StoryOpened(story=of), closed(of, sent=5, failed=failed))).success


async def test_a_story_with_nobody_to_send_to_is_completed() -> None:
    of = story([], skipped=[Skipped("bad", "suppressed")])
    report = await reported(StoryOpened(story=of), closed(of, message_id=None))
    assert (report.success, report.state, report.message_id) == (True, "completed", None)


async def test_a_dry_run_says_that_it_is_one() -> None:
    of = story(10, dry_run=True)
    closing = closed(of, sent=0, skipped=[Skipped(jid, "dry-run") for jid in of.recipients], message_id=None)
    report = await reported(StoryOpened(story=of), closing)
    assert (report.dry_run, report.success, report.skips) == (True, True, {"dry-run": 10})


@pytest.mark.parametrize("where", ["skipped", "unknown"])
async def test_the_last_event_of_a_completed_story_is_at_100_percent(where: str) -> None:
    of = story(10, dry_run=where == "skipped")
    ends: dict[str, Any] = {
        "skipped": {"skipped": [Skipped(jid, "dry-run") for jid in of.recipients]},
        "unknown": {"unknown": of.recipients},
    }
    *_, last, _ = await Bench(StoryOpened(story=of), closed(of, sent=0, **ends[where])).run()
    assert (last.state, last.progress.percentage) == ("completed", 100)


async def test_the_report_passes_on_what_was_learned_and_how_long_it_took() -> None:
    of = story(100)
    learned = SessionLearning(
        max_proven_batch_size=4_000, used_historical_data=True, will_skip_ramping_next_time=True
    )
    into, out = anyio.create_memory_object_stream[Onward](5)
    bench = Bench(inbox=out)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.reporter)
        await into.send(StoryOpened(story=of))
        await anyio.sleep(4.2)
        await into.send(closed(of, learning=learned))
        into.close()
    *_, last = drained(bench.outgoing)
    assert (last.report.session_learning, last.report.total_duration) == (learned, 4_200)


@pytest.mark.parametrize("kind", ["account-restricted", "session-lost", "rate-limited", "unavailable"])
async def test_a_parked_story_has_an_event_and_an_alert_and_no_report(kind: str) -> None:
    of = story(500)
    parked = StoryParked(story=of, kind=kind, reason="error 463")
    _, event, alert = await Bench(StoryOpened(story=of), parked).run()
    assert (event.state, event.reason) == ("parked", "error 463")
    assert alert == Alert(session_id="main", kind=kind, reason="error 463", at=EPOCH, story_id="sale")


async def test_a_story_that_goes_on_is_told_from_where_it_stood() -> None:
    of = story(601)
    standing = Standing(sent=101, failed=100, unknown=100, index=3, message_id="3EB0ANCHOR")
    opened, ended, _ = await Bench(StoryOpened(story=of, standing=standing, reason="why"), closed(of)).run()
    assert (opened.state, opened.reason, opened.message_id) == ("sending", "why", "3EB0ANCHOR")
    progress = opened.progress
    assert (progress.recipients_sent, progress.percentage, progress.current) == (101, 50, 3)
    assert (ended.state, ended.progress.percentage) == ("completed", 100)


@pytest.mark.parametrize(("anchoring", "state"), [(True, "anchoring"), (False, "sending")])
async def test_a_story_opens_as_what_it_does_first(*, anchoring: bool, state: str) -> None:
    of = story(601)
    opening = StoryOpened(story=of, standing=Standing(failed=3), anchoring=anchoring)
    opened, *_ = await Bench(opening, closed(of)).run()
    assert (opened.state, opened.progress.recipients_sent) == (state, 0)


async def test_what_is_told_is_what_is_stored_whatever_the_batch_itself_says() -> None:
    of = story(601)
    went = result(batch(of, size=100, index=4))
    item = BatchSettled(result=went, standing=Standing(sent=201, unknown=99, index=5, message_id="3EB0"))
    _, event, *_ = await Bench(StoryOpened(story=of), item, closed(of)).run()
    progress = event.progress
    assert (progress.recipients_sent, progress.percentage, event.message_id) == (201, 49, "3EB0")


@pytest.mark.parametrize("kind", ["paused", "handed-over"])
async def test_a_story_that_is_left_has_an_event_and_neither_an_alert_nor_a_report(kind: str) -> None:
    of = story(500)
    standing = Standing(sent=50, index=1)
    left = StoryParked(story=of, kind=kind, reason=kind)
    _, event, *others = await Bench(StoryOpened(story=of, standing=standing), left).run()
    assert (event.state, event.reason) == ("paused" if kind == "paused" else "waiting", kind)
    assert event.progress.recipients_sent == 50
    paused = [Paused(delivery=of.delivery, story_id="sale")]
    assert others == (paused if kind == "paused" else [])


async def test_a_cancelled_story_says_so_and_is_no_success() -> None:
    of = story(10)
    left_out = [Skipped(jid, "cancelled") for jid in of.recipients[8:]]
    closing = closed(of, sent=8, skipped=left_out, reason="cancelled")
    *_, last, reported = await Bench(StoryOpened(story=of), closing).run()
    report = reported.report
    assert (last.state, last.progress.percentage, report.state) == ("cancelled", 100, "cancelled")
    assert (report.success, report.skips, reported.rejection) == (False, {"cancelled": 2}, None)


async def test_a_story_that_was_given_up_is_a_dead_letter_too() -> None:
    of = story(10)
    closing = closed(of, sent=0, failed=dict.fromkeys(of.recipients, "poison"), reason="poison")
    *_, reported = await Bench(StoryOpened(story=of), closing).run()
    assert (reported.report.state, reported.report.reason) == ("failed", "poison")
    rejection = reported.rejection
    assert (rejection.code, rejection.session_id, rejection.story_id) == ("poison", SESSION, "sale")
    assert rejection.at == EPOCH
    assert "each time it was taken up" in rejection.message


@pytest.mark.parametrize("reason", [None, "no-anchor", "cancelled"])
async def test_no_other_story_is_a_dead_letter(reason: str | None) -> None:
    of = story(10)
    *_, reported = await Bench(StoryOpened(story=of), closed(of, reason=reason)).run()
    assert reported.rejection is None


async def test_the_duration_counts_from_when_the_story_first_began_however_often_it_was_taken_up() -> None:
    of = story(10)
    assert (
        await reported(StoryOpened(story=of), closed(of, began=EPOCH - timedelta(hours=1)))
    ).total_duration == 3_600_000
    ahead = await reported(StoryOpened(story=of), closed(of, began=EPOCH + timedelta(hours=1)))
    assert ahead.total_duration == 0, "another worker's clock may be ahead"


async def test_a_report_settles_the_delivery_of_its_own_story() -> None:
    first, second = story(5, story_id="a"), story(5, story_id="b")
    outgoing = await Bench(*whole(first), *whole(second)).run()
    settled = [(item.delivery.key, item.report.story_id) for item in outgoing if isinstance(item, Reported)]
    assert settled == [("a", "a"), ("b", "b")]


async def test_nothing_is_kept_of_a_story_that_is_over() -> None:
    parked = story(5, story_id="parked")
    stopped = StoryParked(story=parked, kind="session-lost", reason="logged out")
    bench = Bench(*whole(story(5)), StoryOpened(story=parked), stopped)
    await bench.run()
    assert bench.reporter._accounts == {}


async def test_metrics_sum_up_all_stories() -> None:
    smart, plain = story(601, story_id="a"), story(5, story_id="b")
    items = whole(smart, 100, 500)
    items[3:3] = settled(
        result(batch(smart, size=100, index=2), "failed", duration=4.0),
        result(batch(smart, size=100, index=3, attempt=2), duration=2.0),
    )
    bench = Bench(*items, StoryOpened(story=plain), closed(plain, sent=4, failed={people(1)[0]: "x"}))
    await bench.run()
    found = bench.reporter.statistics()
    assert (found.total_sends, found.smart_sends_used) == (2, 1)
    assert (found.average_batch_size, found.average_time_per_batch) == (200, 2)
    assert (found.failed_batches, found.retries_needed) == (1, 1)
    assert found.success_rate == pytest.approx(605 / 606)


async def test_before_the_first_story_the_metrics_are_defined() -> None:
    bench = Bench()
    await bench.run()
    found = bench.reporter.statistics()
    assert (found.total_sends, found.average_batch_size, found.success_rate) == (0, 0, 1)


async def test_cancelling_it_closes_its_ends() -> None:
    with no_leaks():
        bench = Bench(StoryOpened(story=story(5)), room=0)
        async with anyio.create_task_group() as tasks:
            await tasks.start(bench.reporter)
            await anyio.sleep(1)
            tasks.cancel_scope.cancel()
        assert drained(bench.outgoing) == []
        del bench


@given(
    skipped=st.integers(0, 5),
    places=st.lists(st.sampled_from(["sent", "failed", "unknown"]), max_size=30),
    rate=st.floats(0, 1),
    reason=st.sampled_from([None, "no-anchor"]),
)
def test_wherever_everybody_ends_the_four_counts_add_up_to_the_total(
    skipped: int, places: list[str], rate: float, reason: str | None
) -> None:
    listed = people(len(places))
    of = story(listed, options=SmartSend(min_success_rate=rate), skipped=[Skipped("x", "invalid")] * skipped)
    where = {
        place: [jid for jid, at in zip(listed, places, strict=True) if at == place] for place in set(places)
    }
    closing = closed(
        of,
        sent=len(where.get("sent", [])),
        failed=dict.fromkeys(where.get("failed", []), "x"),
        unknown=where.get("unknown", []),
        reason=reason,
    )
    report = report_of(closing, now=EPOCH)
    parts = report.sent_successfully + report.failed + report.skipped + report.unknown
    assert parts == report.total_recipients == len(places) + skipped
    share = report.sent_successfully / len(places) if places else 1
    assert report.success == (reason is None and share >= rate)
