"""`storycast bench scale`: what a recipient costs in longer and longer lists.

Each size has a server, a worker process and a story of its own, so that no figure has anything of another one in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
from rich.console import Console

from ops.bench.figures import Scale, growth, legend, machine, table
from ops.bench.memory import SOURCE
from ops.bench.numbers import numbers_in
from ops.bench.story import SPREAD, cost_of
from ops.exits import SUCCESS
from ops.serve import interruptible
from stages.lists import MOST_LINES

MOST = min(MOST_LINES, SPREAD)


async def scale(sizes: Sequence[int], *, json: bool) -> int:
    """Measure every one of `sizes`, and print what was found."""
    console = Console(stderr=json, highlight=False, soft_wrap=True)
    async with interruptible():
        costs = [await cost_of(size, partial(_say, console, size)) for size in sizes]
    found = Scale(costs=costs, growth=growth(costs), memory_from=SOURCE, machine=machine())
    if json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        console.print(table(costs))
        console.print(legend(found), style="dim")
    return SUCCESS


def _say(console: Console, size: int) -> None:
    console.print(f"sending to {size:,} recipients", style="dim")


def sizes_in(text: str) -> list[int]:
    """The sizes in `text`, the smallest first. Raises `BadRequest`."""
    return numbers_in(text, MOST, "--sizes")
