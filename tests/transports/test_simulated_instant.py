"""Whole stories in no time: whatever the world, `adaptive` ends, keeps to every limit, and is no worse for a past."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cache
from random import Random
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ops.bench.policies.worlds import drawn
from stages.adaptive.belief import Belief
from stages.adaptive.curve import PRIOR, learned
from stages.adaptive.risk import Risk, noted
from stages.cadence import Pace
from stages.history import History
from stages.options import SmartSend
from stages.policies import Adaptive, policy_for
from tests.support import most_in_a_window
from transports.simulated.instant import Ending, Rules, play
from transports.simulated.profile import (
    Condition,
    Failures,
    FarLimits,
    Latency,
    Numbers,
    Profile,
    Timeout,
    Window,
)
from transports.simulated.world import Fate, World

STRATEGIES = ("adaptive", "progressive", "tiered")
WINDOWS = st.builds(lambda start, lasting: (start, start + lasting), st.floats(0, 60), st.floats(0.1, 60))
LATENCIES = st.builds(
    Latency,
    a=st.floats(0, 3),
    b=st.floats(0, 2e-3),
    c=st.floats(0, 5e-7),
    noise=st.floats(0, 1),
    stall_share=st.floats(0, 0.1),
    stall_factor_most=st.floats(1, 10),
    hangs_above=st.none() | st.integers(1, 10_000),
    concurrency_cost=st.floats(0, 1),
)
PROFILES = st.builds(
    Profile,
    seed=st.integers(0, 1_000),
    latency=LATENCIES,
    timeout=st.builds(Timeout, seconds=st.floats(1, 60), delivers=st.just(0.0)),
    limits=st.builds(
        FarLimits,
        calls_per_second=st.just(0.0) | st.floats(0.1, 5),
        recipients_per_second=st.just(0.0) | st.floats(100, 10_000),
    ),
    failures=st.builds(Failures, base=st.floats(0, 0.3), scale=st.just(0.0) | st.floats(1_000, 30_000)),
    numbers=st.just(Numbers(answer="failure")),
    conditions=st.builds(
        lambda window, slower: (Condition(start=window[0], end=window[1], slower=slower),),
        WINDOWS,
        st.floats(0.5, 5),
    ),
    outages=st.builds(lambda window: (Window(start=window[0], end=window[1]),), WINDOWS),
)
RULES = st.builds(
    Rules,
    largest=st.integers(50, 20_000),
    rate=st.floats(0.5, 10),
    pause=st.floats(0, 1),
    width=st.integers(1, 6),
    retries=st.integers(0, 4),
    anchored=st.booleans(),
)
TOTALS = st.integers(1, 20_000)


class Watched(World):
    """A world that writes down when calls came, of what size, and when they ended."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.sizes: list[int] = []

    def fate_of(
        self,
        size: int,
        now: float,
        *,
        in_flight: int = 0,
        is_dead: bool = False,
        failed: dict[str, str] | None = None,
    ) -> Fate:
        """As it is, and written down."""
        fate = super().fate_of(size, now, in_flight=in_flight, is_dead=is_dead, failed=failed)
        self.starts.append(now)
        self.ends.append(now + fate.seconds)
        self.sizes.append(size)
        return fate

    def most_at_once(self) -> int:
        """The largest number of calls that were under way at the same time."""
        ends = sorted(self.ends)
        return max(
            place + 1 - bisect_left(ends, start + 1e-9) for place, start in enumerate(sorted(self.starts))
        )


def policy(rules: Rules) -> Adaptive:
    return Adaptive(largest=rules.largest, gap=1 / rules.rate, width=rules.width)


# In any world


@settings(max_examples=60)
@given(PROFILES, RULES, TOTALS, st.data())
def test_in_any_world_a_story_ends_and_every_limit_holds(
    profile: Profile, rules: Rules, total: int, data: st.DataObject
) -> None:
    dead = sorted(data.draw(st.sets(st.integers(0, total - 1), max_size=3)))
    world = Watched(profile)
    ending = play(total, policy(rules), world, rules=rules, dead=dead, keep=True)
    assert ending.sent + ending.failed == total
    assert ending.calls == len(world.starts)
    assert max(world.sizes) <= rules.largest
    assert most_in_a_window(world.starts, seconds=1 / rules.rate) <= 1
    assert world.most_at_once() <= rules.width
    assert ending.failed >= len(dead)
    went_out = sum(batch.size for batch in ending.batches)
    assert went_out <= total * (1 + rules.retries)
    assert went_out == total + ending.resent


