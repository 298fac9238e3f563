"""The worlds that policies are judged in: eighteen families, and worlds drawn at random from wide ranges.

Each is a profile of the simulated engine. Its costs vary from one session to the next, by the seed alone; what a
session did before, where the family has a past, is another profile of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from msgspec import Struct, structs

from transports.simulated.profile import (
    Condition,
    Failures,
    FarLimits,
    Latency,
    Numbers,
    Profile,
    Timeout,
)

SIZES = (500, 3_000, 10_000, 50_000, 100_000, 1_000_000)
VARIATION = 0.18
"""The spread of each of a, b and c between sessions: the sigma of a lognormal factor."""
FOREVER = 1e9
HARMLESS = Failures(base=0.002)


class Setting(Struct, frozen=True, kw_only=True):
    """A session: how its WhatsApp behaves, how it did before if it has a past, and the share of dead numbers."""

    profile: Profile
    past: Profile | None = None
    dead_share: float = 0.0


Family = Callable[[Random], Setting]


USUAL = Latency(noise=0.1, stall_share=0.005, stall_factor=2.0, stall_factor_most=8.0, concurrency_cost=0.15)


def _latency(random: Random, a: float, b: float, c: float) -> Latency:
    """Costs in seconds, milliseconds and milliseconds, each with the session's own variation."""
    own = [value * random.lognormvariate(0, VARIATION) for value in (a, b / 1e3, c / 1e3)]
    return structs.replace(USUAL, a=own[0], b=own[1], c=own[2])


def _profile(latency: Latency, **more: object) -> Profile:
    usual = Profile(latency=latency, failures=HARMLESS, timeout=Timeout(delivers=0.0), frame_limit=2_000_000)
    return structs.replace(usual, **more)


def _baseline(random: Random) -> Latency:
    return _latency(random, 0.72, 0.68, 5e-6)


def _noisy(random: Random) -> Latency:
    return structs.replace(_baseline(random), noise=0.5, stall_share=0.03)


def _serial(random: Random) -> Latency:
    return structs.replace(_baseline(random), concurrency_cost=1.0)


def _overhead(random: Random) -> Latency:
    return _latency(random, 2.5, 0.05, 0.0)


def _superlinear(random: Random) -> Latency:
    return _latency(random, 0.30, 0.30, 2.5e-4)


def _cheap(random: Random) -> Latency:
    return _latency(random, 0.38, 0.15, 0.0)


def _cold(latency: Callable[[Random], Latency], **more: object) -> Family:
    return lambda random: Setting(profile=_profile(latency(random), **more))


def _warm(latency: Callable[[Random], Latency]) -> Family:
    def family(random: Random) -> Setting:
        profile = _profile(latency(random))
        return Setting(profile=profile, past=profile)

    return family


def _cliff(random: Random) -> Setting:
    past = _profile(_baseline(random))
    latency = structs.replace(past.latency, hangs_above=4_500)
    return Setting(profile=structs.replace(past, latency=latency), past=past)


def _history_too_high(random: Random) -> Setting:
    """The session was four times as fast when it learned."""
    return Setting(profile=_profile(_baseline(random)), past=_profile(_cheap(random)))


def _history_too_low(random: Random) -> Setting:
    """It was four times as slow all the time."""
    profile = _profile(_baseline(random))
    slow = structs.replace(profile, conditions=(Condition(start=0, end=FOREVER, slower=4),))
    return Setting(profile=profile, past=slow)


def _poison(random: Random) -> Setting:
    profile = _profile(_baseline(random), numbers=Numbers(answer="failure"))
    return Setting(profile=profile, dead_share=1e-4)


def _in_condition(*conditions: Condition) -> Family:
    return _cold(_baseline, conditions=conditions)


