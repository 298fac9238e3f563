"""Parts of pages, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ops.bench.goals import Goal, allowed, found, verdict


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = False) -> str:
    """A table; with `numbers` all columns but the first are set flush right."""
    rules = ["---", *["---:" if numbers else "---"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows))


def goals_table(goals: Iterable[Goal]) -> str:
    """A row for each goal, with what was measured."""
    return table(("goal", "asked", "measured", ""), [goal_cells(goal) for goal in goals])


def goal_cells(goal: Goal) -> tuple[str, ...]:
    """A goal as the cells of a row."""
    return goal.name, allowed(goal), found(goal), f"**{verdict(goal)}**"


def chart(part: str, what: str) -> str:
    """The chart of a part of `bench`, on a page under docs/."""
    return f"![{what}](../bench/{part}.svg)"
