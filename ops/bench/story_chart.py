"""The chart of `bench story`."""

from __future__ import annotations

from collections.abc import Sequence

from ops.bench.charts import Bars, GoalLine, Panel
from ops.bench.profiles import ORIGINAL
from ops.bench.story_claims import CLAIMED_BATCHES, CLAIMED_GAIN
from ops.bench.story_figures import ONE_CALL, Cell, Story, named


def panels(found: Story) -> list[Panel]:
    """The chart: the time for each size, and how many times as fast as one call that is."""
    sizes = dict.fromkeys(cell.recipients for cell in found.cells)
    of_size = {size: [cell for cell in found.cells if cell.recipients == size] for size in sizes}
    return [*(_times(size, measured) for size, measured in of_size.items()), _gains(found.cells)]


def _times(size: int, measured: Sequence[Cell]) -> Bars:
    claimed = CLAIMED_BATCHES.get(size)
    ways = list(dict.fromkeys(map(_short, measured)))
    return Bars(
        title=f"{size:,} recipients, until the report (median)",
        y_label="s",
        groups=ways,
        series={
            f"engine {engine}": [_only(measured, engine, way) for way in ways]
            for engine in dict.fromkeys(cell.engine for cell in measured)
        },
        form="{:.1f}",
        goal=GoalLine(value=claimed[1], label=f"claimed: {claimed[0]:g}-{claimed[1]:g} s")
        if claimed
        else None,
    )


def _only(measured: Sequence[Cell], engine: str, way: str) -> float | None:
    return next((cell.seconds for cell in measured if (cell.engine, _short(cell)) == (engine, way)), None)


def _gains(measured: Sequence[Cell]) -> Bars:
    batched = [cell for cell in measured if cell.way != ONE_CALL and cell.engine == ORIGINAL]
    sizes = list(dict.fromkeys(cell.recipients for cell in batched))
    by_way = {
        way: {cell.recipients: cell.times_as_fast for cell in batched if named(cell) == way}
        for way in dict.fromkeys(map(named, batched))
    }
    return Bars(
        title=f"Times as fast as one call, engine {ORIGINAL}",
        y_label="one call / this way",
        groups=[f"{size:,}" for size in sizes],
        series={way: [gains.get(size) for size in sizes] for way, gains in by_way.items()},
        goal=GoalLine(value=CLAIMED_GAIN[0], label=f"claimed: {CLAIMED_GAIN[0]:g}-{CLAIMED_GAIN[1]:g}"),
    )


def _short(cell: Cell) -> str:
    return f"{cell.way}\nwith history" if cell.again else cell.way
