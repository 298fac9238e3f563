"""How to go on: within every limit, in equal parts, the same for the same belief, and decided in a moment."""

from __future__ import annotations

from math import ceil, exp, isfinite, log

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

import stages.adaptive.choice as module
from stages.adaptive.belief import UNKNOWN, Belief
from stages.adaptive.choice import FIRST, Limits, best, call_of
from stages.adaptive.curve import PRIOR, learned
from stages.adaptive.risk import Risk, noted
from stages.cadence import Pace

WAITING = st.integers(1, 1_000_000)
SIZES = st.integers(1, 100_000)
LIMITS = st.builds(
    Limits, largest=st.integers(1, 1_000_000), gap=st.floats(1e-3, 20), width=st.integers(1, 16)
)


@st.composite
def risks(draw: st.DrawFn) -> Risk:
    risk = Risk()
    for size, sent in draw(st.lists(st.tuples(SIZES, st.booleans()), max_size=12)):
        risk = noted(risk, size, sent=sent)
    return risk


@st.composite
def beliefs(draw: st.DrawFn) -> Belief:
    """Any belief that calls can lead to, and some that they cannot."""
    curve = PRIOR
    for size, took in draw(st.lists(st.tuples(SIZES, st.floats(1e-3, 100)), max_size=12)):
        curve = learned(curve, size, took, 0.15)
    rare = st.just(0) | SIZES
    return Belief(
        curve=curve,
        noise=draw(st.floats(0.05, 0.6)),
        errors=draw(risks()),
        hangs=draw(risks()),
        proven=draw(rare),
        deadline=draw(st.floats(1, 200)),
        crowding=draw(st.floats(0, 2)),
        pace=draw(
            st.just(Pace())
            | st.builds(Pace, per_call=st.floats(1e-3, 60), per_recipient=st.floats(1e-6, 0.1))
        ),
        calls=draw(st.integers(0, 100)),
        condition=draw(st.floats(0.05, 20)),
        cap=draw(rare),
        failures=draw(st.integers(0, 5)),
        failed=draw(rare),
    )


@given(beliefs(), WAITING, LIMITS)
def test_a_choice_is_within_every_limit_whatever_is_believed(
    belief: Belief, waiting: int, limits: Limits
) -> None:
    choice = best(belief, waiting, limits)
    assert 1 <= choice.size <= limits.largest
    assert 1 <= choice.width <= limits.width
    assert choice.size <= max(2 * belief.proven, FIRST)
    if belief.cap:
        assert choice.size <= belief.cap
    assert choice.seconds > 0
    assert isfinite(choice.seconds)
    assert 0 <= choice.risk <= 1


@given(beliefs(), WAITING, LIMITS)
def test_what_remains_is_parted_equally_so_that_no_crumb_is_left(
    belief: Belief, waiting: int, limits: Limits
) -> None:
    choice = best(belief, waiting, limits)
    if choice.probing:
        return
    # The rest of equal parts is never less than one of them by more than one recipient a part.
    parts = ceil(waiting / choice.size)
    assert choice.size == ceil(waiting / parts)


@given(beliefs(), WAITING, LIMITS)
def test_a_part_is_never_larger_than_what_remains(belief: Belief, waiting: int, limits: Limits) -> None:
    assert best(belief, waiting, limits).size <= waiting


@given(beliefs(), WAITING, LIMITS)
def test_the_same_belief_chooses_the_same(belief: Belief, waiting: int, limits: Limits) -> None:
    assert best(belief, waiting, limits) == best(structs.replace(belief), waiting, limits)


@given(beliefs(), WAITING, LIMITS)
def test_what_bounds_a_choice_is_named_only_if_it_is_near(
    belief: Belief, waiting: int, limits: Limits
) -> None:
    choice = best(belief, waiting, limits)
    if choice.bound is not None:
        assert not choice.probing
        top = min(limits.largest, max(2 * belief.proven, FIRST), belief.cap or limits.largest)
        assert choice.size <= top


@given(beliefs(), st.integers(2, 1_000_000), st.floats(0.01, 2))
def test_nobody_is_tried_out_on_the_last_few_batches(belief: Belief, waiting: int, gap: float) -> None:
    choice = best(belief, waiting, Limits(largest=1_000_000, gap=gap))
    if choice.probing:
        assert waiting / choice.size > 2


@given(st.integers(200, 20_000), st.integers(1, 40), st.floats(0.1, 10))
def test_what_is_tried_for_its_own_sake_is_within_every_limit_too(largest: int, calls: int, a: float) -> None:
    belief = structs.replace(knowing(a, 0.05), calls=calls)
    assert best(belief, 1_000_000, Limits(largest=largest, gap=0.01)).size <= largest


