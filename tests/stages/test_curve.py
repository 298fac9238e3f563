"""What calls cost: learned from few of them, never negative, and never surer than numbers can be."""

from __future__ import annotations

from math import isfinite, sqrt

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.adaptive.curve import PRIOR, Curve, balance, doubt, learned, scaled, seconds, unsure

SIZES = st.integers(1, 1_000_000)
SECONDS = st.floats(1e-3, 1e3)
NOISE = st.floats(0.05, 0.6)
CALLS = st.lists(st.tuples(SIZES, SECONDS, NOISE), max_size=60)
USUAL_SIZES = (100, 4_000, 900, 8_000, 2_000, 400, 6_000, 10_000, 1_300, 3_000)
COSTS = st.tuples(st.floats(0.05, 3), st.floats(0.05, 1.5), st.floats(0, 0.3))
"""Seconds for a call, a thousand recipients, and a thousand of them squared."""


def cost(of: tuple[float, float, float], size: int) -> float:
    a, b, c = of
    return a + b * size / 1_000 + c * (size / 1_000) ** 2


def after(*calls: tuple[int, float, float], curve: Curve = PRIOR) -> Curve:
    for size, took, noise in calls:
        curve = learned(curve, size, took, noise)
    return curve


def taught(of: tuple[float, float, float], rounds: int = 4) -> Curve:
    """After calls of various sizes that cost what they should."""
    return after(*((size, cost(of, size), 0.05) for size in USUAL_SIZES * rounds))


def has_no_negative_variance(curve: Curve) -> bool:
    """Whether the covariance is positive semi-definite, but for rounding: by its principal minors, scaled to 1."""
    p00, p01, p02, p11, p12, p22 = curve.covariance
    if not (p00 > 0 and p11 > 0 and p22 > 0):
        return False
    s, t, u = p01 / sqrt(p00 * p11), p02 / sqrt(p00 * p22), p12 / sqrt(p11 * p22)
    whole = 1 + 2 * s * t * u - s * s - t * t - u * u
    return min(1 - s * s, 1 - t * t, 1 - u * u, whole) > -1e-6


@given(COSTS)
def test_calls_of_various_sizes_teach_what_each_size_costs(of: tuple[float, float, float]) -> None:
    curve = taught(of)
    for size in (300, 1_000, 5_000, 9_000):
        assert seconds(curve, size) == pytest.approx(cost(of, size), rel=0.1, abs=0.02)


@given(COSTS)
def test_more_calls_never_teach_it_worse(of: tuple[float, float, float]) -> None:
    def off(curve: Curve) -> float:
        return sum(abs(seconds(curve, size) / cost(of, size) - 1) for size in USUAL_SIZES)

    assert off(taught(of, 8)) <= off(taught(of, 2)) + 0.02 * len(USUAL_SIZES)


@given(CALLS, SIZES)
def test_no_call_is_ever_believed_to_cost_less_than_nothing(
    calls: list[tuple[int, float, float]], size: int
) -> None:
    curve = after(*calls)
    assert all(part >= 0 for part in curve.mean)
    assert 0 < seconds(curve, size) < float("inf")
    assert 0 <= balance(curve) < float("inf")


@given(CALLS)
def test_a_larger_call_is_never_believed_to_cost_less(calls: list[tuple[int, float, float]]) -> None:
    curve = after(*calls)
    costs = [seconds(curve, size) for size in (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)]
    assert costs == sorted(costs)


@given(CALLS)
@example([(1_000_000, 1e3, 0.05)] * 60)
@example([(1, 1e-3, 0.05)] * 60)
@example([(1, 1e-3, 0.05), (1_000_000, 1e-3, 0.05)] * 30)
def test_whatever_the_calls_no_cost_has_a_negative_variance(calls: list[tuple[int, float, float]]) -> None:
    curve = PRIOR
    for call in calls:
        curve = after(call, curve=curve)
        assert has_no_negative_variance(curve)
        assert all(map(isfinite, (*curve.mean, *curve.covariance)))


@settings(max_examples=15)
@given(st.lists(st.tuples(SIZES, SECONDS), min_size=50, max_size=80))
def test_nor_after_hundreds_of_calls(calls: list[tuple[int, float]]) -> None:
    curve = after(*((size, took, 0.05) for size, took in calls * 10))
    assert has_no_negative_variance(curve)


@given(CALLS, SIZES)
def test_doubt_is_a_share_that_a_call_of_the_size_takes_away_from(
    calls: list[tuple[int, float, float]], size: int
) -> None:
    curve = after(*calls)
    before = doubt(curve, size)
    assert 0 <= before < 1
    told = after(*[(size, seconds(curve, size), 0.05)] * 20, curve=curve)
    assert doubt(told, size) <= max(before, 0.1)


@given(CALLS, st.floats(0.01, 1), SIZES)
def test_a_curve_that_is_believed_less_costs_the_same_and_is_less_sure(
    calls: list[tuple[int, float, float]], share: float, size: int
) -> None:
    curve = after(*calls)
    less = unsure(curve, share)
    assert less.mean == curve.mean
    assert doubt(less, size) >= doubt(curve, size)
    assert has_no_negative_variance(less)


@given(CALLS, st.floats(0.1, 10), st.integers(100, 100_000))
def test_a_session_that_is_so_many_times_as_slow_is_so_for_every_size(
    calls: list[tuple[int, float, float]], factor: float, size: int
) -> None:
    curve = after(*calls)
    slower = scaled(curve, factor)
    if min(seconds(curve, size), seconds(slower, size)) > 1e-2:
        assert seconds(slower, size) == pytest.approx(factor * seconds(curve, size))
        assert doubt(slower, size) == pytest.approx(doubt(curve, size), abs=1e-6)
    assert balance(slower) == pytest.approx(balance(curve))


@given(COSTS)
def test_at_the_balance_point_the_call_costs_as_much_as_its_recipients(
    of: tuple[float, float, float],
) -> None:
    curve = taught(of)
    a, b, _ = curve.mean
    assert balance(curve) * b / 1_000 == pytest.approx(a)


@given(COSTS, st.floats(0.2, 5))
def test_costs_that_change_are_learned_again(of: tuple[float, float, float], factor: float) -> None:
    a, b, c = of
    other = (a * factor, b * factor, c * factor)
    curve = after(*((size, cost(other, size), 0.15) for size in USUAL_SIZES * 25), curve=taught(of, rounds=6))
    for size in (1_000, 5_000, 9_000):
        assert seconds(curve, size) == pytest.approx(cost(other, size), rel=0.25, abs=0.02)
