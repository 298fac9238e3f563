"""What a benchmark is to reach, and whether it does."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from msgspec import Struct
from rich.table import Table


class Goal(Struct, frozen=True, kw_only=True, rename="camel"):
    """A figure, what it may be `at_most` or has to be `at_least`, and whether it is."""

    name: str
    unit: str = ""
    measured: float | None
    """None: without end, for which JSON has no number."""
    note: str = ""
    """Where it was measured, if that is not said by the name."""
    at_most: float | None = None
    at_least: float | None = None
    met: bool


def at_most(name: str, limit: float, measured: float, unit: str = "", *, note: str = "") -> Goal:
    """A goal that `measured` meets by not being above `limit`; both in `unit`."""
    met = measured <= limit
    return Goal(name=name, unit=unit, measured=_finite(measured), note=note, at_most=limit, met=met)


def at_least(name: str, limit: float, measured: float, unit: str = "", *, note: str = "") -> Goal:
    """A goal that `measured` meets by not being below `limit`; both in `unit`."""
    met = measured >= limit
    return Goal(name=name, unit=unit, measured=_finite(measured), note=note, at_least=limit, met=met)


def allowed(goal: Goal) -> str:
    """What the goal asks for, in words."""
    if goal.at_most is not None:
        return f"at most {_figure(goal.at_most, goal.unit)}"
    return f"at least {_figure(goal.at_least or 0.0, goal.unit)}"


def found(goal: Goal) -> str:
    """What was measured, with its unit, and where."""
    measured = "without end" if goal.measured is None else _measured(goal, goal.measured)
    return f"{measured} ({goal.note})" if goal.note else measured


def verdict(goal: Goal) -> str:
    """`met`, or `not met`."""
    return "met" if goal.met else "not met"


def goals_table(goals: Sequence[Goal]) -> Table:
    """One row for each goal."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("goal", "asked", "measured", ""):
        shown.add_column(head, no_wrap=True)
    for goal in goals:
        style = "green" if goal.met else "bold red"
        shown.add_row(goal.name, allowed(goal), found(goal), f"[{style}]{verdict(goal)}[/]")
    return shown


def _measured(goal: Goal, value: float) -> str:
    """With as many digits as it takes to be told from the limit."""
    limit = goal.at_least if goal.at_most is None else goal.at_most
    written = [_figure(value, goal.unit, digits) for digits in (4, 5, 6, 8)]
    if value == limit or limit is None:
        return written[0]
    return next((one for one in written if one != _figure(limit, goal.unit)), written[-1])


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _figure(value: float, unit: str, digits: int = 4) -> str:
    return f"{value:,.{digits}g} {unit}".strip()
