"""The course of a story: anchor first, one decision for each next batch, and an end for everybody in it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec import structs

from stages.cadence import NO_LIMIT, Pace
from stages.checkpoint import REMEMBERED_BATCHES, Checkpoint
from stages.control import Order
from stages.course import ANOTHER_LIST, MAX_STARTS, Course, is_smart
from stages.engine import Capabilities
from stages.flow import (
    Batch,
    BatchResult,
    BatchSettled,
    Feedback,
    Skipped,
    Story,
    StoryClosed,
    StoryParked,
)
from stages.message_id import message_id_of
from stages.messages import BatchOutcome, SessionLearning
from stages.options import SmartSend
from stages.policy import TRIES
from tests.support import EPOCH, FULL, SESSION, people, result, story

ID = message_id_of(SESSION, "sale")
NOTHING = SessionLearning(
    max_proven_batch_size=0, used_historical_data=False, will_skip_ramping_next_time=False
)


def course(recipients: int | Story = 500, *, able: Capabilities = FULL, **options: Any) -> Course:
    of = story(recipients, options=SmartSend(**options)) if isinstance(recipients, int) else recipients
    return Course(of, capabilities=able, now=EPOCH)


def issued(of: Course) -> Batch:
    batch = of.next_batch()
    assert batch is not None
    return batch


def answer(of: Course, to: BatchResult, *, size: int = 100, **fields: Any) -> BatchSettled | None:
    return of.take_in(Feedback(result=to, size=size, planned=size, learning=NOTHING, **fields))


def anchored(of: Course, *, size: int = 100, **fields: Any) -> Course:
    """`of`, once its anchor is reached."""
    batch = issued(of)
    first, *others = batch.recipients
    answer(of, result(batch, sent=[first], untried=len(others)), size=size, **fields)
    return of


def all_issued(of: Course) -> list[Batch]:
    """As many batches as may be out now."""
    batches = []
    while (batch := of.next_batch()) is not None:
        batches.append(batch)
    return batches


def closed(of: Course) -> StoryClosed:
    assert of.over
    closing = of.closing()
    assert isinstance(closing, StoryClosed)
    return closing


def ended(of: StoryClosed) -> tuple[int, int, int, int]:
    return of.sent, len(of.failed), len(of.unknown), len(of.skipped)


def test_the_anchor_comes_first_with_three_candidates_and_nothing_else_before_its_result() -> None:
    of = course(max_concurrent=4)
    batch = issued(of)
    assert (batch.role, batch.index, list(batch.recipients)) == ("anchor", 0, people(3))
    assert batch.message_id == message_id_of(SESSION, "sale")
    assert of.next_batch() is None
    assert not of.over


def test_the_most_active_contact_is_the_anchor() -> None:
    listed = people(500)
    of = course(story(listed, options=SmartSend(), priorities={listed[321]: 9}))
    assert issued(of).recipients[0] == listed[321]


def test_candidates_that_were_not_tried_go_out_in_the_first_batch() -> None:
    of = anchored(course())
    batch = issued(of)
    assert (batch.role, batch.index, list(batch.recipients)) == ("batch", 1, people(101)[1:])


def test_each_batch_has_the_size_of_the_last_decision_and_bears_the_anchors_id() -> None:
    of = anchored(course(5_000))
    sizes = []
    for size in (1_000, 3, 9_999):
        batch = issued(of)
        sizes.append(len(batch.recipients))
        assert batch.message_id == ID
        answer(of, result(batch), size=size)
    assert sizes == [100, 1_000, 3]
    assert len(issued(of).recipients) == 5_000 - 1 - 1_103


def test_the_forecast_says_how_many_batches_are_expected_in_all() -> None:
    of = anchored(course(1_001), size=300)
    assert issued(of).forecast == 4


def test_with_max_concurrent_so_many_batches_are_out_and_no_more() -> None:
    of = anchored(course(max_concurrent=3))
    batches = [issued(of) for _ in range(3)]
    assert of.next_batch() is None
    answer(of, result(batches[1]))
    assert issued(of).index == 4
    assert of.next_batch() is None
    together = [jid for batch in batches for jid in batch.recipients]
    assert len(set(together)) == 300


@pytest.mark.parametrize(("width", "out"), [(1, 1), (2, 2), (9, 4), (None, 4)])
def test_the_width_that_was_decided_bounds_the_batches_that_are_out_within_what_the_story_allows(
    width: int | None, out: int
) -> None:
    of = anchored(course(2_000, max_concurrent=4), width=width)
    assert len(all_issued(of)) == out


def test_a_width_that_narrows_lets_what_is_out_come_back_before_another_batch_goes_out() -> None:
    of = anchored(course(2_000, max_concurrent=4), width=4)
    out = all_issued(of)
    for back in out[:3]:
        answer(of, result(back), width=1)
        assert of.next_batch() is None
    answer(of, result(out[3]), width=1)
    assert len(all_issued(of)) == 1


def test_a_batch_says_how_many_wait_after_it() -> None:
    of = anchored(course(500, max_concurrent=2), size=150)
    first, second = all_issued(of)
    assert (first.waiting, second.waiting) == (349, 199)
    answer(of, result(first, "failed"), size=150)
    assert issued(of).waiting == 199


def test_a_batch_has_the_tries_and_the_pace_of_the_last_decision() -> None:
    pace = Pace(per_call=3.0, per_recipient=0.01, sure=True)
    of = course()
    assert (of.story.options.strategy, issued(of).tries) == ("progressive", TRIES)
    of = anchored(course(), tries=1, pace=pace)
    first = issued(of)
    assert (first.tries, first.pace) == (1, pace)
    answer(of, result(first), tries=2)
    second = issued(of)
    assert (second.tries, second.pace) == (2, NO_LIMIT)


def test_a_story_goes_on_with_the_width_and_the_tries_it_had() -> None:
    of = again(anchored(course(2_000, max_concurrent=4), width=2, tries=1))
    assert [batch.tries for batch in all_issued(of)] == [1, 1]
    unbounded = again(anchored(course(2_000, max_concurrent=4)))
    assert [batch.tries for batch in all_issued(unbounded)] == [TRIES] * 4


def test_a_story_is_not_over_while_a_batch_is_out_or_somebody_waits() -> None:
    of = anchored(course(150))
    last = issued(of)
    assert not of.over
    answer(of, result(last))
    assert not of.over
    answer(of, result(issued(of)))
    assert ended(closed(of)) == (150, 0, 0, 0)


def test_who_fails_as_an_anchor_is_failed_and_the_story_goes_on() -> None:
    of = course(150)
    batch = issued(of)
    dead, anchor, _ = batch.recipients
    answer(of, result(batch, sent=[anchor], failed={dead: "not-on-whatsapp"}, untried=1))
    while (following := of.next_batch()) is not None:
        answer(of, result(following))
    assert closed(of).failed == {dead: "not-on-whatsapp"}
    assert closed(of).sent == 149


def test_without_any_anchor_the_story_fails_and_says_so_for_everybody() -> None:
    of = course(150)
    batch = issued(of)
    dead = dict.fromkeys(batch.recipients, "not-on-whatsapp")
    answer(of, result(batch, "failed", unsent=[], failed=dead))
    closing = closed(of)
    assert closing.reason == "no-anchor"
    assert sorted(closing.failed.values()) == ["no-anchor"] * 147 + ["not-on-whatsapp"] * 3
    assert closing.message_id is None


@pytest.mark.parametrize(("outcome", "expected"), [("failed", (1, 149, 0, 0)), ("timed-out", (1, 0, 149, 0))])
def test_after_its_last_attempt_a_batch_is_failed_or_where_it_timed_out_unknown(
    outcome: BatchOutcome, expected: tuple[int, int, int, int]
) -> None:
    of = anchored(course(150, max_retries=2), size=200)
    attempts = []
    while (batch := of.next_batch()) is not None:
        attempts.append(batch.attempt)
        answer(of, result(batch, outcome), size=200)
    assert sorted(set(attempts)) == [1, 2, 3]
    assert ended(closed(of)) == expected
    assert closed(of).reason is None


def test_one_recipient_at_which_every_batch_fails_takes_few_others_down_with_it() -> None:
    of = anchored(course(1_001, max_retries=3), size=1_000)
    poison = of.story.recipients[500]
    while (batch := of.next_batch()) is not None:
        outcome: BatchOutcome = "failed" if poison in batch.recipients else "sent"
        answer(of, result(batch, outcome, failure="unavailable" if outcome == "failed" else None), size=1_000)
    failed = closed(of).failed
    assert poison in failed
    assert len(failed) <= 16


def test_a_refused_content_ends_the_story_with_its_reason_for_everybody_left() -> None:
    of = anchored(course(500))
    answer(of, result(issued(of), "refused", failure="content-refused"))
    closing = closed(of)
    assert closing.reason == "content-refused"
    assert (closing.sent, set(closing.failed.values())) == (1, {"content-refused"})


def test_after_the_end_nothing_is_issued_but_what_is_out_is_waited_for() -> None:
    of = anchored(course(max_concurrent=2))
    first, second = issued(of), issued(of)
    answer(of, result(first, "refused", failure="content-refused"))
    assert of.next_batch() is None
    assert not of.over
    answer(of, result(second))
    assert closed(of).sent == 101


@pytest.mark.parametrize("kind", ["account-restricted", "session-lost", "rate-limited", "unavailable"])
def test_a_stopped_session_parks_the_story_with_the_reason(kind: str) -> None:
    of = anchored(course())
    answer(of, result(issued(of), "parked", failure=kind, reason="error 463"))
    assert of.next_batch() is None
    assert of.over
    closing = of.closing()
    assert isinstance(closing, StoryParked)
    assert (closing.kind, closing.reason) == (kind, "error 463")


def test_a_dry_run_issues_nothing_and_skips_everybody() -> None:
    of = course(story(150, dry_run=True, skipped=[Skipped("bad", "invalid")]))
    assert of.over
    assert of.next_batch() is None
    closing = closed(of)
    assert ended(closing) == (0, 0, 0, 151)
    assert closing.message_id is None


@pytest.mark.parametrize(("recipients", "smart"), [(99, False), (100, True)])
def test_below_the_minimum_a_story_is_one_plain_call(recipients: int, *, smart: bool) -> None:
    of = course(recipients)
    batch = issued(of)
    assert is_smart(of.story) is smart
    assert batch.role == ("anchor" if smart else "plain")
    assert len(batch.recipients) == (3 if smart else recipients)


def test_with_smart_send_off_a_story_is_one_plain_call_however_long_it_is() -> None:
    of = course(5_000, enabled=False)
    batch = issued(of)
    assert (batch.role, batch.index, len(batch.recipients)) == ("plain", 1, 5_000)
    answer(of, result(batch), size=batch.planned)
    assert ended(closed(of)) == (5_000, 0, 0, 0)


SMALL = Capabilities(reuses_message_id=True, targets_recipients=True, max_batch=40)


@pytest.mark.parametrize(("able", "most"), [(SMALL, 10_000), (FULL, 40), (SMALL, 70)])
def test_a_plain_call_is_cut_to_what_the_engine_and_the_operator_allow(able: Capabilities, most: int) -> None:
    of = course(90, able=able, max_batch_size=most)
    sizes = []
    while (batch := of.next_batch()) is not None:
        sizes.append(len(batch.recipients))
        answer(of, result(batch), size=batch.planned)
    assert sizes == [40, 40, 10]


def test_the_message_id_follows_from_session_and_story_alone() -> None:
    assert message_id_of("main", "sale") == message_id_of("main", "sale")
    ids = {
        message_id_of(*names)
        for names in [("main", "sale"), ("main", "sale2"), ("mai", "nsale"), ("x", "sale")]
    }
    assert len(ids) == 4
    assert all(len(one) == 22 and one.startswith("3EB0") and one.isupper() for one in ids)


# From a checkpoint, and to one


def left(of: Course) -> Checkpoint:
    """Its checkpoint, as it would be read again."""
    return msgspec.json.decode(msgspec.json.encode(of.checkpoint()), type=Checkpoint)


def again(of: Course, *, able: Capabilities = FULL, max_starts: int = MAX_STARTS, **fields: Any) -> Course:
    """`of`, taken up from its checkpoint after a crash."""
    later = structs.replace(of.story, checkpoint=left(of), **fields)
    later = structs.replace(later, delivery=structs.replace(later.delivery, attempt=2))
    return Course(later, capabilities=able, now=EPOCH + timedelta(hours=1), max_starts=max_starts)


def to_the_end(of: Course, outcome: BatchOutcome = "sent", *, size: int = 100, **fields: Any) -> list[Batch]:
    batches = []
    while (batch := of.next_batch()) is not None:
        batches.append(batch)
        answer(of, result(batch, outcome, **fields), size=size)
    return batches


def test_a_story_goes_on_where_it_was_left_with_the_same_id_size_and_index() -> None:
    of = anchored(course(500), size=70)
    answer(of, result(issued(of)), size=70)
    of = again(of)
    batch = issued(of)
    assert (batch.role, batch.index, len(batch.recipients)) == ("batch", 2, 70)
    assert (batch.message_id, batch.planned) == (ID, 70)
    assert batch.places == range(71, 141)
    assert (of.standing.sent, of.standing.index, of.standing.message_id) == (71, 2, ID)


def test_the_report_counts_what_was_done_before_a_crash_too() -> None:
    of = anchored(course(500), size=150)
    answer(of, result(issued(of), failed={people(3)[1]: "x"}, sent=people(151)[2:]), size=150)
    answer(of, result(issued(of), "timed-out"), size=150)
    of = again(of)
    to_the_end(of, size=150)
    closing = closed(of)
    assert ended(closing) == (499, 1, 0, 0)
    assert [record.size for record in closing.batches] == [1, 150, 150, 150, 150, 49]
    assert closing.counts.total == len(closing.batches)
    assert (closing.counts.failed, closing.counts.successful) == (1, len(closing.batches) - 1)
    assert closing.began == EPOCH


def test_batches_that_were_out_at_a_crash_go_out_again_and_are_unknown_if_they_fail() -> None:
    of = anchored(course(350, max_concurrent=3, max_retries=0))
    out = [issued(of) for _ in range(3)]
    of = again(of)
    to_the_end(of, "failed", failure="unavailable")
    closing = closed(of)
    assert set(closing.unknown) == {jid for batch in out for jid in batch.recipients}
    assert set(closing.failed) == set(people(350)[301:])


def test_nobody_who_was_not_out_goes_out_again() -> None:
    of = anchored(course(350, max_concurrent=3))
    first, second, _ = (issued(of) for _ in range(3))
    answer(of, result(second))
    of = again(of)
    named = [jid for batch in to_the_end(of) for jid in batch.recipients]
    assert not set(named) & {people(1)[0], *second.recipients}
    assert set(first.recipients) <= set(named)
    assert len(named) == len(set(named))


def test_the_candidates_that_were_out_at_a_crash_are_the_first_to_be_tried_again() -> None:
    of = course(150)
    batch = issued(of)
    gone, doubted = left(of), batch.recipients
    later = structs.replace(of.story, checkpoint=gone)
    of = Course(later, capabilities=FULL, now=EPOCH)
    batch = issued(of)
    assert (batch.role, len(batch.recipients)) == ("anchor", 3)
    assert list(batch.recipients) == list(doubted)
    answer(of, result(batch, sent=batch.recipients[:1], untried=2))
    to_the_end(of)
    assert ended(closed(of)) == (150, 0, 0, 0)


def test_who_was_out_in_the_first_call_of_a_crash_may_have_it() -> None:
    of = course(90, max_batch_size=30, max_retries=0)
    issued(of)
    of = again(of)
    to_the_end(of, "failed", failure="unavailable")
    closing = closed(of)
    assert list(closing.unknown) == people(30)
    assert set(closing.failed) == set(people(90)[30:])


def test_on_a_first_delivery_nothing_is_in_doubt() -> None:
    of = course(90, max_retries=0)
    to_the_end(of, "failed", failure="unavailable")
    assert ended(closed(of)) == (0, 90, 0, 0)


def test_a_batch_that_was_called_off_after_some_calls_counts_for_what_it_sent() -> None:
    of = anchored(course(500))
    batch = issued(of)
    some, others = batch.recipients[:40], batch.recipients[40:]
    settled = answer(of, result(batch, "halted", sent=some, unsent=others))
    assert settled is not None
    assert (settled.standing.sent, of.dirty) == (41, True)
    assert left(of).counts.total == 2


def test_even_the_first_call_of_a_story_is_stored_before_it_goes_out() -> None:
    of = course(500)
    of.heed(None)
    issued(of)
    assert of.dirty


def test_the_same_list_in_another_order_is_another_list() -> None:
    of = anchored(course(500))
    assert again(of, recipients=people(500)[::-1]).anew_because == ANOTHER_LIST
    assert again(of).anew_because is None
    assert again(of, priorities={people(9)[8]: 9}).anew_because == ANOTHER_LIST


def test_a_size_that_is_not_allowed_any_more_is_cut() -> None:
    of = anchored(course(500), size=400)
    assert len(issued(again(of, options=SmartSend(max_batch_size=30))).recipients) == 30


def test_a_story_that_was_taken_up_too_often_and_got_nowhere_is_given_up() -> None:
    of = anchored(course(500, max_retries=3))
    lost = issued(of).recipients
    for _ in range(MAX_STARTS):
        of = again(of)
        assert not of.over
    of = again(of)
    assert of.next_batch() is None
    closing = closed(of)
    assert (closing.reason, closing.sent, set(closing.failed.values())) == ("poison", 1, {"poison"})
    assert list(closing.unknown) == list(lost)
    assert len(closing.failed) == 500 - 1 - len(lost)


def test_a_story_that_gets_somewhere_each_time_is_never_given_up() -> None:
    of = anchored(course(500), size=10)
    for _ in range(3 * MAX_STARTS):
        of = again(again(of))
        answer(of, result(issued(of)), size=10)
    assert not of.over
    assert of.standing.sent == 1 + 30 * MAX_STARTS


def test_being_able_to_heed_an_order_is_getting_somewhere() -> None:
    of = anchored(course(500))
    for _ in range(3 * MAX_STARTS):
        of = again(of)
        of.heed("leave")
    assert again(of).next_batch() is not None


# Orders


def test_a_pause_lets_what_is_out_come_back_and_then_leaves_the_rest() -> None:
    of = anchored(course(500, max_concurrent=2))
    first, second = issued(of), issued(of)
    of.heed("pause")
    assert of.next_batch() is None
    answer(of, result(first))
    assert (of.over, of.left) == (False, False)
    answer(of, result(second, "halted"))
    assert (of.over, of.left) == (True, True)
    assert left(of).state == "paused"
    closing = of.closing()
    assert isinstance(closing, StoryParked)
    assert (closing.kind, closing.reason) == ("paused", "paused")


@pytest.mark.parametrize("order", ["pause", "leave"])
def test_a_story_with_nobody_left_to_send_to_ends_whatever_the_order(order: Order) -> None:
    of = anchored(course(100))
    last = issued(of)
    of.heed(order)
    answer(of, result(last))
    assert (of.over, of.left) == (True, False)
    assert ended(closed(of)) == (100, 0, 0, 0)
    assert closed(of).reason is None


def test_a_pause_that_is_taken_back_before_it_took_effect_is_as_if_it_had_not_been() -> None:
    of = anchored(course(500))
    batch = issued(of)
    of.heed("pause")
    left(of)
    of.heed(None)
    assert of.dirty
    assert left(of).state == "open"
    answer(of, result(batch))
    assert not of.over
    assert issued(of).index == 2


def test_a_cancelled_story_skips_who_is_left_but_those_who_may_have_got_it_are_unknown() -> None:
    of = anchored(course(500))
    answer(of, result(issued(of), "timed-out"))
    of.heed("cancel")
    assert left(of).state == "cancelled"
    closing = closed(of)
    assert (closing.reason, closing.sent, len(closing.unknown)) == ("cancelled", 1, 100)
    assert closing.skipped == [Skipped(jid, "cancelled") for jid in people(500)[101:]]


def test_a_cancelled_story_with_nobody_left_is_completed() -> None:
    of = anchored(course(100))
    last = issued(of)
    of.heed("cancel")
    answer(of, result(last))
    assert closed(of).reason is None


def test_a_stopped_session_wins_over_an_order_and_the_order_is_stored() -> None:
    of = anchored(course(500))
    batch = issued(of)
    of.heed("cancel")
    answer(of, result(batch, "parked", failure="session-lost"))
    assert of.left
    assert left(of).state == "cancelled"
    closing = of.closing()
    assert isinstance(closing, StoryParked)
    assert closing.kind == "session-lost"


def test_an_anchor_that_was_called_off_is_no_reason_to_give_up() -> None:
    of = course(500)
    batch = issued(of)
    of.heed("pause")
    assert answer(of, result(batch, "halted", unsent=batch.recipients[:1], untried=2)) is None
    assert of.left
    of = again(of)
    assert issued(of).role == "anchor"


def test_only_the_first_batches_are_named_and_all_are_counted() -> None:
    of = course(REMEMBERED_BATCHES + 10, max_batch_size=1, enabled=False)
    to_the_end(of, size=1)
    closing = closed(of)
    assert len(closing.batches) == REMEMBERED_BATCHES
    assert closing.counts.total == closing.counts.successful == REMEMBERED_BATCHES + 10


def test_a_dry_run_is_not_stored_and_begins_and_ends_whatever_it_is_told() -> None:
    of = Course(story(150, dry_run=True, attempt=9), capabilities=FULL, now=EPOCH)
    of.heed("pause")
    assert (of.over, of.left) == (True, False)
    assert (closed(of).reason, len(closed(of).skipped)) == (None, 150)


def test_what_a_batch_that_was_called_off_had_taken_is_stored_as_given_back() -> None:
    of = anchored(course(500, max_concurrent=2))
    first, second = issued(of), issued(of)
    of.heed("pause")
    left(of)
    answer(of, result(first, "halted"))
    assert of.dirty
    left(of)
    assert answer(of, result(second, "halted")) is None
    assert of.dirty
    assert (left(of).out, left(of).counts.total, left(of).total) == ((), 1, 500)


def test_a_batch_that_was_called_off_by_an_order_that_is_gone_is_stored_before_the_next_goes_out() -> None:
    of = anchored(course(500))
    batch = issued(of)
    left(of)
    answer(of, result(batch, "halted"))
    of.heed(None)
    following = issued(of)
    assert following.places != batch.places
    assert of.dirty, "else a crash would take the next batch for fresh"


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_story_with_a_checkpoint_is_stored_before_its_first_batch_goes_out(attempt: int) -> None:
    of = anchored(course(500))
    later = structs.replace(of.story, checkpoint=left(of))
    later = structs.replace(later, delivery=structs.replace(later.delivery, attempt=attempt))
    assert Course(later, capabilities=FULL, now=EPOCH).dirty


@pytest.mark.parametrize("how", ["pause", "crash"])
def test_doubt_about_candidates_that_were_not_tried_this_time_outlives_another_end(how: str) -> None:
    """The second of them may have got it in the first life, in which the first one failed."""
    of = course(150, max_retries=0)
    issued(of)
    of = again(of)
    batch = issued(of)
    answer(of, result(batch, sent=batch.recipients[:1], untried=2))
    if how == "pause":
        of.heed("pause")
    of = again(of)
    of.heed(None)
    to_the_end(of, "failed", failure="unavailable")
    assert set(batch.recipients[1:]) <= set(closed(of).unknown)


def test_a_story_is_anchoring_until_somebody_has_it() -> None:
    of = course(500)
    assert of.anchoring
    assert again(of).anchoring
    assert not again(anchored(of)).anchoring
    assert not course(50).anchoring


def test_another_list_is_sent_anew_under_the_same_id() -> None:
    of = anchored(course(500))
    of = again(of, recipients=people(500)[1:])
    assert of.anew_because == ANOTHER_LIST
    batch = issued(of)
    assert (batch.role, batch.message_id) == ("anchor", ID)
    assert of.standing.sent == 0


def test_that_history_was_used_is_not_forgotten_however_often_a_story_is_taken_up() -> None:
    of = course(500)
    batch = issued(of)
    went = result(batch, sent=batch.recipients[:1], untried=2)
    learning = structs.replace(NOTHING, used_historical_data=True)
    of.take_in(Feedback(result=went, size=100, planned=100, learning=learning))
    assert again(again(again(of))).checkpoint().used_history
    assert not again(anchored(course(500))).checkpoint().used_history


@pytest.mark.parametrize("crashes", [1, 2])
def test_whom_another_list_names_may_have_got_it_as_the_first_and_is_not_reported_as_failed(
    crashes: int,
) -> None:
    of = anchored(course(500))
    answer(of, result(issued(of)))
    of = again(of, recipients=people(500)[1:])
    for _ in range(crashes - 1):
        of = again(anchored(of))
    batch = issued(of)
    dead = dict.fromkeys(batch.recipients[:1], "not-on-whatsapp")
    answer(of, result(batch, "refused", failure="content-refused", failed=dead, unsent=batch.recipients[1:]))
    assert closed(of).failed == dead
    assert ended(closed(of)) == (crashes - 1, 1, 499 - crashes, 0)
