"""What a batch teaches: news only when it is told twice, less after a time-out, more again after successes."""

from __future__ import annotations

from functools import cache
from math import isfinite

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from stages.adaptive.belief import UNKNOWN, VERSION, Belief, anew
from stages.adaptive.choice import Limits, best
from stages.adaptive.curve import balance
from stages.adaptive.learning import after, expected
from stages.cadence import Pace
from stages.history import History
from stages.messages import BatchOutcome
from stages.policies import Adaptive
from stages.policy import Sample

POLICY = Adaptive()
PLENTY = 500_000


def sample(
    size: int,
    duration: float = 1.0,
    outcome: BatchOutcome = "sent",
    *,
    waiting: int = PLENTY,
    **fields: object,
) -> Sample:
    usual = {
        "outcome": outcome,
        "size": size,
        "duration": duration,
        "share": float(outcome == "sent"),
        "waiting": waiting,
    }
    return Sample(**usual | fields)  # type: ignore[arg-type] # fields of a Sample


def cost(size: int) -> float:
    return 0.8 + 0.7e-3 * size


@cache
def calm(calls: int = 20) -> Belief:
    """After so many calls in a world without noise, of the sizes that were decided."""
    history = History()
    size = POLICY.first(PLENTY, history).size
    for _ in range(calls):
        decision = POLICY.next(size, sample(size, cost(size)), history)
        size, history = decision.size, decision.history
    assert history.belief is not None
    return history.belief


def next_size(belief: Belief, *, waiting: int = PLENTY) -> int:
    """The size that follows from `belief`, as at a time when nothing is tried for its own sake."""
    quiet = structs.replace(belief, calls=0)
    return best(quiet, waiting, Limits(largest=POLICY.largest, gap=POLICY.gap)).size


# News


@pytest.mark.parametrize("times", [3, 8, 1 / 3, 1 / 8])
def test_one_call_far_off_is_no_news(times: float) -> None:
    known = calm()
    told = after(known, sample(4_000, cost(4_000) * times))
    assert told.condition == known.condition
    assert expected(told, 4_000) == pytest.approx(expected(known, 4_000), rel=0.05)


@pytest.mark.parametrize("times", [3, 8, 1 / 3, 1 / 8])
def test_two_calls_in_a_row_far_off_are_news_at_once(times: float) -> None:
    known = calm()
    told = known
    for _ in range(2):
        told = after(told, sample(4_000, cost(4_000) * times))
    assert expected(told, 4_000) == pytest.approx(times * expected(known, 4_000), rel=0.25)


def test_two_calls_far_off_to_both_sides_are_noise() -> None:
    known = calm()
    told = after(after(known, sample(4_000, cost(4_000) * 3)), sample(4_000, cost(4_000) / 3))
    assert told.condition == known.condition == 1


def test_a_slow_call_a_usual_one_and_another_slow_one_are_no_news() -> None:
    told = calm()
    for times in (3, 1, 3, 1, 3):
        told = after(told, sample(4_000, cost(4_000) * times))
    assert told.condition == 1


@pytest.mark.parametrize("times", [3.0, 1 / 3])
def test_conditions_that_are_the_usual_ones_again_are_taken_for_it(times: float) -> None:
    told = calm()
    for one in [times] * 3 + [1.0] * 4:
        told = after(told, sample(4_000, cost(4_000) * one))
    assert told.condition == 1
    assert expected(told, 4_000) == pytest.approx(cost(4_000), rel=0.25)


def test_the_first_call_of_a_story_shows_how_slow_the_session_is() -> None:
    told = after(anew(calm()), sample(4_000, cost(4_000) * 4))
    assert expected(told, 4_000) > 2 * cost(4_000)
    assert expected(told, 100) > 2 * cost(100)


