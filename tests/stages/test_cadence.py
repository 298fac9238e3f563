"""The far side's limits: learned between two refusals, held to, and of no account to whom nothing was refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from stages.bucket import TokenBucket
from stages.cadence import NO_LIMIT, Cadence, Pace
from stages.turns import Turns

RATES = st.floats(0.05, 1)
BURSTS = st.integers(3, 8)
"""Calls a second and at once: a bucket that does not run over during the wait after a refusal."""
SIZES = st.integers(1, 10_000)
REFUSING = 0.1
"""Seconds that a refusal takes."""


class Drive(Struct):
    """What came of calls after one another: when each that went through began, before which one was refused."""

    turns: Turns
    starts: list[float]
    refused: list[int]

    def rate(self, since: int, weights: Sequence[float]) -> float:
        """What went through a second from the call `since` on."""
        return sum(weights[since:-1]) / (self.starts[-1] - self.starts[since])


def driven(
    bucket: TokenBucket,
    sizes: Sequence[int],
    *,
    tokens: Callable[[int], float],
    lasting: float = 0.05,
    turns: Turns | None = None,
    start: float = 0.0,
) -> Drive:
    """Calls of `sizes`, each as soon as it may, against a far side that counts `tokens`."""
    drive = Drive(turns or Turns(100, random=Random(1).random), [], [])
    now = start
    for place, size in enumerate(sizes):
        while True:
            now = max(now, drive.turns.ready_at(now, 0, size))
            turn = drive.turns.take(now, size)
            if bucket.take(now, tokens(size)):
                break
            drive.refused.append(place)
            now += REFUSING
            drive.turns.ended(now)
            drive.turns.refused(turn, now, None)
        drive.starts.append(now)
        now += lasting
        drive.turns.ended(now)
        drive.turns.succeeded(turn)
    return drive


def one_a_call(_: int) -> float:
    return 1.0


def limit_on_calls(rate: float, burst: float, calls: int = 300, size: int = 1_000) -> Drive:
    return driven(TokenBucket(rate, burst), [size] * calls, tokens=one_a_call)


@settings(max_examples=40)
@given(RATES, BURSTS)
def test_a_limit_on_calls_is_learned_and_calls_then_go_through(rate: float, burst: int) -> None:
    drive = limit_on_calls(rate, burst)
    assert drive.turns.pace.per_call == pytest.approx(1 / rate, rel=0.15)
    assert drive.rate(200, [1.0] * 300) > 0.9 * rate
    assert sum(place >= 200 for place in drive.refused) <= 3


@settings(max_examples=40)
@given(st.floats(100, 2_000), st.floats(3, 10), st.integers(100, 1_000))
def test_so_is_a_limit_on_recipients(rate: float, burst: float, size: int) -> None:
    rate = min(rate, 2.0 * size)
    drive = driven(TokenBucket(rate, burst * size), [size] * 300, tokens=float)
    assert drive.turns.pace.per_recipient == pytest.approx(1 / rate, rel=0.15)
    assert drive.rate(200, [float(size)] * 300) > 0.9 * rate
    assert sum(place >= 200 for place in drive.refused) <= 3


@settings(max_examples=20)
@given(st.floats(100, 2_000), st.lists(st.integers(300, 1_000), min_size=2, max_size=5))
def test_under_a_limit_on_recipients_batches_of_any_sizes_go_out_nearly_as_fast_as_they_may(
    rate: float, sizes: list[int]
) -> None:
    rate = min(rate, 2.0 * min(sizes))
    many = (sizes * 150)[:300]
    drive = driven(TokenBucket(rate, 4_000), many, tokens=float)
    assert drive.rate(200, [float(size) for size in many]) > 0.85 * rate


@settings(max_examples=20)
@given(RATES, BURSTS, st.lists(SIZES, min_size=2, max_size=5))
def test_under_a_limit_on_calls_sizes_do_not_matter(rate: float, burst: int, sizes: list[int]) -> None:
    drive = driven(TokenBucket(rate, burst), (sizes * 150)[:300], tokens=one_a_call)
    assert drive.rate(200, [1.0] * 300) > 0.85 * rate


def test_a_limit_that_was_learned_before_is_not_run_into_again() -> None:
    first = limit_on_calls(0.25, 4)
    later = Turns(100, random=Random(2).random)
    later.resume(first.turns.pace)
    drive = driven(TokenBucket(0.25, 4), [1_000] * 40, tokens=one_a_call, turns=later)
    assert len(drive.refused) <= 1
    assert drive.rate(0, [1.0] * 40) > 0.9 * 0.25


def turns_of(pace: Pace = NO_LIMIT) -> Turns:
    turns = Turns(1_000, random=Random(1).random)
    turns.resume(pace)
    return turns


@given(st.lists(st.tuples(st.floats(0.002, 100), SIZES), max_size=50), SIZES)
def test_a_session_that_was_never_refused_is_never_held_back(
    calls: list[tuple[float, int]], size: int
) -> None:
    turns, now = turns_of(), 0.0
    for later, sent in calls:
        now += later
        assert turns.ready_at(now, 0, size) <= now
        turns.succeeded(turns.take(now, sent))
    assert turns.pace == NO_LIMIT


@given(st.lists(st.tuples(st.floats(0.1, 5), st.booleans(), SIZES), max_size=80))
def test_a_pace_is_never_negative_nor_endless_whatever_is_refused(
    calls: list[tuple[float, bool, int]],
) -> None:
    turns, now = turns_of(), 0.0
    for later, sent, size in calls:
        now += later
        turn = turns.take(now, size)
        if sent:
            turns.succeeded(turn)
        else:
            turns.refused(turn, now, None)
        assert 0 <= turns.pace.per_call <= 1.1 * now
        assert 0 <= turns.pace.per_recipient <= 1.1 * now


def test_one_refusal_by_itself_tells_no_rate() -> None:
    drive = driven(TokenBucket(1e-9, 3), [100] * 3, tokens=one_a_call)
    drive.turns.refused(drive.turns.take(10, 100), 10, None)
    assert drive.turns.pace == NO_LIMIT


def test_refusals_in_a_row_tell_no_rate() -> None:
    turns = turns_of()
    for at in range(10):
        turns.refused(turns.take(float(at), 100), float(at), None)
    assert turns.pace == NO_LIMIT


def test_a_limit_that_was_lowered_is_learned_again() -> None:
    drive = limit_on_calls(1.0, 4)
    bucket = TokenBucket(0.2, 4)
    later = driven(bucket, [1_000] * 100, tokens=one_a_call, turns=drive.turns, start=drive.starts[-1] + 10)
    assert later.turns.pace.per_call == pytest.approx(5, rel=0.2)
    assert sum(place >= 60 for place in later.refused) <= 3


def test_a_limit_that_was_raised_is_found_in_time() -> None:
    drive = limit_on_calls(0.2, 4)
    bucket = TokenBucket(0.4, 4)
    later = driven(bucket, [1_000] * 900, tokens=one_a_call, turns=drive.turns, start=drive.starts[-1] + 10)
    assert 2 < later.turns.pace.per_call < 4
    assert later.rate(800, [1.0] * 900) > 1.25 * 0.2


def test_a_call_that_did_not_have_to_wait_says_nothing_of_the_limit() -> None:
    known = Pace(per_call=10, per_recipient=1)
    turns = turns_of(known)
    turns.succeeded(turns.take(100, 500))
    assert turns.pace == known
    turns.succeeded(turns.take(110, 500))
    assert 8 < turns.pace.per_call < 10


def test_the_first_call_of_all_was_held_back_by_nothing_whatever_the_clock_says() -> None:
    known = Pace(per_call=10, per_recipient=1)
    turns = turns_of(known)
    turns.succeeded(turns.take(0.0, 500))
    assert turns.pace == known


def test_a_pace_that_is_sure_is_given_up_more_slowly() -> None:
    sure, unsure = (turns_of(Pace(per_call=10, per_recipient=1, sure=sure)) for sure in (True, False))
    for turns in (sure, unsure):
        turns.succeeded(turns.take(100, 500))
        turns.succeeded(turns.take(110, 500))
    assert unsure.pace.per_call < sure.pace.per_call < 10


def test_of_both_explanations_the_shorter_wait_is_tried() -> None:
    cadence = Cadence(Pace(per_call=10, per_recipient=0.01))
    assert cadence.wait_for(100) == pytest.approx(1)
    assert cadence.wait_for(5_000) == 10


def test_a_call_under_way_counts_until_it_was_refused() -> None:
    turns = turns_of(Pace(per_call=50, per_recipient=1))
    turns.succeeded(turns.take(100, 500))
    turn = turns.take(150, 500)
    assert turns.ready_at(150, 0, 500) == 200
    turns.refused(turn, 150, None)
    assert turns.ready_at(150, 0, 500) < 160


def test_what_was_learned_here_goes_before_what_was_learned_in_another_time() -> None:
    learned, other = Pace(per_call=10, per_recipient=0.01), Pace(per_call=1, per_recipient=0.001)
    cadence = Cadence()
    cadence.resume(NO_LIMIT)
    cadence.resume(learned)
    cadence.resume(other)
    assert cadence.pace == learned
