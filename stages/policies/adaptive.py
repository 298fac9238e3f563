"""`adaptive`: learns what calls of this session cost, and sends what remains in the parts that finish soonest."""

from __future__ import annotations

from math import ceil

from msgspec import Struct, structs

from stages.adaptive.belief import UNKNOWN, VERSION, Belief, anew
from stages.adaptive.choice import Limits, best
from stages.adaptive.learning import after
from stages.history import History
from stages.policy import Decision, Sample


class Adaptive(Struct, frozen=True, kw_only=True):
    """No batch above `largest`, calls no nearer than `gap` seconds, and at most `width` of them under way."""

    largest: int = 10_000
    gap: float = 0.5
    width: int = 1

    def first(self, total: int, history: History) -> Decision:
        """By what the session has shown in earlier stories."""
        known = history.belief
        belief = anew(known) if known is not None and known.version == VERSION else UNKNOWN
        return self._decided("", total, 0, belief, history)

    def next(self, size: int, sample: Sample, history: History) -> Decision:
        """By what the last batch has shown too."""
        belief = after(history.belief or UNKNOWN, sample)
        return self._decided("", sample.waiting, round(sample.beside * size), belief, history)

    def _decided(self, why: str, waiting: int, out: int, belief: Belief, history: History) -> Decision:
        """Decide for `waiting` recipients, of whom about `out` have gone out meanwhile."""
        choice = best(belief, waiting, Limits(largest=self.largest, gap=self.gap, width=self.width))
        return Decision(
            size=evenly(max(0, waiting - out), choice.size),
            reason=why,
            history=structs.replace(history, belief=belief, proven=belief.proven),
            learned=True,
            width=choice.width,
            tries=1,
        )


def evenly(waiting: int, size: int) -> int:
    """The size of equal parts of `waiting` that are at most `size`; of what is hardly anything, all in one part."""
    parts = ceil(waiting / size)
    return ceil(waiting / parts) if parts > 1 else size
