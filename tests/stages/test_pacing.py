"""Pacing: never faster than allowed, patient after refusals, and back to full speed in steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from random import Random

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.bucket import TokenBucket
from stages.pacing import Pacer
from stages.turns import LONGEST_RETRY_AFTER, LONGEST_WAIT, Turn, backoff
from tests.support import most_in_a_window, no_jitter, on_virtual_time

TURN = Turn(0.0)
RATES = st.floats(0.05, 200)


async def turns(pacer: Pacer, count: int, *, pause: float = 0.0, lasting: float = 0.0) -> list[float]:
    """When each of `count` calls after one another may start."""
    starts = []
    for _ in range(count):
        turn = await pacer.turn(pause)
        starts.append(anyio.current_time())
        await anyio.sleep(lasting)
        pacer.ended()
        pacer.succeeded(turn)
    return starts


# The bucket: pure, so a clock is a list of numbers


@given(
    RATES,
    st.integers(1, 20),
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 5)), min_size=1, max_size=60),
    st.floats(0.1, 5),
)
def test_a_bucket_gives_at_most_its_capacity_and_what_flows_in_within_any_window(
    rate: float, capacity: int, asked: list[tuple[float, int]], window: float
) -> None:
    bucket = TokenBucket(rate, capacity)
    given_out: list[tuple[float, int]] = []
    now = 0.0
    for later, tokens in asked:
        now += later
        if bucket.take(now, tokens):
            given_out.append((now, tokens))
    for start, _ in given_out:
        within = sum(tokens for at, tokens in given_out if start <= at <= start + window)
        assert within <= capacity + rate * window + 1e-3


@given(RATES, st.lists(st.floats(0, 2), min_size=2, max_size=40))
def test_two_takes_of_a_bucket_of_one_are_never_nearer_than_its_rate(rate: float, steps: list[float]) -> None:
    bucket = TokenBucket(rate)
    now, takes = 0.0, []
    for step in steps:
        now = max(now + step, bucket.ready_at(now + step))
        assert bucket.take(now), "ready_at named a time at which there is none"
        takes.append(now)
    gaps = [after - before for before, after in itertools.pairwise(takes)]
    assert all(gap * rate >= 1 - 1e-5 for gap in gaps)


@given(RATES, RATES, st.floats(0, 5), st.floats(0, 5))
def test_a_new_rate_counts_from_now_on_and_what_is_saved_up_stays(
    before: float, after: float, taken_for: float, later: float
) -> None:
    bucket = TokenBucket(before, 10)
    bucket.take(0.0, 10)
    bucket.set_rate(after, taken_for)
    saved = min(10.0, before * taken_for)
    there = min(10.0, saved + after * later)
    assert bucket.rate == after
    assert bucket.ready_at(taken_for + later, 10) == pytest.approx(
        taken_for + later + (10 - there) / after, rel=1e-6, abs=1e-3
    )


def test_a_take_that_is_refused_costs_nothing() -> None:
    bucket = TokenBucket(1, 2)
    assert bucket.take(0, 2)
    assert not bucket.take(1, 2)
    assert bucket.take(1, 1)


def test_a_clock_that_stands_still_or_goes_back_gives_no_tokens() -> None:
    bucket = TokenBucket(1)
    assert bucket.take(10)
    assert not bucket.take(10)
    assert not bucket.take(9)
    assert bucket.ready_at(10) == pytest.approx(11)


# The pacer


@given(RATES, st.integers(2, 30), st.floats(0, 0.5), st.integers(1, 5))
def test_calls_never_pass_the_rate_in_any_window_however_many_want_a_turn(
    rate: float, count: int, lasting: float, at_once: int
) -> None:
    starts: list[float] = []

    async def main() -> None:
        pacer = Pacer(rate, random=no_jitter)

        async def caller() -> None:
            starts.extend(await turns(pacer, count // at_once + 1, lasting=lasting))

        async with anyio.create_task_group() as callers:
            for _ in range(at_once):
                callers.start_soon(caller)

    on_virtual_time(main)
    starts.sort()
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    assert all(gap * rate >= 1 - 1e-5 for gap in gaps)
    assert most_in_a_window(starts) <= max(1, -(-rate // 1))


@pytest.mark.anyio
async def test_two_calls_a_second_are_half_a_second_apart() -> None:
    starts = await turns(Pacer(2, random=no_jitter), 4)
    assert starts == pytest.approx([0, 0.5, 1, 1.5], abs=1e-6)


@pytest.mark.anyio
async def test_the_pause_counts_from_the_end_of_the_last_call() -> None:
    starts = await turns(Pacer(1_000, random=no_jitter), 3, pause=0.1, lasting=7)
    assert starts == pytest.approx([0, 7.1, 14.2], abs=1e-6)


@pytest.mark.anyio
async def test_refusals_in_a_row_wait_one_two_and_four_seconds_and_ten_at_most() -> None:
    for random in (no_jitter, lambda: 0.0, lambda: 0.999_999, Random(3).random):
        pacer, waits = Pacer(1_000, random=random), []
        for _ in range(7):
            await pacer.turn(0)
            pacer.ended()
            refused_at = anyio.current_time()
            told = pacer.refused(TURN, None)
            await pacer.turn(0)
            waits.append(anyio.current_time() - refused_at)
            assert waits[-1] >= told - 1e-6
        assert waits == pytest.approx([1, 2, 4, 8, 10, 10, 10], rel=0.100_001)


@pytest.mark.parametrize("random", [no_jitter, lambda: 0.0, lambda: 0.999_999])
@pytest.mark.parametrize("failures", [*range(1, 8), 100, 10**9])
def test_a_backoff_is_within_a_tenth_of_its_doubling_however_long_it_goes_on(
    failures: int, random: Callable[[], float]
) -> None:
    middle = min(LONGEST_WAIT, 2.0 ** min(failures - 1, 20))
    assert backoff(failures, random) == pytest.approx(middle, rel=0.100_001)


@pytest.mark.anyio
@pytest.mark.parametrize("asked", [1.2, 3.0, 45.0, 900.0])
async def test_the_wait_the_server_asks_for_is_honoured_and_not_cut_short(asked: float) -> None:
    pacer = Pacer(1_000, random=no_jitter)
    await pacer.turn(0)
    pacer.ended()
    told = pacer.refused(TURN, asked)
    await pacer.turn(0)
    assert asked <= anyio.current_time() <= asked * 1.1 + 1e-6
    assert told == pytest.approx(anyio.current_time(), abs=1e-6)


@pytest.mark.anyio
@pytest.mark.parametrize("asked", [0.2, 0.999, 0.0, -0.0, -5.0, -math.inf, math.nan])
async def test_a_server_that_asks_for_less_than_the_backoff_or_for_nonsense_gets_the_backoff(
    asked: float,
) -> None:
    pacer = Pacer(1_000, random=no_jitter)
    assert [pacer.refused(TURN, asked) for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert pacer.gap == 10
    assert await turns(pacer, 1) == pytest.approx([10], abs=1e-6)


@pytest.mark.anyio
@pytest.mark.parametrize("asked", [901.0, 86_400.0, 1e300, math.inf])
@pytest.mark.parametrize("random", [no_jitter, lambda: 0.0, lambda: 0.999_999])
async def test_however_long_the_server_asks_for_it_is_waited_for_at_most_a_quarter_of_an_hour(
    asked: float, random: Callable[[], float]
) -> None:
    pacer = Pacer(1_000, random=random)
    told = pacer.refused(TURN, asked)
    assert LONGEST_RETRY_AFTER <= told <= LONGEST_RETRY_AFTER * 1.1
    assert await turns(pacer, 1) == pytest.approx([told], abs=1e-6)
    assert pacer.gap <= LONGEST_WAIT


@given(st.lists(st.one_of(st.none(), st.floats()), max_size=20), st.integers(0, 5))
def test_whatever_the_server_asks_for_every_wait_is_finite_and_no_shorter_than_a_backoff(
    asked: list[float | None], seed: int
) -> None:
    async def main() -> None:
        pacer = Pacer(1_000, random=Random(seed).random)
        for failures, seconds in enumerate(asked, start=1):
            wait = pacer.refused(TURN, seconds)
            shortest = min(LONGEST_WAIT, 2.0 ** (failures - 1)) * 0.9
            assert shortest - 1e-9 <= wait <= LONGEST_RETRY_AFTER * 1.1
            assert 0 < pacer.gap <= LONGEST_WAIT * 1.1

    on_virtual_time(main)


@pytest.mark.anyio
async def test_after_refusals_the_gap_comes_down_in_steps_and_never_at_once() -> None:
    pacer = Pacer(1_000, random=no_jitter)
    await pacer.turn(0)
    pacer.ended()
    for _ in range(3):
        pacer.refused(TURN, None)
        await pacer.turn(0)
        pacer.ended()
    assert pacer.gap == pytest.approx(4)
    pacer.succeeded(TURN)
    starts = await turns(pacer, 8)
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    assert gaps == pytest.approx([1, 0.5, 0.25, 0.125, 0.0625, 0.001, 0.001], abs=1e-4)
    assert pacer.gap == 0


@pytest.mark.anyio
async def test_a_success_between_refusals_starts_the_wait_at_one_second_again() -> None:
    pacer = Pacer(1_000, random=no_jitter)
    assert [pacer.refused(TURN, None) for _ in range(3)] == [1, 2, 4]
    pacer.succeeded(TURN)
    assert pacer.refused(TURN, None) == 1
    assert pacer.gap == 2, "the gap must not fall below what it had come down to"


@pytest.mark.anyio
async def test_a_refusal_that_comes_while_a_call_waits_makes_it_wait_longer() -> None:
    pacer = Pacer(0.5, random=no_jitter)
    await pacer.turn(0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pacer.turn, 0)
        await anyio.sleep(1.9)
        pacer.refused(TURN, 30)
    assert anyio.current_time() == pytest.approx(1.9 + 30 * 1.05, abs=1e-6)


@pytest.mark.anyio
async def test_no_call_starts_within_a_pause_and_a_shorter_one_does_not_end_it() -> None:
    pacer = Pacer(1_000, random=no_jitter)
    pacer.pause(10)
    pacer.pause(1)
    assert await turns(pacer, 1) == pytest.approx([10], abs=1e-6)


@pytest.mark.anyio
async def test_a_new_rate_counts_for_the_next_call() -> None:
    pacer = Pacer(1, random=no_jitter)
    first = await turns(pacer, 2)
    pacer.set_rate(10)
    assert first + await turns(pacer, 2) == pytest.approx([0, 1, 1.1, 1.2], abs=1e-5)
    pacer.set_rate(0.5)
    assert await turns(pacer, 1) == pytest.approx([3.2], abs=1e-5)


@pytest.mark.anyio
async def test_calls_that_wait_have_their_turn_in_the_order_they_came() -> None:
    pacer, served = Pacer(1, random=no_jitter), []

    async def caller(name: int) -> None:
        await anyio.sleep(name / 1_000)
        await pacer.turn(0)
        served.append((name, round(anyio.current_time(), 3)))

    async with anyio.create_task_group() as callers:
        for name in (2, 0, 1):
            callers.start_soon(caller, name)
    assert served == [(0, 0), (1, 1), (2, 2)]


@pytest.mark.anyio
@pytest.mark.parametrize("instant", [0.0, 0.2, 0.999, 1.0, 1.5])
async def test_cancelling_a_waiting_call_lets_the_next_one_go_on_in_its_time(instant: float) -> None:
    pacer, served = Pacer(1, random=no_jitter), []
    await pacer.turn(0)

    async def cancelled() -> None:
        with anyio.move_on_after(instant):
            await pacer.turn(0)
            served.append(anyio.current_time())
            await anyio.sleep_forever()

    async def patient() -> None:
        await anyio.sleep(0.1)
        await pacer.turn(0)
        served.append(anyio.current_time())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancelled)
        tasks.start_soon(patient)
    expected = [1.0, 2.0] if instant > 1 else [1.0]
    assert served[-len(expected) :] == pytest.approx(expected, abs=1e-6)
    assert len(served) <= 2
    assert pacer.statistics().calls == 1 + len(served)


@pytest.mark.anyio
async def test_statistics_count_calls_refusals_and_the_time_spent_waiting() -> None:
    pacer = Pacer(2, random=no_jitter)
    await turns(pacer, 3)
    pacer.refused(TURN, None)
    statistics = pacer.statistics()
    assert (statistics.calls, statistics.refusals, statistics.gap) == (3, 1, 1)
    assert statistics.waited == pytest.approx(1, abs=1e-6)


@pytest.mark.anyio
async def test_a_turn_is_had_at_once_only_where_nothing_holds_a_call_back() -> None:
    pacer = Pacer(1, random=no_jitter)
    assert pacer.turn_now(0) is not None
    assert pacer.turn_now(0) is None  # one a second
    await anyio.sleep(1)
    pacer.pause(5)
    assert pacer.turn_now(0) is None
    await anyio.sleep(5)
    assert pacer.turn_now(0) is not None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pacer.turn, 0)
        await anyio.wait_all_tasks_blocked()
        assert pacer.turn_now(0) is None  # another waits, and was there first
    await anyio.sleep(1)
    pacer.stop()
    assert pacer.turn_now(0) is None
    assert pacer.statistics().calls == 3
