"""`tiered`: the size follows from how many recipients the story has, and from nothing else."""

from __future__ import annotations

from msgspec import Struct

from stages.history import History
from stages.policy import Decision, Sample

BORDERS = (500, 2_000, 5_000, 10_000, 20_000)
"""A story with fewer recipients than a border is in the tier below it."""


class Tiered(Struct, frozen=True):
    """`sizes` has one size per tier, one more than there are `BORDERS`."""

    sizes: tuple[int, ...]

    def first(self, total: int, history: History) -> Decision:
        """The size of the tier `total` falls into."""
        tier = sum(total >= border for border in BORDERS)
        reason = f"tiered: {total:,} recipients go out {self.sizes[tier]:,} a batch"
        return Decision(size=self.sizes[tier], reason=reason, history=history)

    def next(self, size: int, sample: Sample, history: History) -> Decision:
        """The same size, however the last batch went."""
        return Decision(size=size, reason=f"tiered: stays at {size:,}", history=history)
