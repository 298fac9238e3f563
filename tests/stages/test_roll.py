"""The roll: each recipient is in exactly one place, has the attempts it was promised, and outlives its process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from stages.checkpoint import Checkpoint, Retry
from stages.flow import BatchResult
from stages.messages import BatchOutcome
from stages.ranges import Ranges
from stages.roll import LONGEST_REASON, MOST_REASONS, OTHER, PARTS, Roll
from tests.support import SESSION, batch, story

NAMED = "not-on-whatsapp"
"""The reason with which a recipient fails because the engine named it, whatever was known of it before."""
FATES = ("sent", "failed", "unsent", "unsure")
OUTCOMES: tuple[BatchOutcome, ...] = ("sent", "failed", "timed-out", "halted", "parked")
OF = story(400)


def came_back(
    places: Sequence[int],
    fates: Sequence[str],
    *,
    outcome: BatchOutcome = "sent",
    failure: str | None = None,
    attempt: int = 1,
    untried: int = 0,
) -> BatchResult:
    """A result that puts each of `places` into one of `FATES`, but for the last `untried` ones."""
    listed = [OF.recipients[place] for place in places[: len(places) - untried]]
    where = {fate: [jid for jid, at in zip(listed, fates, strict=True) if at == fate] for fate in FATES}
    return BatchResult(
        batch=batch(OF, places=places, attempt=attempt),
        outcome=outcome,
        sent=where["sent"],
        failed=dict.fromkeys(where["failed"], NAMED),
        unsent=where["unsent"],
        unsure=where["unsure"],
        untried=untried,
        failure=failure,
    )


def settle_all(roll: Roll, size: int, fate: str, **fields: Any) -> list[int]:
    taken = roll.take(size)
    attempt = roll.attempt_of(taken)
    roll.settle(came_back(taken, [fate] * len(taken), attempt=attempt, **fields))
    return list(taken)


def failed(roll: Roll) -> dict[str, list[int]]:
    return {reason: list(places) for reason, places in roll.failed.items() if places}


def saved(roll: Roll) -> Checkpoint:
    """Where it stands, as it would be stored."""
    fields: dict[str, Any] = roll.standing()
    return Checkpoint(session_id=SESSION, story_id="sale", **fields)


def taken_up(checkpoint: Checkpoint, total: int, *, retries: int) -> Roll:
    roll = Roll(total, retries=retries)
    roll.resume(checkpoint)
    return roll


def places_in(retries: Iterable[Retry]) -> list[int]:
    return [place for retry in retries for place in Ranges.unpacked(retry.places)]


def failing(roll: Roll, reasons: Sequence[str]) -> None:
    places = roll.take(len(reasons))
    named = {OF.recipients[place]: why for place, why in zip(places, reasons, strict=True)}
    result = came_back(places, ["failed"] * len(places))
    roll.settle(structs.replace(result, failed=named))


numbered = st.builds(
    lambda first, count: [f"{first + each}" for each in range(count)], *[st.integers(1, 50)] * 2
)
odd = st.lists(st.text(max_size=80), min_size=1, max_size=50)


@given(
    st.lists(numbered.map(lambda reasons: [f"{why}{why}" for why in reasons]) | numbered | odd, max_size=8)
)
def test_however_many_reasons_an_engine_has_a_story_keeps_few_and_everybody_is_under_one(
    batches: list[list[str]],
) -> None:
    roll, given_in_all = Roll(400, retries=1), [why for reasons in batches for why in reasons]
    for reasons in batches:
        failing(roll, reasons)
        roll = taken_up(saved(roll), 400, retries=1)
    kept = failed(roll)
    assert sorted(place for places in kept.values() for place in places) == list(range(len(given_in_all)))
    assert len(kept) <= MOST_REASONS + 1
    assert all(len(reason) <= LONGEST_REASON for reason in kept)
    for reason in set(kept) - {OTHER}:
        assert [given_in_all[place][:LONGEST_REASON] for place in kept[reason]] == [reason] * len(
            kept[reason]
        )


def test_reasons_beyond_those_that_are_told_apart_are_one_and_the_others_go_on() -> None:
    roll = Roll(400, retries=0)
    failing(roll, [f"{number}" for number in range(MOST_REASONS + 20)])
    failing(roll, ["0", "x" * 1_000])
    assert len(failed(roll)) == MOST_REASONS + 1
    assert len(failed(roll)[OTHER]) == 21
    assert failed(roll)["0"] == [0, MOST_REASONS + 20]
    roll.give_up("halted")
    assert len(failed(roll)["halted"]) == 400 - MOST_REASONS - 22


def test_fresh_recipients_come_in_order_and_retries_after_them() -> None:
    roll = Roll(5, retries=1)
    assert settle_all(roll, 2, "unsent") == [0, 1]
    assert settle_all(roll, 2, "sent") == [2, 3]
    assert list(roll.take(3)) == [4, 0, 1]


def test_a_batch_is_never_larger_than_asked_and_ends_with_who_is_left() -> None:
    roll = Roll(5, retries=0)
    assert [len(roll.take(2)) for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_recipient_has_one_attempt_and_its_retries_and_then_fails_with_the_last_reason(
    retries: int,
) -> None:
    roll = Roll(1, retries=retries)
    for attempt in range(1 + retries):
        assert roll.attempt_of([0]) == attempt + 1
        settle_all(roll, 1, "unsent", failure=f"reason {attempt}")
    assert (roll.waiting, failed(roll), roll.failures) == (0, {f"reason {retries}": [0]}, 1)


def test_who_was_in_a_call_that_timed_out_is_unknown_at_the_end_and_not_failed() -> None:
    roll = Roll(2, retries=1)
    settle_all(roll, 1, "unsure", failure="outcome-unknown")
    settle_all(roll, 1, "unsent", failure="unavailable")
    settle_all(roll, 2, "unsent", failure="unavailable")
    assert list(roll.unknown) == [0]
    assert failed(roll) == {"unavailable": [1]}


def test_once_nothing_can_be_repeated_who_may_have_got_it_is_unknown_wherever_they_wait() -> None:
    roll = Roll(6, retries=3)
    one, two, three = roll.take(2), roll.take(2), roll.take(2)
    roll.settle(came_back(one, ["unsure", "unsent"]))
    roll.settle(came_back(two, ["unsure", "unsure"]))
    roll.never_repeat()
    assert list(roll.unknown) == [0, 2, 3]
    roll.settle(came_back(three, ["unsure", "unsent"]))
    assert list(roll.unknown) == [0, 2, 3, 4]
    assert sorted(roll.take(6)) == [1, 5]


def test_who_was_unsure_and_is_sent_later_is_sent() -> None:
    roll = Roll(3, retries=1)
    settle_all(roll, 3, "unsure")
    settle_all(roll, 3, "sent")
    assert (list(roll.sent), list(roll.unknown), failed(roll)) == ([0, 1, 2], [], {})


def test_untried_candidates_are_fresh_again_in_their_old_order() -> None:
    roll = Roll(5, retries=3)
    taken = roll.take(3)
    roll.settle(came_back(taken, ["failed", "sent"], untried=1))
    assert saved(roll).next == 2, "a place that was given back is no retry"
    assert list(roll.take(9)) == [2, 3, 4]
    assert roll.attempt_of([2]) == 1


def test_untried_candidates_that_were_retries_come_first_again_and_lost_no_attempt() -> None:
    roll = Roll(6, retries=3)
    settle_all(roll, 5, "unsent")
    taken = roll.take(4)
    assert list(taken) == [5, 0, 1, 2]
    roll.settle(came_back(taken, ["sent"], untried=3))
    assert list(roll.take(9)) == [0, 1, 2, 3, 4]
    assert roll.attempt_of([0]) == roll.attempt_of([4]) == 2


def test_untried_candidates_fresh_ones_and_retries_are_all_still_there() -> None:
    roll = Roll(6, retries=3)
    settle_all(roll, 4, "unsent")
    taken = roll.take(4)
    assert list(taken) == [4, 5, 0, 1]
    roll.settle(came_back(taken, ["sent"], untried=3))
    assert sorted(roll.take(9)) == [0, 1, 2, 3, 5]


@pytest.mark.parametrize("outcome", ["halted", "parked"])
def test_what_a_batch_that_was_called_off_did_not_send_comes_first_again_and_lost_no_attempt(
    outcome: BatchOutcome,
) -> None:
    roll = Roll(6, retries=0)
    taken = roll.take(4)
    roll.settle(came_back(taken, ["sent", "unsent", "unsent", "unsent"], outcome=outcome))
    assert (roll.waiting, failed(roll)) == (5, {})
    assert list(roll.take(9)) == [4, 5, 1, 2, 3]
    assert roll.attempt_of([1, 2, 3]) == 1


def test_in_a_batch_that_was_called_off_a_call_that_timed_out_was_an_attempt() -> None:
    roll = Roll(2, retries=0)
    roll.settle(came_back(roll.take(2), ["unsure", "unsent"], outcome="halted"))
    assert (list(roll.unknown), roll.waiting) == ([0], 1)


def test_what_fails_once_more_goes_in_small_parts_and_by_itself() -> None:
    roll = Roll(80, retries=3)
    settle_all(roll, 80, "unsent", outcome="failed")
    settle_all(roll, 80, "unsent", outcome="failed")
    parts = [list(roll.take(80)) for _ in range(PARTS)]
    assert parts == [list(range(first, first + 10)) for first in range(0, 80, 10)]
    assert roll.take(80) == range(80, 80)


def test_a_part_that_is_larger_than_asked_goes_in_pieces() -> None:
    roll = Roll(80, retries=3)
    settle_all(roll, 80, "unsent", outcome="failed")
    settle_all(roll, 80, "unsent", outcome="failed")
    assert [list(roll.take(6)) for _ in range(3)] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9], [*range(10, 16)]]


def test_the_attempt_of_a_batch_is_that_of_its_most_tried_recipient() -> None:
    roll = Roll(3, retries=5)
    settle_all(roll, 1, "unsent")
    assert roll.attempt_of(range(3)) == 2
    assert roll.attempt_of([1, 2]) == 1
    assert roll.attempt_of([]) == 1


def test_giving_up_fails_who_waits_and_keeps_who_is_unsure_unknown() -> None:
    roll = Roll(3, retries=3)
    settle_all(roll, 1, "unsure")
    settle_all(roll, 1, "unsent", failure="unavailable")
    roll.give_up("content-refused")
    assert (roll.waiting, list(roll.unknown), failed(roll)) == (0, [0], {"content-refused": [1, 2]})


def test_leaving_out_returns_who_waits_and_keeps_who_is_unsure_unknown() -> None:
    roll = Roll(20_003, retries=3)
    settle_all(roll, 1, "unsure")
    settle_all(roll, 1, "unsent", failure="unavailable")
    settle_all(roll, 1, "sent")
    left = roll.leave_out()
    assert (roll.waiting, list(roll.unknown), failed(roll)) == (0, [0], {})
    assert left == Ranges([1, *range(3, 20_003)])


# Taken up again


def test_what_was_out_is_unsure_when_it_is_taken_up_and_comes_before_the_other_retries() -> None:
    roll = Roll(9, retries=0)
    settle_all(roll, 2, "sent")
    roll.take(3)
    later = taken_up(saved(roll), 9, retries=0)
    assert later.waiting == 7
    assert list(later.take(9)) == [5, 6, 7, 8, 2, 3, 4]
    later.settle(came_back(range(2, 9), ["unsent"] * 7, outcome="failed", failure="unavailable"))
    assert (list(later.unknown), failed(later)) == ([2, 3, 4], {"unavailable": [5, 6, 7, 8]})


def test_attempts_before_a_crash_count_after_it() -> None:
    roll = Roll(4, retries=2)
    settle_all(roll, 2, "unsent", failure="x")
    settle_all(roll, 1, "unsure", failure="x")
    later = taken_up(saved(roll), 4, retries=2)
    assert [later.attempt_of([place]) for place in range(4)] == [2, 2, 2, 1]
    for _ in range(2):
        later.settle(came_back(later.take(4), ["unsent"] * 4, failure="y"))
    assert (list(later.unknown), failed(later), later.waiting) == ([2], {"y": [0, 1]}, 1)


def test_those_that_go_by_themselves_still_do_after_a_crash() -> None:
    roll = Roll(80, retries=3)
    settle_all(roll, 80, "unsent", outcome="failed")
    settle_all(roll, 80, "unsent", outcome="failed")
    later = taken_up(saved(roll), 80, retries=3)
    assert [list(later.take(80)) for _ in range(9)] == [
        *[list(range(first, first + 10)) for first in range(0, 80, 10)],
        [],
    ]
    assert later.attempt_of([0]) == 3


def test_those_that_go_by_themselves_and_may_have_got_it_are_in_doubt_after_a_crash_too() -> None:
    roll = Roll(16, retries=3)
    settle_all(roll, 16, "unsure", outcome="timed-out")
    settle_all(roll, 16, "unsent", outcome="failed")
    later = taken_up(saved(roll), 16, retries=3)
    later.give_up("content-refused")
    assert (list(later.unknown), failed(later)) == (list(range(16)), {})


def test_a_call_that_was_called_off_before_a_crash_is_no_doubt_after_it() -> None:
    roll = Roll(3, retries=0)
    roll.settle(came_back(roll.take(3), ["sent", "unsent", "unsent"], outcome="halted"))
    later = taken_up(saved(roll), 3, retries=0)
    later.give_up("content-refused")
    assert (list(later.unknown), failed(later)) == ([], {"content-refused": [1, 2]})


@given(data=st.data(), count=st.integers(0, 40), retries=st.integers(0, 3))
def test_whatever_happens_everyone_is_in_exactly_one_place_and_a_crash_loses_nobody(
    data: st.DataObject, count: int, retries: int
) -> None:
    roll = Roll(count, retries=retries)
    out: list[Sequence[int]] = []
    attempts: Counter[int] = Counter()
    doubted: set[int] = set()
    sent: set[int] = set()
    turns = data.draw(st.integers(0, 25))
    for _ in range(turns):
        match data.draw(st.sampled_from(["take", "take", "settle", "settle", "crash", "give up"])):
            case "take" if len(out) < 3:
                places = roll.take(data.draw(st.integers(1, 12)))
                if places:
                    out.append(places)
            case "settle" if out:
                places = out.pop(data.draw(st.integers(0, len(out) - 1)))
                outcome = data.draw(st.sampled_from(OUTCOMES))
                untried = data.draw(st.integers(0, len(places) - 1)) if outcome != "failed" else 0
                fates = data.draw(
                    st.lists(st.sampled_from(FATES), min_size=len(places), max_size=len(places))
                )
                fates = fates[: len(places) - untried]
                by = dict(zip(places, fates, strict=False))
                called_off = outcome in {"halted", "parked"}
                attempt = roll.attempt_of(places)
                assert attempt == 1 + max(attempts[place] for place in places)
                attempts.update(
                    it for it, fate in by.items() if fate == "unsure" or (fate == "unsent" and not called_off)
                )
                doubted |= {place for place, fate in by.items() if fate == "unsure"}
                sent |= {place for place, fate in by.items() if fate == "sent"}
                roll.settle(came_back(places, fates, outcome=outcome, attempt=attempt, untried=untried))
            case "crash":
                doubted |= {place for places in out for place in places}
                roll, out = taken_up(saved(roll), count, retries=retries), []
                attempts = attempts_kept(roll, attempts)
            case "give up" if not out and data.draw(st.integers(0, 9)) == 0:
                roll.give_up("given-up")
        everyone_is_in_one_place(roll, out, count)
        assert set(roll.sent) == sent
        assert set(roll.unknown) <= doubted
        assert not any(set(places) & doubted for reason, places in roll.failed.items() if reason != NAMED)
        assert max(attempts.values(), default=0) <= 1 + retries
    roll = taken_up(saved(roll), count, retries=retries)
    left = roll.leave_out()
    assert not set(left) & (doubted | {place for places in out for place in places})
    ended = [
        *roll.sent,
        *roll.unknown,
        *left,
        *(place for places in roll.failed.values() for place in places),
    ]
    assert sorted(ended) == list(range(count))


def attempts_kept(roll: Roll, attempts: Counter[int]) -> Counter[int]:
    """What a roll that was taken up knows of earlier attempts: those that go together count as one."""
    kept = Counter({place: roll.attempt_of([place]) - 1 for place in range(400)})
    waiting = set(places_in((*saved(roll).retries, *saved(roll).out)))
    assert all(kept[place] >= attempts[place] for place in waiting)
    return Counter({place: kept[place] if place in waiting else attempts[place] for place in attempts | kept})


def everyone_is_in_one_place(roll: Roll, out: Sequence[Sequence[int]], count: int) -> None:
    checkpoint = saved(roll)
    settled = [
        *Ranges.unpacked(checkpoint.sent),
        *Ranges.unpacked(checkpoint.unknown),
        *(place for packed in checkpoint.failed.values() for place in Ranges.unpacked(packed)),
    ]
    waiting, fresh = places_in(checkpoint.retries), list(range(checkpoint.next, count))
    assert sorted(places_in(checkpoint.out)) == sorted(place for places in out for place in places)
    assert sorted([*settled, *waiting, *fresh, *places_in(checkpoint.out)]) == list(range(count))
    assert roll.waiting == len(waiting) + len(fresh)
    assert len(roll.sent) + len(roll.unknown) + roll.failures == len(settled)
