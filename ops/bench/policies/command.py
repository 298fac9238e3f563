"""`storycast bench policies`: every policy in every world, as ratios to an oracle that knows the world.

Stories are played in virtual time, by the pipeline's own rules of turns, retries and failures
(`transports.simulated.instant`). What comes out depends on the seeds alone, not on the machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ops.bench.goals import goals_table
from ops.bench.machine import machine
from ops.bench.numbers import numbers_in
from ops.bench.output import Wanted, give
from ops.bench.policies import aims
from ops.bench.policies.chart import panels
from ops.bench.policies.figures import (
    Policies,
    Seeds,
    against_ladder,
    against_tiers,
    checks,
    decisions,
    rows,
)
from ops.bench.policies.grid import (
    FIRST_SEED,
    GOALS_FROM,
    LONG,
    Grid,
    Played,
    Watched,
    orders,
    seeds_for,
    watches,
)
from ops.bench.policies.players import all_played
from ops.bench.policies.shown import informed, legend, tables
from ops.bench.policies.worlds import FAMILIES, RANDOM
from ops.exits import SUCCESS
from ops.serve import interruptible
from stages.errors import BadRequest

SEEDS: Final = 100
QUICK_SEEDS: Final = 8
MOST_SEEDS: Final = 10_000
MOST_RECIPIENTS: Final = 2_000_000


async def policies(grid: Grid, wanted: Wanted) -> int:
    """Play all of `grid` with as many processes as there are cores, and give what was found."""
    wanted.check()
    _check(grid)
    began, planned, timed = time.monotonic(), list(orders(grid)), list(watches(grid))
    async with interruptible():
        with _progress(wanted.console(), len(planned)) as tell:
            played = await all_played(planned, processes=_cores(), tell=tell)
            # By itself, and by one process: times of decisions are not to have the others' in them.
            watched = await all_played(timed, processes=1, tell=lambda: None)
    found = figures(
        grid,
        [one for one in played if isinstance(one, Played)],
        [one for one in watched if isinstance(one, Watched)],
        time.monotonic() - began,
    )
    shown: list[RenderableType] = [
        *tables(found),
        legend(found),
        *([goals_table(found.goals)] if found.goals else ["No goals: families or sizes were left out."]),
        *informed(found),
    ]
    give("policies", found, shown=shown, panels=panels(found), wanted=wanted)
    return SUCCESS


def figures(grid: Grid, played: Sequence[Played], watched: Sequence[Watched], seconds: float) -> Policies:
    """The result: what was played, summed up and judged."""
    judged = aims.Figures(
        rows=rows(played), against_ladder=against_ladder(played), against_tiers=against_tiers(played)
    )
    family = next(iter(FAMILIES))
    return Policies(
        machine=machine(),
        seeds=Seeds(
            first=FIRST_SEED,
            each=seeds_for(grid, family, 0),
            random=seeds_for(grid, RANDOM, 0),
            long=seeds_for(grid, family, LONG),
            long_random=seeds_for(grid, RANDOM, LONG),
        ),
        rows=judged.rows,
        against_ladder=judged.against_ladder,
        against_tiers=judged.against_tiers,
        checks=checks(played),
        decisions=decisions(watched),
        goals=aims.goals(judged) if grid.is_whole else [],
        seconds=seconds,
    )


def sizes_in(text: str) -> list[int]:
    """The sizes in `text`, the smallest first. Raises `BadRequest`."""
    return numbers_in(text, MOST_RECIPIENTS, "--sizes")


def families_in(given: Sequence[str]) -> list[str]:
    """The families that are `given`, `random` among them; all if there are none. Raises `BadRequest`."""
    known = (*FAMILIES, RANDOM)
    if strange := [name for name in given if name not in known]:
        raise BadRequest("out-of-range", field="--family", found=repr(strange[0]), allowed="; ".join(known))
    return list(dict.fromkeys(given)) or list(known)


def _check(grid: Grid) -> None:
    if not any(orders(grid)):
        found, least = ",".join(map(str, grid.sizes)), f"{GOALS_FROM:,} and more in random worlds"
        raise BadRequest("out-of-range", field="--sizes", found=repr(found), allowed=least)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[], None]]:
    """Shows how far it is, on a terminal; elsewhere it is said once."""
    if not console.is_terminal:
        console.print(f"playing in {total:,} worlds", style="dim")
    columns = (TextColumn("worlds"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("worlds", total=total)
        yield lambda: progress.advance(task)
