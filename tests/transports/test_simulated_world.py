"""The simulated WhatsApp: the same seed gives the same world, and its limits hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import (
    AccountRestricted,
    EngineFailure,
    OutcomeUnknown,
    RateLimited,
    RecipientsRejected,
    TooLarge,
    Unavailable,
)
from tests.support import people
from transports.simulated import Profile, World, load_profile
from transports.simulated.conditions import seconds_for
from transports.simulated.profile import Condition, Failures, FarLimits, Latency, Numbers, Timeout, Window
from transports.simulated.world import base_seconds

TEN = people(10)
QUICK = Latency(a=0.1, b=0)


def kind(failure: EngineFailure | None) -> type | None:
    return None if failure is None else type(failure)


@given(
    st.integers(0, 5),
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 50)), max_size=30),
)
def test_the_same_seed_and_the_same_calls_have_the_same_fate(
    seed: int, calls: list[tuple[float, int]]
) -> None:
    profile = Profile(
        seed=seed,
        latency=Latency(noise=0.5, stall_share=0.3),
        timeout=Timeout(seconds=1),
        limits=FarLimits(calls_per_second=1, recipients_per_second=30),
        failures=Failures(base=0.2, scale=40),
        numbers=Numbers(dead_share=0.1),
    )
    fates = []
    for world in (World(profile), World(profile)):
        now = 0.0
        for later, size in calls:
            now += later
            fate = world.fate(people(size), now)
            fates.append((fate.seconds, fate.reaches, fate.failed, kind(fate.failure)))
    assert fates[: len(calls)] == fates[len(calls) :]


def test_another_seed_is_another_world() -> None:
    def durations(seed: int) -> list[float]:
        world = World(Profile(seed=seed, latency=Latency(noise=0.5)))
        return [world.fate(TEN, now).seconds for now in range(5)]

    assert durations(1) != durations(2)


@given(
    st.floats(0.1, 5),
    st.integers(1, 8),
    st.lists(st.floats(0, 1), min_size=1, max_size=60),
    st.floats(0.5, 10),
)
def test_no_more_calls_pass_than_the_limit_allows_in_any_window(
    rate: float, burst: int, steps: list[float], window: float
) -> None:
    world = World(Profile(limits=FarLimits(calls_per_second=rate, calls_burst=burst)))
    now, passed = 0.0, []
    for step in steps:
        now += step
        if world.fate(TEN, now).failure is None:
            passed.append(now)
    for start in passed:
        assert sum(start <= at <= start + window for at in passed) <= burst + rate * window + 1e-3


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 300)), min_size=1, max_size=40), st.floats(0.5, 10))
def test_no_more_recipients_pass_than_the_limit_allows_in_any_window(
    calls: list[tuple[float, int]], window: float
) -> None:
    world = World(Profile(limits=FarLimits(recipients_per_second=50, recipients_burst=300)))
    now, passed = 0.0, []
    for step, size in calls:
        now += step
        if world.fate(people(size), now).failure is None:
            passed.append((now, size))
    for start, _ in passed:
        within = sum(size for at, size in passed if start <= at <= start + window)
        assert within <= 300 + 50 * window + 1e-3


def test_a_call_over_the_limit_is_refused_reaches_nobody_and_costs_no_later_call() -> None:
    world = World(Profile(limits=FarLimits(calls_per_second=0.5, calls_burst=1, refusal_seconds=0.2)))
    assert world.fate(TEN, 0).failure is None
    for now in (0.5, 1.0, 1.5):
        refused = world.fate(TEN, now)
        assert (kind(refused.failure), refused.reaches, refused.seconds) == (RateLimited, False, 0.2)
    assert world.fate(TEN, 2.0).failure is None


@pytest.mark.parametrize(("tells", "told"), [(True, pytest.approx(1.5)), (False, None)])
def test_a_refusal_tells_how_long_to_wait_only_where_the_profile_says_so(
    tells: bool,
    told: float | None,
) -> None:
    limits = FarLimits(calls_per_second=0.5, calls_burst=1, tells_retry_after=tells)
    world = World(Profile(limits=limits))
    world.fate(TEN, 0)
    refused = world.fate(TEN, 0.5).failure
    assert isinstance(refused, RateLimited)
    assert refused.retry_after == told


def test_a_call_larger_than_the_burst_goes_through_once_the_bucket_is_full() -> None:
    world = World(Profile(limits=FarLimits(recipients_per_second=10, recipients_burst=100)))
    assert world.fate(people(5_000), 0).failure is None
    assert kind(world.fate(people(5_000), 9.9).failure) is RateLimited
    assert world.fate(people(5_000), 10).failure is None


# Time-outs


@pytest.mark.parametrize(("delivers", "reaches"), [(0.0, False), (1.0, True)])
def test_a_call_that_times_out_is_delivered_or_not_as_the_profile_has_it(
    delivers: float,
    reaches: bool,
) -> None:
    timeout = Timeout(seconds=15, delivers=delivers)
    world = World(Profile(latency=Latency(a=20), timeout=timeout, numbers=Numbers(dead=(TEN[0],))))
    for _ in range(20):
        fate = world.fate(TEN, 0)
        assert (kind(fate.failure), fate.seconds, fate.reaches) == (OutcomeUnknown, 15, reaches)
        assert list(fate.failed) == [TEN[0]]


def test_half_of_the_time_outs_are_delivered_where_the_profile_says_half() -> None:
    world = World(Profile(latency=Latency(a=20), timeout=Timeout(delivers=0.5)))
    assert 60 < sum(world.fate(TEN, 0).reaches for _ in range(200)) < 140


@pytest.mark.parametrize(("seconds", "failure"), [(14.9, None), (15.0, None), (15.1, OutcomeUnknown)])
def test_a_call_times_out_only_if_it_would_take_longer(seconds: float, failure: type | None) -> None:
    fate = World(Profile(latency=Latency(a=seconds, b=0))).fate(TEN, 0)
    assert kind(fate.failure) is failure


# Numbers that are not on WhatsApp


def test_reported_dead_numbers_are_named_and_the_others_sent() -> None:
    fate = World(Profile(numbers=Numbers(dead=tuple(TEN[:2])))).fate(TEN, 0)
    assert (fate.failure, fate.reaches) == (None, True)
    assert fate.failed == dict.fromkeys(TEN[:2], "not-on-whatsapp")


@pytest.mark.parametrize(("answer", "named"), [("named", TEN[:2]), ("unnamed", [])])
def test_dead_numbers_can_make_a_call_refused_as_a_whole(answer: str, named: list[str]) -> None:
    numbers = Numbers(dead=tuple(TEN[:2]), answer=answer)  # type: ignore[arg-type] # one of three
    fate = World(Profile(numbers=numbers)).fate(TEN, 0)
    assert isinstance(fate.failure, RecipientsRejected)
    assert (list(fate.failure.rejected), fate.reaches) == (named, False)


def test_the_share_of_dead_numbers_is_kept_and_a_number_stays_what_it_is() -> None:
    world = World(Profile(numbers=Numbers(dead_share=0.1)))
    dead = [jid for jid in people(5_000) if world.is_dead(jid)]
    assert 400 < len(dead) < 600
    assert [jid for jid in people(5_000) if World(world.profile).is_dead(jid)] == dead


# Other ways to fail


def test_an_outage_turns_calls_away_from_its_start_until_its_end() -> None:
    world = World(Profile(outages=(Window(start=8, end=28),)))
    failures = [kind(world.fate(TEN, now).failure) for now in (7.9, 8, 27.9, 28)]
    assert failures == [None, Unavailable, Unavailable, None]
    assert [world.out(now) for now in (7.9, 8, 27.9, 28)] == [False, True, True, False]


def test_a_frame_holds_so_many_recipients_and_no_more() -> None:
    world = World(Profile(frame_limit=10))
    assert world.fate(TEN, 0).failure is None
    assert kind(world.fate(people(11), 0).failure) is TooLarge


def test_the_account_is_restricted_from_the_call_after_so_many_on() -> None:
    world = World(Profile(restricted_after_calls=2))
    assert [kind(world.fate(TEN, 0).failure) for _ in range(4)] == [None, None, *[AccountRestricted] * 2]
    assert isinstance(world.ended, AccountRestricted)


def test_large_calls_fail_more_often_and_never_reach_anybody_then() -> None:
    def failures(size: int) -> int:
        world = World(Profile(failures=Failures(base=0.02, scale=5_000), latency=QUICK))
        fates = [world.fate(people(size), 0) for _ in range(200)]
        assert all(fate.reaches == (fate.failure is None) for fate in fates)
        return sum(kind(fate.failure) is Unavailable for fate in fates)

    assert failures(10) < 20 < 80 < failures(5_000)


# How long a call takes


@pytest.mark.parametrize(
    ("size", "seconds"), [(1, 0.15), (100, 0.8), (1_000, 1.5), (4_000, 3.5), (10_000, 9.0)]
)
def test_story_timings_are_those_of_the_description(size: int, seconds: float) -> None:
    world = World(load_profile("story-timings"))
    assert world.fate(people(size), 0).seconds == pytest.approx(seconds)


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_more_recipients_never_take_less_time_in_the_story_timings(one: int, other: int) -> None:
    latency = load_profile("story-timings").latency
    fewer, more = sorted((one, other))
    assert 0.15 <= base_seconds(latency, fewer) <= base_seconds(latency, more)


def test_points_are_joined_by_straight_lines_and_the_last_one_prolonged() -> None:
    latency = Latency(points=((10, 1.0), (20, 2.0), (40, 6.0)))
    assert [base_seconds(latency, size) for size in (1, 10, 15, 30, 60)] == pytest.approx([1, 1, 1.5, 4, 10])
    assert base_seconds(Latency(points=((10, 1.0),)), 99) == 1.0


def test_without_points_a_call_takes_a_plus_b_n_plus_c_n_squared() -> None:
    assert base_seconds(Latency(a=1, b=0.1, c=0.01), 10) == pytest.approx(3)


def test_conditions_slow_calls_down_in_their_time_and_so_do_calls_in_flight() -> None:
    latency = Latency(a=1, b=0, concurrency_cost=0.5)
    world = World(Profile(latency=latency, conditions=(Condition(start=3, end=40, slower=4),)))
    # What is under way when it becomes slower, or fast again, has only its remaining work to do in the new time.
    seconds = [world.fate(TEN, now).seconds for now in (1, 2.5, 3, 38, 40)]
    assert seconds == pytest.approx([1, 0.5 + 2, 4, 2 + 0.5, 1])
    assert world.fate(TEN, 50, in_flight=2).seconds == 2


@given(st.floats(0, 200), st.floats(0.01, 50), st.floats(1, 8))
def test_a_window_that_comes_again_is_as_many_windows(now: float, work: float, slower: float) -> None:
    again = (Condition(start=20, end=40, every=40, slower=slower),)
    many = tuple(Condition(start=20 + 40 * n, end=40 + 40 * n, slower=slower) for n in range(40))
    assert seconds_for(work, again, now) == pytest.approx(seconds_for(work, many, now))


def test_a_call_that_is_too_large_hangs_until_it_times_out() -> None:
    world = World(Profile(latency=Latency(a=1, b=0, hangs_above=9), timeout=Timeout(seconds=15)))
    assert world.fate(TEN[:9], 0).failure is None
    assert isinstance((fate := world.fate(TEN, 0)).failure, OutcomeUnknown)
    assert fate.seconds == 15


def test_noise_has_the_mean_it_promises_and_stalls_their_share() -> None:
    noisy = World(Profile(latency=Latency(a=1, b=0, noise=0.3)))
    assert sum(noisy.fate(TEN, 0).seconds for _ in range(2_000)) / 2_000 == pytest.approx(1, abs=0.05)
    stalling = World(Profile(latency=Latency(a=1, b=0, stall_share=0.2, stall_factor=5)))
    assert 300 < sum(stalling.fate(TEN, 0).seconds == 5 for _ in range(2_000)) < 500