def test_a_new_story_begins_in_usual_conditions() -> None:
    slow = calm()
    for _ in range(4):
        slow = after(slow, sample(4_000, cost(4_000) * 4))
    begun = anew(slow)
    assert (begun.condition, begun.surprise, begun.cap, begun.failures, begun.failed, begun.hung) == (
        1,
        1,
        0,
        0,
        0,
        0,
    )
    assert begun.proven == slow.proven


def test_a_belief_of_another_version_is_not_gone_by_in_the_middle_of_a_story_either() -> None:
    other = History(belief=structs.replace(calm(), version=VERSION + 1))
    went = sample(4_000, cost(4_000))
    assert (
        POLICY.next(4_000, went, other).history.belief == POLICY.next(4_000, went, History()).history.belief
    )


def test_a_batch_that_took_several_calls_teaches_nothing_of_costs() -> None:
    known = calm()
    told = after(known, sample(4_000, 500, whole=False))
    assert (told.curve, told.noise, told.condition) == (known.curve, known.noise, known.condition)
    assert expected(after(told, sample(4_000, 500, whole=False)), 4_000) == expected(known, 4_000)


def test_what_calls_beside_each_other_take_is_not_put_down_to_their_size() -> None:
    crowded, alone = calm(), calm()
    for _ in range(30):
        crowded = after(crowded, sample(4_000, cost(4_000) * 1.45, beside=3))
        alone = after(alone, sample(4_000, cost(4_000)))
    assert crowded.crowding < alone.crowding + 0.01
    assert expected(crowded, 4_000) == pytest.approx(expected(alone, 4_000), rel=0.15)
    assert expected(crowded, 4_000, 3) > 1.2 * expected(crowded, 4_000)


# Time-outs and failures


def test_after_a_time_out_the_next_size_is_smaller_but_not_below_the_balance_point() -> None:
    known = calm()
    size = next_size(known)
    told = after(known, sample(size, 15, "timed-out"))
    assert next_size(told) < size
    assert next_size(told) >= 0.9 * balance(known.curve)


def test_successes_after_a_time_out_let_the_size_grow_back() -> None:
    known = calm()
    size = next_size(known)
    told = after(known, sample(size, 15, "timed-out"))
    sizes = []
    for _ in range(60):
        sizes.append(next_size(told))
        told = after(told, sample(sizes[-1], cost(sizes[-1])))
    assert sizes[-1] >= 0.7 * size
    assert max(sizes) <= POLICY.largest


@given(st.integers(2_000, 10_000))
def test_the_next_few_time_outs_never_let_the_size_grow(first: int) -> None:
    told = after(calm(), sample(first, 15, "timed-out"))
    sizes = [first, next_size(told)]
    for _ in range(3):
        told = after(told, sample(sizes[-1], 15, "timed-out"))
        sizes.append(next_size(told))
    assert sizes == sorted(sizes, reverse=True)


def test_failures_of_a_size_make_it_smaller_and_those_of_people_who_failed_before_do_not() -> None:
    known = calm()
    size = next_size(known)
    first = after(known, sample(size, 2, "failed", attempt=1))
    later = after(known, sample(size, 2, "failed", attempt=4))
    assert first.errors != known.errors
    assert later.errors == known.errors


def test_a_batch_that_failed_again_is_halved_at_the_end_of_a_story() -> None:
    told = calm()
    for _ in range(2):
        told = after(told, sample(800, 2, "failed", waiting=800))
    assert next_size(told, waiting=800) <= 400


def test_calls_of_a_size_that_hangs_are_not_made_again_and_again() -> None:
    """Where it was not the time that a call of the size takes: others of nearly the size were quick."""
    told = calm()
    hung = 0
    for _ in range(60):
        size = next_size(told)
        hung += size > 4_500
        went = sample(size, 15, "timed-out") if size > 4_500 else sample(size, cost(size))
        told = after(told, went)
    assert hung <= 8
    assert told.proven <= 4_500


