"""What the adaptive policy is to reach, and whether it does: the only place where these figures stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf
from typing import Final, Literal

from msgspec import Struct

from ops.bench.goals import Goal, at_least, at_most
from ops.bench.policies.figures import ALL, REGULAR, WORLDS, Against, Cell, Row
from ops.bench.policies.grid import GOALS_FROM, WIDTHS
from ops.bench.policies.judge import ADAPTIVE
from ops.bench.policies.statistics import Summary
from ops.bench.policies.worlds import FAMILIES, SIZES

AS_GOOD: Final = 1.05
"""In a cell where it takes no more than so many times as long as static tiers it is as good as they are."""
CELLS: Final = len(FAMILIES) * sum(size >= GOALS_FROM for size in SIZES)


class Aim(Struct, frozen=True, kw_only=True):
    """A figure and its limit by the calls that may be under way."""

    name: str
    figure: Callable[[Figures, int], float]
    limits: Mapping[int, float]
    sense: Literal["at most", "at least"] = "at most"
    unit: str = ""


class Figures(Struct, frozen=True, kw_only=True):
    """What goals are judged by."""

    rows: Sequence[Row]
    against_ladder: Sequence[Against]
    against_tiers: Sequence[Cell]


def goals(figures: Figures) -> list[Goal]:
    """Every goal, with one call under way and with several."""
    return [_judged(aim, figures, width) for width in WIDTHS for aim in AIMS]


def _judged(aim: Aim, figures: Figures, width: int) -> Goal:
    judge = at_most if aim.sense == "at most" else at_least
    name = f"{'one call' if width == 1 else f'up to {width} calls'} under way: {aim.name}"
    return judge(name, aim.limits[width], aim.figure(figures, width), aim.unit)


def _of(group: str, figures: Figures, width: int) -> Summary:
    wanted = (group, ADAPTIVE, width)
    return next(row.summary for row in figures.rows if (row.group, row.policy, row.width) == wanted)


def _median(group: str) -> Callable[[Figures, int], float]:
    return lambda figures, width: _or_infinite(_of(group, figures, width).median)


def _p95(group: str) -> Callable[[Figures, int], float]:
    return lambda figures, width: _or_infinite(_of(group, figures, width).p95)


def _time_against_ladder(figures: Figures, width: int) -> float:
    [found] = [one for one in figures.against_ladder if (one.group, one.width) == (ALL, width)]
    return _or_infinite(found.median)


def _cells_as_good(figures: Figures, width: int) -> float:
    return sum(ratio <= AS_GOOD for ratio in _in_cells(figures, width))


def _worst_cell(figures: Figures, width: int) -> float:
    return max(_in_cells(figures, width))


def _in_cells(figures: Figures, width: int) -> Iterator[float]:
    return (_or_infinite(cell.median) for cell in figures.against_tiers if cell.width == width)


def _delivered(figures: Figures, width: int) -> float:
    return 100 * _of(ALL, figures, width).delivered


def _refusals(figures: Figures, width: int) -> float:
    return _of(ALL, figures, width).refusals


def _or_infinite(value: float | None) -> float:
    return inf if value is None else value


AIMS: Final = (
    Aim(name=f"median over the oracle, {REGULAR}", figure=_median(REGULAR), limits={1: 1.04, 4: 1.08}),
    Aim(name=f"p95 over the oracle, {REGULAR}", figure=_p95(REGULAR), limits={1: 1.30, 4: 1.40}),
    Aim(name=f"median over the oracle, {ALL}", figure=_median(ALL), limits={1: 1.05, 4: 1.10}),
    Aim(name=f"p95 over the oracle, {ALL}", figure=_p95(ALL), limits={1: 1.50, 4: 1.85}),
    Aim(name=f"median over the oracle, {WORLDS}", figure=_median(WORLDS), limits={1: 1.03, 4: 1.10}),
    Aim(name=f"p95 over the oracle, {WORLDS}", figure=_p95(WORLDS), limits={1: 1.60, 4: 2.00}),
    Aim(
        name="median over the original ladder with one call under way",
        figure=_time_against_ladder,
        limits={1: 0.94, 4: 0.42},
    ),
    Aim(
        name=f"families x sizes of {CELLS} within {AS_GOOD:g} of static tiers",
        figure=_cells_as_good,
        limits={1: 80, 4: 84},
        sense="at least",
    ),
    Aim(name="the worst of them over static tiers", figure=_worst_cell, limits={1: 1.30, 4: 1.28}),
    Aim(
        name="runs that deliver 99% of the healthy recipients",
        figure=_delivered,
        limits={1: 99.95, 4: 99.95},
        sense="at least",
        unit="%",
    ),
    Aim(name="refusals a story", figure=_refusals, limits={1: 0.5, 4: 0.8}),
)
