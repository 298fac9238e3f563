"""What the original system said of single calls and of whole stories, beside what `bench story` measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ops.bench.goals import Goal, at_least, at_most
from ops.bench.profiles import ORIGINAL
from ops.bench.story_figures import ONE_CALL, Cell, named

CLAIMED_ONE_CALL: Final[Mapping[int, tuple[float, float]]] = {
    3_000: (2.0, 3.0),
    10_000: (8.0, 12.0),
    50_000: (40.0, 60.0),
}
CLAIMED_BATCHES: Final[Mapping[int, tuple[float, float]]] = {
    3_000: (1.5, 2.0),
    10_000: (3.0, 4.0),
    50_000: (8.0, 10.0),
}
"""Seconds that the original system said a story takes, in one call and in batches."""
CLAIMED_GAIN: Final = (3.0, 5.0)
CLAIMED_SHARE: Final = 0.99


def claims(found: Sequence[Cell], engine: str = ORIGINAL) -> list[Goal]:
    """What the original system said, each beside what the quickest way does with this engine."""
    batched = [cell for cell in found if cell.way != ONE_CALL and cell.engine == engine]
    by_size = {
        size: [cell for cell in batched if cell.recipients == size]
        for size in dict.fromkeys(cell.recipients for cell in batched)
    }
    judged = [_in_time(size, by_size[size]) for size in CLAIMED_BATCHES if size in by_size]
    if batched:
        best = max(batched, key=lambda cell: cell.times_as_fast)
        where = f"{named(best)}, {best.recipients:,} recipients"
        judged.append(
            at_least("times as fast as one call, at best", CLAIMED_GAIN[0], best.times_as_fast, note=where)
        )
        least = min(cell.delivered for cell in batched)
        judged.append(at_least("delivered, of each way and size", CLAIMED_SHARE * 100, least * 100, "%"))
    return judged


def _in_time(size: int, batched: Sequence[Cell]) -> Goal:
    quickest = min(batched, key=lambda cell: cell.seconds)
    most = CLAIMED_BATCHES[size][1]
    return at_most(
        f"{size:,} recipients, the quickest way", most, quickest.seconds, "s", note=named(quickest)
    )