@settings(max_examples=25)
@given(PROFILES, RULES, TOTALS)
def test_the_same_seed_plays_the_same_story(profile: Profile, rules: Rules, total: int) -> None:
    first, second = (play(total, policy(rules), World(profile), rules=rules, keep=True) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(max_examples=15)
@given(PROFILES, TOTALS)
def test_every_strategy_ends_and_accounts_for_everybody(strategy: str, profile: Profile, total: int) -> None:
    options = SmartSend(strategy=strategy)  # type: ignore[arg-type] # one of three
    ending = play(total, policy_for(options), World(profile), rules=Rules(anchored=True))
    assert ending.sent + ending.failed == total


@given(st.integers(1, 20_000), st.integers(0, 4))
def test_where_every_call_fails_everybody_has_all_attempts_and_no_more(total: int, retries: int) -> None:
    world = World(Profile(timeout=Timeout(seconds=5, delivers=0.0), latency=Latency(a=6)))
    rules = Rules(retries=retries)
    ending = play(total, policy(rules), world, rules=rules, keep=True)
    assert (ending.sent, ending.failed) == (0, total)
    assert sum(batch.size for batch in ending.batches) == total * (1 + retries)


# What a session remembers

FAMILIES = (
    "baseline cold",
    "cheap resend",
    "superlinear cold",
    "overhead",
    "limit on calls",
    "fragile large",
)
SEEDS = range(6)
RULES_OF_ALL = Rules(largest=10_000, tries=1)
TOTAL = 20_000


def seconds(family: str, seed: int, history: History) -> float:
    ending = play(TOTAL, Adaptive(), World(drawn(family, seed).profile), rules=RULES_OF_ALL, history=history)
    assert ending.sent > 0.99 * TOTAL
    return ending.seconds


@cache
def cold(family: str, seed: int) -> float:
    return seconds(family, seed, History())


def made_up(seed: int) -> History:
    """A belief that no session came to."""
    random = Random(seed)
    curve, errors, hangs = PRIOR, Risk(), Risk()
    for _ in range(random.randrange(12)):
        size = round(10 ** random.uniform(0, 4))
        curve = learned(curve, size, random.uniform(0.05, 20), 0.15)
        errors = noted(errors, size, sent=random.random() < 0.7)
        hangs = noted(hangs, size, sent=random.random() < 0.7)
    belief = Belief(
        curve=curve,
        noise=random.uniform(0.05, 0.6),
        errors=errors,
        hangs=hangs,
        proven=random.randrange(12_000),
        deadline=random.uniform(5, 60),
        crowding=random.uniform(0, 2),
        pace=Pace(),
    )
    return History(belief=belief, proven=belief.proven)


def of_another_world(family: str, seed: int) -> History:
    other = FAMILIES[(FAMILIES.index(family) + 1 + seed) % len(FAMILIES)]
    world = World(drawn(other, seed + 100).profile)
    history = play(TOTAL, Adaptive(), world, rules=RULES_OF_ALL).history
    assert history.belief is not None
    return structs.replace(history, belief=structs.replace(history.belief, pace=Pace()))


def of_the_same_world(family: str, seed: int) -> History:
    return play(TOTAL, Adaptive(), World(drawn(family, seed).profile), rules=RULES_OF_ALL).history


def ratio(histories: Sequence[tuple[str, int, History]]) -> float:
    """The time with a history over that without, in the median."""
    return median(seconds(family, seed, history) / cold(family, seed) for family, seed, history in histories)


def test_a_made_up_past_makes_a_story_no_slower_than_none_by_more_than_a_tenth() -> None:
    runs = [(family, seed, made_up(seed)) for family in FAMILIES for seed in SEEDS]
    assert ratio(runs) <= 1.1


def test_nor_does_the_past_of_another_world() -> None:
    runs = [(family, seed, of_another_world(family, seed)) for family in FAMILIES for seed in SEEDS]
    assert ratio(runs) <= 1.1


def test_its_own_past_makes_a_story_no_slower() -> None:
    runs = [(family, seed, of_the_same_world(family, seed)) for family in FAMILIES for seed in SEEDS]
    assert ratio(runs) <= 1.0


# A world that is learned


def told(total: int, stories: int, profile: Profile) -> list[Ending]:
    """Stories one after the other, each knowing what the one before it learned."""
    endings: list[Ending] = []
    history = History()
    for _ in range(stories):
        endings.append(play(total, Adaptive(), World(profile), rules=RULES_OF_ALL, history=history))
        history = endings[-1].history
    return endings


@pytest.mark.parametrize("total", [4_000, 20_000, 100_000])
@pytest.mark.parametrize(
    "latency", [Latency(a=0.7, b=7e-4), Latency(a=2.5, b=5e-5), Latency(a=0.4, b=1.5e-4)]
)
def test_in_a_calm_world_the_next_story_needs_no_more_calls(latency: Latency, total: int) -> None:
    endings = told(total, 4, Profile(latency=latency))
    calls = [ending.calls for ending in endings]
    assert max(calls[1:]) <= calls[0]
    assert endings[-1].seconds <= 1.02 * endings[0].seconds


def test_a_limit_that_was_learned_is_not_run_into_in_the_next_story() -> None:
    limited = Profile(latency=Latency(a=0.5, b=1e-4), limits=FarLimits(calls_per_second=0.2, calls_burst=2))
    history = History()
    refusals = []
    for _ in range(3):
        belief = history.belief
        ending = play(
            200_000,
            Adaptive(largest=5_000),
            World(limited),
            rules=Rules(largest=5_000),
            history=history,
            pace=belief.pace if belief else Pace(),
        )
        history = ending.history
        refusals.append(ending.refusals)
    assert max(refusals[1:]) <= refusals[0] / 2