FAMILIES: dict[str, Family] = {
    "baseline cold": _cold(_baseline),
    "baseline warm": _warm(_baseline),
    "cheap resend": _cold(_cheap),
    "overhead": _cold(_overhead),
    "superlinear cold": _cold(_superlinear),
    "superlinear warm": _warm(_superlinear),
    "fragile large": _cold(_baseline, failures=Failures(base=0.002, scale=5_700)),
    "cliff at 4,500": _cliff,
    "limit on recipients": _cold(
        _baseline, limits=FarLimits(recipients_per_second=600, recipients_burst=10_000)
    ),
    "limit on calls": _cold(_baseline, limits=FarLimits(calls_per_second=0.25, calls_burst=4)),
    "congestion": _in_condition(Condition(start=3, end=40, slower=4)),
    "flapping": _in_condition(Condition(start=20, end=40, every=40, slower=4)),
    "degrading": _in_condition(Condition(start=5, end=FOREVER, slower=3)),
    "history too high": _history_too_high,
    "history too low": _history_too_low,
    "noisy": _cold(_noisy),
    "serial server": _cold(_serial),
    "poison": _poison,
}
IRREGULAR = frozenset({"cliff at 4,500", "limit on calls", "overhead", "superlinear cold"})
"""Families in which any policy has to pay for finding out; goals for the others are stricter."""


def random_world(random: Random) -> Setting:
    """A world of any kind, from wide ranges."""
    past = _random_profile(random) if random.random() < 0.15 else None
    profile = _random_profile(random)
    if past is None and random.random() < 0.4:
        past = profile
    return Setting(
        profile=profile, past=past, dead_share=_between(random, 1e-5, 1e-4) if random.random() < 0.15 else 0.0
    )


def _random_profile(random: Random) -> Profile:
    latency = Latency(
        a=_between(random, 0.15, 3),
        b=_between(random, 1e-4, 1.5e-3),
        c=_between(random, 1e-9, 5e-7) if random.random() < 0.5 else 0.0,
        noise=random.uniform(0.05, 0.4),
        stall_share=random.uniform(0, 0.02),
        stall_factor=2.0,
        stall_factor_most=8.0,
        concurrency_cost=_between(random, 0.03, 1),
        hangs_above=round(_between(random, 1_500, 9_000)) if random.random() < 0.1 else None,
    )
    return _profile(
        latency,
        failures=Failures(
            base=random.uniform(0, 0.01),
            scale=_between(random, 2_000, 30_000) if random.random() < 0.5 else 0.0,
        ),
        limits=_random_limits(random),
        conditions=_random_conditions(random),
        numbers=Numbers(answer="failure"),
    )


def _random_limits(random: Random) -> FarLimits:
    which = random.random()
    if which < 0.15:
        return FarLimits(
            recipients_per_second=_between(random, 200, 2_000),
            recipients_burst=_between(random, 2_000, 20_000),
        )
    if which < 0.3:
        return FarLimits(calls_per_second=_between(random, 0.1, 1), calls_burst=random.randint(1, 8))
    return FarLimits()


def _random_conditions(random: Random) -> tuple[Condition, ...]:
    which = random.random()
    start, lasting, slower = random.uniform(0, 20), random.uniform(5, 60), random.uniform(2, 4)
    if which < 0.25:
        return (Condition(start=start, end=start + lasting, slower=slower),)
    if which < 0.35:
        return (Condition(start=start, end=start + lasting, every=2 * lasting, slower=slower),)
    if which < 0.45:
        return (Condition(start=start, end=FOREVER, slower=slower),)
    return ()


def _between(random: Random, least: float, most: float) -> float:
    """A number of any order of magnitude between the two."""
    return math.exp(random.uniform(math.log(least), math.log(most)))


def drawn(family: str, seed: int) -> Setting:
    """The session of `family` (or `random`) with this seed; its world has a seed of its own, and so has its past."""
    random = Random(f"{family}/{seed}")
    setting = random_world(random) if family == RANDOM else FAMILIES[family](random)
    past = setting.past and structs.replace(setting.past, seed=2 * seed + 1)
    return structs.replace(setting, profile=structs.replace(setting.profile, seed=2 * seed), past=past)


RANDOM = "random"


def dead_places(setting: Setting, total: int) -> list[int]:
    """Which of `total` recipients kill the batch they are in."""
    if not setting.dead_share:
        return []
    random = Random(f"dead/{setting.profile.seed}/{total}")
    places: list[int] = []
    place = -1
    while True:
        place += 1 + int(random.expovariate(setting.dead_share))
        if place >= total:
            return places
        places.append(place)
