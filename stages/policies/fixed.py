"""`fixed`: every batch has the same size."""

from __future__ import annotations

from msgspec import Struct

from stages.history import History
from stages.policy import Decision, Sample


class Fixed(Struct, frozen=True):
    """Always `size`."""

    size: int

    def first(self, total: int, history: History) -> Decision:
        """`size`, whatever the total."""
        return Decision(size=self.size, reason=f"fixed: {self.size:,} a batch", history=history)

    def next(self, size: int, sample: Sample, history: History) -> Decision:
        """`size`, however the last batch went."""
        return self.first(0, history)
