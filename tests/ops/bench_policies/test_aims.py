"""The goals of the adaptive policy are judged by what was played."""

from __future__ import annotations

from collections.abc import Sequence

from ops.bench.goals import Goal, found, goals_table, verdict
from ops.bench.policies.aims import AIMS, CELLS, Figures, goals
from ops.bench.policies.figures import against_ladder, against_tiers, rows
from ops.bench.policies.grid import Played
from ops.bench.policies.judge import TIERS, Run
from ops.bench.policies.worlds import FAMILIES, RANDOM, SIZES
from tests.ops.bench_policies.made_up import played, run

SLOW = "the worst of them over static tiers"


def judged(adaptive: Run, *extra: Played) -> Sequence[Goal]:
    """The goals where every world but `extra` ones went so."""
    worlds = [
        played(adaptive, family=family, recipients=size) for family in (*FAMILIES, RANDOM) for size in SIZES
    ]
    all_of_them = [*worlds, *extra]
    return goals(
        Figures(
            rows=rows(all_of_them),
            against_ladder=against_ladder(all_of_them),
            against_tiers=against_tiers(all_of_them),
        )
    )


def missed(goals: Sequence[Goal]) -> list[str]:
    return [goal.name.partition(": ")[2] for goal in goals if not goal.met and goal.name.startswith("one")]


def test_a_policy_as_good_as_the_oracle_meets_all_goals_but_none_it_is_not_asked() -> None:
    met = judged(run(8.0))
    assert [verdict(goal) for goal in met] == ["met"] * len(AIMS) * 2


def test_a_goal_that_is_missed_is_marked_so_with_what_was_measured() -> None:
    slow = judged(run(13.0))
    regular = next(goal for goal in slow if "median over the oracle, regular" in goal.name)
    assert (regular.met, regular.at_most, regular.measured) == (False, 1.04, 1.3)
    assert missed(slow) == [
        "median over the oracle, regular families",
        "median over the oracle, all families",
        "median over the oracle, random worlds",
    ]
    assert [goals_table(slow).columns[3]._cells[place] for place in (0, 1)] == [
        "[bold red]not met[/]",
        "[green]met[/]",
    ]


def test_goals_are_stricter_or_looser_with_several_calls_under_way() -> None:
    both = [goal for goal in judged(run(11.0)) if "original ladder" in goal.name]
    assert [(goal.at_most, goal.measured, goal.met) for goal in both] == [
        (0.94, 0.55, True),
        (0.42, 0.55, False),
    ]


def test_one_bad_cell_is_the_worst_one_and_no_longer_as_good_as_tiers() -> None:
    """Twenty seconds against ten in one family and size, where all others are as fast as tiers."""
    bad = [played(run(20.0), family="noisy", recipients=3_000, others={TIERS: run(10.0)}) for _ in range(3)]
    by_name = {goal.name: goal for goal in judged(run(10.0), *bad)}
    assert by_name[f"one call under way: {SLOW}"].measured == 2.0
    assert by_name[f"one call under way: {SLOW}"].met is False
    assert (
        by_name[f"one call under way: families x sizes of {CELLS} within 1.05 of static tiers"].measured == 89
    )


def test_stories_to_fewer_than_3000_are_in_no_goal() -> None:
    short = [played(run(1e6), family=family, recipients=500) for family in FAMILIES for _ in range(20)]
    assert missed(judged(run(8.0), *short)) == []


def test_runs_that_are_not_delivered_miss_their_goal_and_leave_infinite_ones_without_end() -> None:
    lost = [
        played(run(1.0, delivered=0.5), family=family, recipients=size)
        for family in FAMILIES
        for size in SIZES
        for _ in range(2)
    ]
    by_name = {goal.name.partition(": ")[2]: goal for goal in judged(run(8.0), *lost)}
    delivered = by_name["runs that deliver 99% of the healthy recipients"]
    assert (delivered.met, round(delivered.measured or 0, 2)) == (False, 33.33)
    assert (by_name[SLOW].met, found(by_name[SLOW])) == (False, "without end")


def test_refusals_are_counted_by_story() -> None:
    assert "refusals a story" in missed(judged(run(8.0, refusals=1)))
