"""The chart of `bench policies`."""

from __future__ import annotations

from typing import Final, Literal

from ops.bench.charts import Bars, GoalLine, Panel
from ops.bench.policies.aims import AIMS
from ops.bench.policies.figures import ALL, REGULAR, WORLDS, Policies
from ops.bench.policies.grid import WIDTHS
from ops.bench.policies.judge import ADAPTIVE, ONE_CALL, POLICIES
from ops.bench.policies.shown import under_way

What = Literal["median", "p95"]
_WHATS: Final[tuple[What, ...]] = ("median", "p95")


def panels(found: Policies) -> list[Panel]:
    """The chart: median and p95 of every policy, by groups. One call is off any scale and left out."""
    return [_panel(found, what, width) for width in WIDTHS for what in _WHATS]


def _panel(found: Policies, what: What, width: int) -> Bars:
    names = [policy for policy in POLICIES if policy != ONE_CALL]
    limit = next(aim.limits[width] for aim in AIMS if aim.name == f"{what} over the oracle, {ALL}")
    missing = " (no bar: infinite)" if what == "p95" else ""
    return Bars(
        title=f"{what} of time over the oracle, {under_way(width)}{missing}",
        y_label="times the oracle's",
        groups=[name.replace(", ", ",\n") for name in names],
        series={
            group: [_figure(found, group, name, width, what) for name in names]
            for group in (REGULAR, ALL, WORLDS)
            if found.of(group, ADAPTIVE, width)
        },
        goal=GoalLine(value=limit, label=f"goal, {ALL}: at most {limit:g}"),
    )


def _figure(found: Policies, group: str, name: str, width: int, what: What) -> float | None:
    if (summary := found.of(group, name, width)) is None:
        return None
    return summary.median if what == "median" else summary.p95
