"""How likely a size is to fail: never certain either way, never less for more, and by what happened of late."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.adaptive.risk import Risk, faded, noted, probability

SIZES = st.integers(1, 1_000_000)
RISES = st.sampled_from([1.0, 2.0, 3.0])
CALLS = st.lists(st.tuples(SIZES, st.booleans()), max_size=80)
"""Sizes of calls, and whether they went through."""
LADDER = (1, 10, 100, 500, 2_000, 4_000, 10_000, 100_000, 1_000_000)


def after(calls: Iterable[tuple[int, bool]], risk: Risk | None = None) -> Risk:
    risk = risk or Risk()
    for size, sent in calls:
        risk = noted(risk, size, sent=sent)
    return risk


@given(CALLS, SIZES, RISES)
def test_a_risk_is_never_none_and_never_certain(
    calls: list[tuple[int, bool]], size: int, rise: float
) -> None:
    assert 0 < probability(after(calls), size, rise) < 1


@given(CALLS, RISES, st.lists(SIZES, min_size=2, max_size=5))
def test_a_larger_size_is_never_less_risky(
    calls: list[tuple[int, bool]], rise: float, sizes: list[int]
) -> None:
    risk = after(calls)
    risks = [probability(risk, size, rise) for size in sorted({*LADDER, *sizes})]
    assert all(later >= before - 1e-12 for before, later in itertools.pairwise(risks))


@given(CALLS, SIZES, SIZES, RISES)
def test_a_success_never_makes_another_failure_likelier_but_for_fading(
    calls: list[tuple[int, bool]], size: int, other: int, rise: float
) -> None:
    failed_before = after((size, sent) for size, sent in calls if not sent)
    told = after([(size, True)], failed_before)
    assert probability(told, other, rise) <= probability(failed_before, other, rise)


@given(CALLS, SIZES, RISES)
def test_a_success_makes_its_own_size_safer_and_a_failure_riskier(
    calls: list[tuple[int, bool]], size: int, rise: float
) -> None:
    risk = after(calls)
    before = probability(risk, size, rise)
    assert probability(noted(risk, size, sent=True), size, rise) < before + 0.03 * (1 - before)
    assert probability(noted(risk, size, sent=False), size, rise) > before


@given(SIZES, RISES)
def test_many_successes_make_a_size_safe_that_had_failed(size: int, rise: float) -> None:
    failed = after([(size, False)] * 5)
    told = after([(size, True)] * 200, failed)
    assert probability(failed, size, rise) > 0.5
    assert probability(told, size, rise) < 0.05


@given(st.integers(10, 100_000), RISES)
def test_a_failure_speaks_against_smaller_sizes_less_and_less(size: int, rise: float) -> None:
    risk = after([(size, False)])
    far, near = probability(risk, max(1, size // 8), rise), probability(risk, size // 2, rise)
    assert far < near < probability(risk, size * 2, rise)


@given(st.integers(1, 10_000), RISES)
def test_a_success_speaks_for_all_smaller_sizes_and_for_larger_ones_less_and_less(
    size: int, rise: float
) -> None:
    risk = after([(size * 8, True)])
    small, same, double, more = (probability(risk, size * factor, rise) for factor in (1, 4, 16, 64))
    assert small == pytest.approx(same)
    assert same < double < more


@given(CALLS, SIZES, RISES, st.floats(0, 1))
def test_what_fades_tends_to_what_is_known_of_nobody(
    calls: list[tuple[int, bool]], size: int, rise: float, factor: float
) -> None:
    risk = after(calls)
    nothing = probability(Risk(), size, rise)
    gone = risk
    for _ in range(400):
        gone = faded(gone, 0.97)
    assert probability(gone, size, rise) == pytest.approx(nothing)
    weaker = faded(risk, factor)
    assert sum(weaker.failed.values()) <= factor * sum(risk.failed.values()) + 1e-9
    assert sum(weaker.sent.values()) <= factor * sum(risk.sent.values()) + 1e-9


@settings(max_examples=10)
@given(st.lists(st.tuples(SIZES, st.booleans()), min_size=60, max_size=90))
def test_what_is_remembered_stays_small_however_many_calls_there_were(
    calls: list[tuple[int, bool]],
) -> None:
    risk = after(calls * 10)
    assert len(risk.failed) + len(risk.sent) < 100
    assert sum(risk.failed.values()) + sum(risk.sent.values()) < 50


@given(CALLS, SIZES, RISES)
def test_a_failure_that_says_less_counts_less(calls: list[tuple[int, bool]], size: int, rise: float) -> None:
    risk = after(calls)
    whole, part = (probability(noted(risk, size, sent=False, weight=w), size, rise) for w in (1.0, 0.3))
    assert part < whole
