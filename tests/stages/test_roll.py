"""The roll: each recipient is in exactly one place, and has the attempts it was promised."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.flow import BatchResult
from stages.roll import Roll
from tests.support import batch, people, story

PLACES = ("sent", "failed", "unsent", "unsure")


def came_back(recipients: list[str], places: list[str], *, failure: str | None = None) -> BatchResult:
    """A result that puts each of `recipients` into one of `PLACES`."""
    where = {
        place: [jid for jid, at in zip(recipients, places, strict=True) if at == place] for place in PLACES
    }
    return BatchResult(
        batch=batch(story(recipients)),
        outcome="sent",
        sent=where["sent"],
        failed=dict.fromkeys(where["failed"], "not-on-whatsapp"),
        unsent=where["unsent"],
        unsure=where["unsure"],
        failure=failure,
    )


def settle_all(roll: Roll, size: int, place: str, *, failure: str | None = None) -> list[str]:
    taken = roll.take(size)
    roll.settle(came_back(taken, [place] * len(taken), failure=failure))
    return taken


def test_fresh_recipients_come_in_order_and_retries_after_them() -> None:
    a, b, c, d, e = people(5)
    roll = Roll([a, b, c, d, e], retries=1)
    assert settle_all(roll, 2, "unsent") == [a, b]
    assert settle_all(roll, 2, "sent") == [c, d]
    assert roll.take(3) == [e, a, b]


def test_a_batch_is_never_larger_than_asked_and_ends_with_who_is_left() -> None:
    roll = Roll(people(5), retries=0)
    assert [len(roll.take(2)) for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_recipient_has_one_attempt_and_its_retries_and_then_fails_with_the_last_reason(
    retries: int,
) -> None:
    roll = Roll(people(1), retries=retries)
    for attempt in range(1 + retries):
        assert roll.attempt_of(people(1)) == attempt + 1
        settle_all(roll, 1, "unsent", failure="unavailable")
    assert (roll.waiting, roll.failed) == (0, {people(1)[0]: "unavailable"})


def test_who_was_in_a_call_that_timed_out_is_unknown_at_the_end_and_not_failed() -> None:
    roll = Roll(people(2), retries=1)
    settle_all(roll, 1, "unsure", failure="outcome-unknown")
    settle_all(roll, 1, "unsent", failure="unavailable")
    settle_all(roll, 2, "unsent", failure="unavailable")
    assert roll.unknown == people(1)
    assert roll.failed == {people(2)[1]: "unavailable"}


def test_who_was_unsure_and_is_sent_later_is_sent() -> None:
    roll = Roll(people(3), retries=1)
    settle_all(roll, 3, "unsure")
    settle_all(roll, 3, "sent")
    assert (roll.sent, roll.unknown, roll.failed) == (3, [], {})


def test_untried_candidates_are_fresh_again_in_their_old_order() -> None:
    roll = Roll(people(5), retries=3)
    first, second, third = roll.take(3)
    roll.settle(
        BatchResult(
            batch=batch(story(people(3))), outcome="sent", sent=[second], failed={first: "x"}, untried=1
        )
    )
    assert roll.take(9) == [third, *people(5)[3:]]
    assert roll.attempt_of([third]) == 1


def test_the_attempt_of_a_batch_is_that_of_its_most_tried_recipient() -> None:
    roll = Roll(people(3), retries=5)
    settle_all(roll, 1, "unsent")
    assert roll.attempt_of(people(3)) == 2
    assert roll.attempt_of(people(3)[1:]) == 1
    assert roll.attempt_of([]) == 1


def test_giving_up_fails_who_waits_and_keeps_who_is_unsure_unknown() -> None:
    a, b, c = people(3)
    roll = Roll([a, b, c], retries=3)
    settle_all(roll, 1, "unsure")
    settle_all(roll, 1, "unsent", failure="unavailable")
    roll.give_up("content-refused")
    assert (roll.waiting, roll.unknown, roll.failed) == (0, [a], {c: "content-refused", b: "content-refused"})


@given(
    count=st.integers(0, 40),
    retries=st.integers(0, 3),
    size=st.integers(1, 12),
    out=st.integers(1, 4),
    fates=st.lists(st.sampled_from(PLACES), min_size=30, max_size=60),
    gives_up_after=st.none() | st.integers(0, 20),
)
def test_after_any_results_everyone_is_in_exactly_one_place(
    count: int, retries: int, size: int, out: int, fates: list[str], gives_up_after: int | None
) -> None:
    roll = Roll(people(count), retries=retries)
    attempts: Counter[str] = Counter()
    in_flight: list[list[str]] = []
    sent: list[str] = []
    turn = 0
    while roll.waiting or in_flight:
        if gives_up_after is not None and turn >= gives_up_after and not in_flight:
            break
        while roll.waiting and len(in_flight) < out:
            in_flight.append(roll.take(size))
            attempts.update(in_flight[-1])
        taken = in_flight.pop(turn % len(in_flight))
        places = [fates[(turn + place) % len(fates)] for place in range(len(taken))]
        turn += 1
        roll.settle(came_back(taken, places))
        sent += [jid for jid, place in zip(taken, places, strict=True) if place == "sent"]
        settled = [*sent, *roll.failed, *roll.unknown]
        assert len(settled) == len(set(settled)), "somebody ended twice"
        assert len(settled) + roll.waiting + sum(map(len, in_flight)) == count
    roll.give_up("given-up")
    assert sorted([*sent, *roll.failed, *roll.unknown]) == people(count)
    assert roll.sent == len(sent)
    assert max(attempts.values(), default=0) <= 1 + retries
