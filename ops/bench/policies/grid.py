"""What is played: every policy and the oracle, in every drawn world, with one call under way and with several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from ops.bench.policies.decisions import decision_times
from ops.bench.policies.hindsight import best_fixed
from ops.bench.policies.judge import ONE_CALL, ORACLE, POLICIES, Run, judged
from ops.bench.policies.worlds import FAMILIES, RANDOM, SIZES, drawn

FIRST_SEED: Final = 1_000_000
"""Judging uses seeds from here on. Policies are tuned with others, below 1,000."""
WIDTHS: Final = (1, 4)
"""Calls under way at most."""
GOALS_FROM: Final = 3_000
"""Goals are for stories to so many recipients and more."""
LONG: Final = 1_000_000
"""A story to so many takes as long to play as all shorter ones together, so it is played with fewer seeds:"""
FEWER: Final = 10
"""a so-manieth of them."""
RANDOM_TIMES: Final = 4
"""Random worlds are one kind among nineteen, and the most diverse one: so many times the seeds."""
_CHECKED: Final = 10
"""Of each family and size so many worlds are used to check the oracle, up to"""
_CHECKED_UP_TO: Final = 100_000


class Grid(Struct, frozen=True, kw_only=True):
    """What is to be played: worlds of these families, stories of these sizes, and how many seeds of each."""

    families: Sequence[str] = (*FAMILIES, RANDOM)
    sizes: Sequence[int] = SIZES
    seeds: int

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out, so that goals can be judged."""
        return set(self.families) == {*FAMILIES, RANDOM} and set(self.sizes) == set(SIZES)


class Order(Struct, frozen=True, kw_only=True, tag=True):
    """Play all policies in one world; with `check` find the best fixed size too."""

    family: str
    recipients: int
    seed: int
    check: bool = False


class Watch(Struct, frozen=True, kw_only=True, tag=True):
    """Take the time of the adaptive policy's decisions in one world."""

    family: str
    recipients: int
    seed: int
    width: int


class Played(Struct, frozen=True, kw_only=True, tag=True):
    """What came of it in one world: runs by policy, the oracle among them, and by calls under way.

    `fixed`: seconds with the best fixed size by calls under way, if it was looked for; None: none delivers.
    """

    family: str
    recipients: int
    seed: int
    runs: Mapping[str, Mapping[int, Run]]
    fixed: Mapping[int, float | None] = {}


class Watched(Struct, frozen=True, kw_only=True, tag=True):
    """Seconds of decisions."""

    width: int
    took: Sequence[float]


def seeds_for(grid: Grid, family: str, recipients: int) -> int:
    """How many worlds of a family a story to so many is played in."""
    seeds = grid.seeds * (RANDOM_TIMES if family == RANDOM else 1)
    return max(1, seeds // FEWER) if recipients >= LONG else seeds


def orders(grid: Grid) -> Iterator[Order]:
    """All that is to be played."""
    for family in grid.families:
        for recipients in grid.sizes:
            if family == RANDOM and recipients < GOALS_FROM:
                continue
            for place in range(seeds_for(grid, family, recipients)):
                yield Order(
                    family=family,
                    recipients=recipients,
                    seed=FIRST_SEED + place,
                    check=place < _CHECKED and recipients <= _CHECKED_UP_TO,
                )


def watches(grid: Grid) -> Iterator[Watch]:
    """Stories whose decisions are timed: one of each family."""
    recipients = min(max(grid.sizes), _CHECKED_UP_TO)
    for family in grid.families:
        for width in WIDTHS:
            yield Watch(family=family, recipients=recipients, seed=FIRST_SEED, width=width)


def fulfilled(order: Order | Watch) -> Played | Watched:
    """What comes of an order. It depends on nothing but the order, but for times of decisions."""
    if isinstance(order, Watch):
        took = decision_times(order.family, order.recipients, order.seed, width=order.width)
        return Watched(width=order.width, took=took)
    return played(order)


def played(order: Order) -> Played:
    """All policies in the world of `order`."""
    setting, total = drawn(order.family, order.seed), order.recipients
    runs = {
        name: {width: judged(name, setting, total, width=width) for width in WIDTHS}
        for name in (ORACLE, *(name for name in POLICIES if name != ONE_CALL))
    }
    at_once = judged(ONE_CALL, setting, total, width=1)
    fixed = {width: best_fixed(setting, total, width=width) for width in WIDTHS} if order.check else {}
    return Played(
        family=order.family,
        recipients=total,
        seed=order.seed,
        runs={**runs, ONE_CALL: dict.fromkeys(WIDTHS, at_once)},
        fixed={width: None if seconds == float("inf") else seconds for width, seconds in fixed.items()},
    )