def test_what_went_through_is_proven_and_a_time_out_takes_it_back() -> None:
    told = after(UNKNOWN, sample(4_000, 3))
    assert told.proven == 4_000
    assert after(told, sample(100, 1)).proven == 4_000
    assert after(told, sample(8_000, 1, "failed")).proven == 4_000
    assert after(told, sample(4_000, 15, "timed-out")).proven < 4_000


def test_a_call_that_went_through_late_shows_a_later_deadline_and_a_time_out_an_earlier_one() -> None:
    assert after(UNKNOWN, sample(4_000, 40)).deadline > 40
    assert after(UNKNOWN, sample(4_000, 9, "timed-out")).deadline <= 9


def test_the_pace_is_taken_as_it_was_told() -> None:
    pace = Pace(per_call=3.0, per_recipient=1e-3, sure=True)
    assert after(calm(), sample(100, 1, pace=pace)).pace == pace
    assert anew(after(calm(), sample(100, 1, pace=pace))).pace == pace


# Whatever happens

OUTCOMES = st.sampled_from(["sent", "sent", "sent", "failed", "timed-out"])
SAMPLES = st.builds(
    Sample,
    outcome=OUTCOMES,
    size=st.integers(1, 1_000_000),
    share=st.floats(0, 1),
    duration=st.floats(0, 1_000),
    whole=st.booleans(),
    attempt=st.integers(1, 21),
    waiting=st.integers(0, 1_000_000),
    beside=st.floats(0, 15),
    pace=st.just(Pace())
    | st.builds(Pace, per_call=st.floats(0, 900), per_recipient=st.floats(0, 1), sure=st.booleans()),
)


def numbers(of: Belief) -> list[float]:
    """All numbers in a belief."""
    found: list[float] = []

    def look(value: object) -> None:
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list):
            for one in value:
                look(one)
        elif isinstance(value, int | float):
            found.append(value)

    look(msgspec.to_builtins(of))
    return found


@given(st.lists(SAMPLES, max_size=40), st.integers(1, 16))
def test_no_calls_whatever_lead_to_an_error_or_to_what_is_no_number(
    samples: list[Sample], width: int
) -> None:
    policy = Adaptive(width=width)
    decision = policy.first(1_000, History())
    for one in samples:
        decision = policy.next(decision.size, one, decision.history)
        belief = decision.history.belief
        assert belief is not None
        assert all(map(isfinite, numbers(belief)))
        assert 1 <= decision.size <= policy.largest
        assert decision.width is not None
        assert 1 <= decision.width <= width


@given(st.lists(st.lists(SAMPLES, min_size=1, max_size=6), max_size=12))
def test_nor_do_any_stories_one_after_the_other(stories: list[list[Sample]]) -> None:
    history = History()
    for samples in stories:
        decision = POLICY.first(5_000, history)
        for one in samples:
            decision = POLICY.next(decision.size, one, decision.history)
        history = decision.history
        assert history.belief is not None
        assert all(map(isfinite, numbers(history.belief)))


@given(st.lists(SAMPLES, max_size=20))
def test_what_was_learned_survives_being_written_and_read(samples: list[Sample]) -> None:
    decision = POLICY.first(1_000, History())
    for one in samples:
        decision = POLICY.next(decision.size, one, decision.history)
    history = decision.history
    assert msgspec.json.decode(msgspec.json.encode(history), type=History) == history


@given(st.lists(SAMPLES, min_size=1, max_size=20), st.integers(0, 100).filter(lambda v: v != VERSION))
def test_a_belief_of_another_version_is_as_if_there_were_none(samples: list[Sample], version: int) -> None:
    decision = POLICY.first(1_000, History())
    for one in samples:
        decision = POLICY.next(decision.size, one, decision.history)
    assert decision.history.belief is not None
    other = History(belief=structs.replace(decision.history.belief, version=version))
    begun, cold = POLICY.first(20_000, other), POLICY.first(20_000, History())
    assert begun.size == cold.size
    assert begun.history.belief == cold.history.belief