def test_now_and_then_something_is_tried_for_its_own_sake() -> None:
    limits = Limits(largest=50_000, gap=0.01)
    tried = [
        best(structs.replace(knowing(1, 0.2, 0.05), calls=calls), 1_000_000, limits) for calls in range(40)
    ]
    assert 0 < sum(choice.probing for choice in tried) < len(tried) / 2


@pytest.mark.parametrize("width", [1, 16])
def test_a_decision_looks_at_few_possibilities(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0
    reckon = module._total

    def counting(*args: float) -> float:
        nonlocal looked_at
        looked_at += 1
        return reckon(*args)  # type: ignore[arg-type] # as it was called

    monkeypatch.setattr(module, "_total", counting)
    for waiting in (1, 100, 10_000, 1_000_000):
        for largest in (1, 50, 10_000, 1_000_000):
            looked_at = 0
            best(UNKNOWN, waiting, Limits(largest=largest, gap=0.5, width=width))
            assert 1 <= looked_at <= 60 * width


# What is good to do


def knowing(
    a: float, b: float, c: float = 0.0, *, proven: int = 100_000, safe: int = 100_000, **fields: object
) -> Belief:
    """Sure of what calls cost: seconds a call, a thousand recipients, a thousand squared; no risk up to `safe`."""
    curve = structs.replace(PRIOR, mean=(a, b, c), covariance=(1e-6, 0, 0, 1e-6, 0, 1e-6))
    risk = Risk()
    for _ in range(30):
        risk = noted(risk, safe, sent=True)
    known = Belief(
        curve=curve,
        noise=0.05,
        proven=proven,
        deadline=60,
        crowding=0,
        errors=risk,
        hangs=risk,
    )
    return structs.replace(known, **fields)


def size_of(belief: Belief, waiting: int = 100_000, *, largest: int = 50_000, width: int = 1) -> int:
    return best(belief, waiting, Limits(largest=largest, gap=0.01, width=width)).size


def test_where_a_call_costs_much_by_itself_batches_are_as_large_as_allowed() -> None:
    assert size_of(knowing(10, 0.05), largest=10_000, waiting=100_000) == 10_000


def test_where_cost_rises_with_the_square_of_the_size_batches_are_near_the_best_size() -> None:
    a, c = 0.5, 0.1
    ideal = 1_000 * (a / c) ** 0.5
    assert abs(log(size_of(knowing(a, 0.2, c)) / ideal)) < log(1.6)


@given(st.floats(0.1, 3), st.floats(0.05, 1), st.floats(1e-3, 0.3))
def test_the_size_chosen_is_nearly_the_quickest_by_what_is_believed(a: float, b: float, c: float) -> None:
    belief = knowing(a, b, c)
    waiting = 200_000

    def total(parts: int) -> float:
        return parts * (a + b * (x := waiting / parts / 1_000) + c * x * x)

    chosen = size_of(belief, waiting, largest=10_000)
    quickest = min(total(parts) for parts in range(20, 600))
    assert total(ceil(waiting / chosen)) <= 1.15 * quickest


def test_what_may_fail_is_sent_in_smaller_batches() -> None:
    sure = knowing(1, 0.1, safe=5_000)
    risk = sure.errors
    for _ in range(5):
        risk = noted(risk, 10_000, sent=False)
    assert size_of(structs.replace(sure, errors=risk)) < size_of(sure)


def test_no_batch_is_chosen_that_would_not_be_through_by_the_deadline() -> None:
    belief = knowing(1, 1, deadline=15.0)
    size = size_of(belief)
    duration, risk = call_of(belief, size)
    assert duration < 15
    assert risk < 0.2


def test_calls_beside_each_other_are_chosen_where_they_do_not_slow_each_other_down() -> None:
    limits = Limits(largest=5_000, gap=0.01, width=4)
    assert best(knowing(1, 0.5), 100_000, limits).width == 4
    assert best(knowing(1, 0.5, crowding=1.5), 100_000, limits).width == 1


def test_a_limit_on_calls_is_met_with_larger_batches_and_not_with_more_of_them() -> None:
    free = knowing(0.3, 0.2, 0.05)
    held = structs.replace(free, pace=Pace(per_call=10.0, per_recipient=1e-6))
    assert size_of(held) > size_of(free)


def test_a_limit_on_calls_of_which_there_is_no_need_changes_nothing() -> None:
    free = knowing(5, 1, 0.05)
    assert size_of(structs.replace(free, pace=Pace(per_call=1e-3, per_recipient=1e-9))) == size_of(free)


@given(beliefs(), SIZES, st.integers(1, 16))
def test_what_a_call_takes_rises_with_its_size_and_with_those_beside_it(
    belief: Belief, size: int, width: int
) -> None:
    duration, risk = call_of(belief, size, width)
    more = call_of(belief, size * 2, width)
    beside = call_of(belief, size, width + 1)
    assert more[0] >= duration
    assert beside[0] >= duration
    assert 0 <= risk <= 1
    assert exp(-more[1]) > 0
