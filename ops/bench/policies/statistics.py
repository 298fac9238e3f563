"""How runs are summed up. Every cell (family x size) weighs the same, however many worlds it was played in.

A run that was not delivered is infinitely long: medians and percentiles count it so. Means are of the delivered ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import inf, isfinite

from msgspec import Struct

from ops.bench.policies.grid import Played
from ops.bench.policies.judge import DELIVERED, ORACLE, Run

Weighed = Sequence[tuple[float, float]]
"""Values, each with its weight."""


class Summary(Struct, frozen=True, kw_only=True, rename="camel"):
    """Runs of one policy. `median`, `mean` and `p95` are of times over the oracle's; None: infinite."""

    runs: int
    undelivered: int
    median: float | None
    mean: float | None
    p95: float | None
    delivered: float
    """The share of runs that reach 99% of the healthy recipients."""
    wasted: float
    """Recipients that went out in vain in a story, as a share of all."""
    calls: float
    refusals: float
    """Both in a story, in the mean."""


def quantile(values: Weighed, share: float) -> float:
    """The least value that so large a share of the weight is not above (nearest rank; nothing is interpolated)."""
    ordered = sorted(values)
    wanted = share * sum(weight for _, weight in ordered) * (1 - 1e-12)
    so_far = 0.0
    for value, weight in ordered:
        so_far += weight
        if so_far >= wanted:
            return value
    return inf


def mean(values: Weighed) -> float:
    """The weighed mean of the finite values; infinite if there are none."""
    finite = [(value, weight) for value, weight in values if isfinite(value)]
    if not finite:
        return inf
    return sum(value * weight for value, weight in finite) / sum(weight for _, weight in finite)


def weighed(played: Sequence[Played], figure: Callable[[Played], float]) -> Weighed:
    """A figure of each, with weights that come to 1 in each cell."""
    counts = Counter((one.family, one.recipients) for one in played)
    return [(figure(one), 1 / counts[one.family, one.recipients]) for one in played]


def over(one: Run, other: Run) -> float:
    """How many times as long as the other one takes. What is not delivered is infinite, even beside its like."""
    return one.time / other.time if isfinite(one.time) else inf


def summed_up(played: Sequence[Played], policy: str, width: int) -> Summary:
    """What `policy` came to with so many calls under way."""

    def run(one: Played) -> Run:
        return one.runs[policy][width]

    ratios = weighed(played, lambda one: over(run(one), one.runs[ORACLE][width]))
    return Summary(
        runs=len(played),
        undelivered=sum(run(one).delivered < DELIVERED for one in played),
        median=finite(quantile(ratios, 0.5)),
        mean=finite(mean(ratios)),
        p95=finite(quantile(ratios, 0.95)),
        delivered=mean(weighed(played, lambda one: float(run(one).delivered >= DELIVERED))),
        wasted=mean(weighed(played, lambda one: run(one).resent)),
        calls=mean(weighed(played, lambda one: run(one).calls)),
        refusals=mean(weighed(played, lambda one: run(one).refusals)),
    )


def median_over(played: Sequence[Played], policy: str, width: int, other: str, other_width: int) -> float:
    """The median of how many times as long `policy` takes as the other one in the same world."""
    ratios = weighed(played, lambda one: over(one.runs[policy][width], one.runs[other][other_width]))
    return quantile(ratios, 0.5)


def finite(value: float) -> float | None:
    """`value`, or None if it is infinite: JSON has no number for that."""
    return value if isfinite(value) else None
