"""`storycast bench scale`: what a recipient costs in longer and longer lists.

Each size has a server, a worker process and a story of its own, so that no figure has anything of another one in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from rich.console import Console, RenderableType

from ops.bench.goals import goals_table
from ops.bench.machine import machine
from ops.bench.memory import SOURCE
from ops.bench.numbers import numbers_in
from ops.bench.one_story import SPREAD, cost_of
from ops.bench.output import Wanted, give
from ops.bench.scale_figures import Scale, goals, growth, legend, panels, table
from ops.exits import SUCCESS
from ops.serve import interruptible
from stages.lists import MOST_LINES

MOST = min(MOST_LINES, SPREAD)


async def scale(sizes: Sequence[int], wanted: Wanted) -> int:
    """Measure every one of `sizes`, and give what was found."""
    wanted.check()
    console = wanted.console()
    async with interruptible():
        costs = [await cost_of(size, partial(_say, console, size)) for size in sizes]
    found = Scale(
        costs=costs, growth=growth(costs), goals=goals(costs), memory_from=SOURCE, machine=machine()
    )
    shown: list[RenderableType] = [
        table(costs),
        legend(found),
        *([goals_table(found.goals)] if found.goals else []),
    ]
    give("scale", found, shown=shown, panels=panels(found), wanted=wanted)
    return SUCCESS


def _say(console: Console, size: int) -> None:
    console.print(f"sending to {size:,} recipients", style="dim")


def sizes_in(text: str) -> list[int]:
    """The sizes in `text`, the smallest first. Raises `BadRequest`."""
    return numbers_in(text, MOST, "--sizes")
