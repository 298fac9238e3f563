"""The figures of `bench policies` as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.table import Table

from ops.bench.machine import in_words
from ops.bench.policies.figures import ALL, REGULAR, WORLDS, Cell, Policies, size_group
from ops.bench.policies.grid import GOALS_FROM, LONG, WIDTHS
from ops.bench.policies.judge import ADAPTIVE, DELIVERED, POLICIES
from ops.bench.policies.statistics import Summary

NEVER: Final = "never"
"""Where a time is infinite."""
BY_POLICY_HEADS: Final = (
    "policy",
    *("regular\nmedian", "\np95"),
    *("all\nmedian", "\nmean", "\np95", "\ndelivered", "\nwasted", "\ncalls", "\nrefusals"),
    *("random\nmedian", "\nmean", "\np95", "\ndelivered"),
)
BY_FAMILY_HEADS: Final = (
    "adaptive in",
    "median",
    "mean",
    "p95",
    "delivered",
    "wasted",
    "calls",
    "refusals",
    "over ladder",
    "over tiers",
)


def under_way(width: int) -> str:
    """So many calls at most, in words."""
    return "one call under way" if width == 1 else f"up to {width} calls under way"


def by_policy(found: Policies, width: int) -> Iterator[Sequence[str]]:
    """A row for each policy: regular families, all families, random worlds."""
    for policy in POLICIES:
        regular, families, worlds = (found.of(group, policy, width) for group in (REGULAR, ALL, WORLDS))
        yield (
            policy,
            *_cells(regular, "median", "p95"),
            *_cells(families, "median", "mean", "p95", "delivered", "wasted", "calls", "refusals"),
            *_cells(worlds, "median", "mean", "p95", "delivered"),
        )


def by_family(found: Policies, width: int) -> Iterator[Sequence[str]]:
    """A row for the adaptive policy in each group: families, and sizes."""
    for one in found.against_ladder:
        if one.width != width:
            continue
        summary = found.of(one.group, ADAPTIVE, width)
        figures = _cells(summary, "median", "mean", "p95", "delivered", "wasted", "calls", "refusals")
        yield one.group, *figures, _ratio(one.median), _worst(found.against_tiers, one.group, width)


def tables(found: Policies) -> list[Table]:
    """All policies, and the adaptive one family by family; each with one call under way, then with several."""
    return [
        *(_table(under_way(width), BY_POLICY_HEADS, by_policy(found, width)) for width in WIDTHS),
        *(_table(under_way(width), BY_FAMILY_HEADS, by_family(found, width)) for width in WIDTHS),
    ]


def legend(found: Policies) -> str:
    """What was played, and what the columns are."""
    return "\n".join(
        (*definitions(), *worlds(found), f"Played in {found.seconds:.0f} s on {in_words(found.machine)}.")
    )


def definitions() -> Sequence[str]:
    """What the figures are."""
    return (
        "Times are over those of the oracle with as many calls under way, in the same world; every family and size",
        f"weighs the same. A run that reaches less than {DELIVERED:.0%} of the healthy recipients is infinitely long "
        f"({NEVER});",
        "means are of the others. wasted: recipients that went out in vain, of all; calls, refusals: in a story.",
        f"Families and groups of them: {GOALS_FROM:,} recipients and more. over ladder: the median of times over the",
        "original ladder's with one call under way; over tiers: over those of static tiers with as many calls, at the",
        "worst size.",
    )


def worlds(found: Policies) -> Sequence[str]:
    """How many worlds it was, and which."""
    seeds = found.seeds
    return (
        f"Worlds: {seeds.each} seeds of each family and size, from seed {seeds.first:,} on, and of random worlds "
        f"{seeds.random};",
        f"with {LONG:,} recipients {seeds.long} and {seeds.long_random}. Policies were tuned with seeds below 1,000.",
    )


def informed(found: Policies) -> list[str]:
    """What is told as information: how good the oracle is, and what a decision takes."""
    return [
        *(
            f"The best fixed size, known afterwards, over the oracle, {under_way(one.width)}: median "
            f"{_ratio(one.median)}, 5% below {_ratio(one.p5)}, 95% below {_ratio(one.p95)} ({one.worlds:,} worlds)."
            for one in found.checks
        ),
        *(
            f"A decision of the adaptive policy, {under_way(one.width)}: {one.mean_ms:.2f} ms in the mean, p99 "
            f"{one.p99_ms:.2f} ms (processor time, {one.count:,} decisions)."
            for one in found.decisions
        ),
    ]


def _worst(cells: Sequence[Cell], group: str, width: int) -> str:
    """Of a family, or of all stories of one size."""
    ratios = [
        cell.median
        for cell in cells
        if cell.width == width and group in (cell.family, size_group(cell.recipients), ALL)
    ]
    if not ratios:
        return ""
    return _ratio(None if None in ratios else max(ratio for ratio in ratios if ratio is not None))


def _cells(summary: Summary | None, *names: str) -> Iterator[str]:
    for name in names:
        yield "" if summary is None else _written(name, getattr(summary, name))


def _written(name: str, value: float | None) -> str:
    form = {"delivered": "{:.2%}", "wasted": "{:.1%}", "calls": "{:,.1f}"}.get(name)
    return form.format(value) if form else _ratio(value)


def _ratio(value: float | None) -> str:
    return NEVER if value is None else f"{value:.2f}"


def _table(title: str, heads: Sequence[str], rows: Iterator[Sequence[str]]) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for place, head in enumerate(heads):
        shown.add_column(head, justify="right" if place else "left", no_wrap=True, vertical="bottom")
    for row in rows:
        shown.add_row(*row)
    return shown
