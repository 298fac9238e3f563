"""The figures of `bench policies`: every policy in groups of worlds, and the adaptive one against ladder and tiers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from ops.bench.goals import Goal
from ops.bench.output import Result
from ops.bench.policies.grid import GOALS_FROM, WIDTHS, Played, Watched
from ops.bench.policies.judge import ADAPTIVE, LADDER, ORACLE, POLICIES, TIERS
from ops.bench.policies.statistics import Summary, finite, median_over, quantile, summed_up, weighed
from ops.bench.policies.worlds import IRREGULAR, RANDOM

REGULAR: Final = "regular families"
ALL: Final = "all families"
WORLDS: Final = "random worlds"


class Row(Struct, frozen=True, kw_only=True, rename="camel"):
    """One policy in one group of worlds, with so many calls under way at most."""

    group: str
    policy: str
    width: int
    summary: Summary


class Against(Struct, frozen=True, kw_only=True, rename="camel"):
    """The adaptive policy's time over that of the original ladder with one call under way: the median in a group."""

    group: str
    width: int
    median: float | None


class Cell(Struct, frozen=True, kw_only=True, rename="camel"):
    """The adaptive policy's time over that of static tiers with as many calls under way: the median in a cell."""

    family: str
    recipients: int
    width: int
    median: float | None


class Check(Struct, frozen=True, kw_only=True, rename="camel"):
    """The best fixed size's time, known afterwards, over the oracle's: below 1 where chance was kinder to it."""

    width: int
    worlds: int
    median: float | None
    p5: float | None
    p95: float | None


class Decisions(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a decision of the adaptive policy takes on this machine, in milliseconds."""

    width: int
    count: int
    mean_ms: float
    p99_ms: float


class Seeds(Struct, frozen=True, kw_only=True, rename="camel"):
    """How many worlds each story was played in, from seed `first` on."""

    first: int
    each: int
    random: int
    long: int
    long_random: int


class Policies(Result, frozen=True, kw_only=True, rename="camel"):
    """All of it. Groups are named; those of a size or a family are for themselves too."""

    seeds: Seeds
    rows: Sequence[Row]
    against_ladder: Sequence[Against]
    against_tiers: Sequence[Cell]
    checks: Sequence[Check]
    decisions: Sequence[Decisions]
    goals: Sequence[Goal]
    """None if anything was left out."""
    seconds: float
    """It took so long to play."""

    def of(self, group: str, policy: str, width: int) -> Summary | None:
        """The summary of a policy in a group, if worlds of that group were played."""
        wanted = (group, policy, width)
        return next((row.summary for row in self.rows if (row.group, row.policy, row.width) == wanted), None)


def size_group(recipients: int) -> str:
    """The name of the group of all families' stories to so many."""
    return f"{recipients:,} recipients"


def groups(played: Sequence[Played]) -> dict[str, list[Played]]:
    """What was played by the names of groups. Goals' groups and families have no short stories."""
    families = [one for one in played if one.family != RANDOM]
    long = [one for one in played if one.recipients >= GOALS_FROM]
    found = {
        REGULAR: [one for one in long if one.family not in {*IRREGULAR, RANDOM}],
        ALL: [one for one in long if one.family != RANDOM],
        WORLDS: [one for one in long if one.family == RANDOM],
    }
    for size in sorted({one.recipients for one in families}):
        found[size_group(size)] = [one for one in families if one.recipients == size]
    for family in dict.fromkeys(one.family for one in families):
        found[family] = [one for one in long if one.family == family]
    return {name: members for name, members in found.items() if members}


def rows(played: Sequence[Played]) -> list[Row]:
    """Every policy in every group."""
    return [
        Row(group=group, policy=policy, width=width, summary=summed_up(members, policy, width))
        for group, members in groups(played).items()
        for policy in POLICIES
        for width in WIDTHS
    ]


def against_ladder(played: Sequence[Played]) -> list[Against]:
    """The adaptive policy against the original ladder."""
    return [
        Against(group=group, width=width, median=finite(median_over(members, ADAPTIVE, width, LADDER, 1)))
        for group, members in groups(played).items()
        for width in WIDTHS
    ]


def against_tiers(played: Sequence[Played]) -> list[Cell]:
    """The adaptive policy against static tiers, in every cell that goals are for."""
    return [
        Cell(
            family=family,
            recipients=recipients,
            width=width,
            median=finite(median_over(members, ADAPTIVE, width, TIERS, width)),
        )
        for (family, recipients), members in _cells(played).items()
        for width in WIDTHS
    ]


def _cells(played: Sequence[Played]) -> Mapping[tuple[str, int], Sequence[Played]]:
    cells = defaultdict[tuple[str, int], list[Played]](list)
    for one in groups(played).get(ALL, []):
        cells[one.family, one.recipients].append(one)
    return cells


def checks(played: Sequence[Played]) -> list[Check]:
    """How the oracle does beside the best fixed size."""
    checked = [one for one in played if one.fixed]
    return [_check(checked, width) for width in WIDTHS] if checked else []


def _check(checked: Sequence[Played], width: int) -> Check:
    def ratio(one: Played) -> float:
        fixed = one.fixed[width]
        return float("inf") if fixed is None else fixed / one.runs[ORACLE][width].time

    ratios = weighed(checked, ratio)
    median, p5, p95 = (finite(quantile(ratios, share)) for share in (0.5, 0.05, 0.95))
    return Check(width=width, worlds=len(checked), median=median, p5=p5, p95=p95)


def decisions(watched: Sequence[Watched]) -> list[Decisions]:
    """What decisions take."""
    return [
        Decisions(
            width=width,
            count=len(took),
            mean_ms=1e3 * sum(took) / len(took),
            p99_ms=1e3 * quantile([(seconds, 1.0) for seconds in took], 0.99),
        )
        for width in WIDTHS
        if (took := [seconds for one in watched if one.width == width for seconds in one.took])
    ]
