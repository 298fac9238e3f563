"""`adaptive`: learns what calls of this session cost, and sends what remains in the parts that finish soonest."""

from __future__ import annotations

from msgspec import Struct, structs

from stages.adaptive.belief import UNKNOWN, VERSION, Belief, anew
from stages.adaptive.choice import Choice, Limits, best
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
        # Those under way beside it went out after it, so they are not waiting any more.
        waiting = max(1, sample.waiting - round(sample.beside * size))
        return self._decided("", waiting, size, belief, history)

    def _decided(self, why: str, waiting: int, before: int, belief: Belief, history: History) -> Decision:
        limits = Limits(largest=self.largest, gap=self.gap, width=self.width)
        choice = best(belief, waiting, limits)
        return Decision(
            size=self._whole(choice, before),
            reason=why,
            history=structs.replace(history, belief=belief, proven=belief.proven),
            learned=True,
            width=choice.width,
            tries=1,
        )

    def _whole(self, choice: Choice, before: int) -> int:
        """With several calls under way what waits is only about known, and the last batch takes all that is left."""
        return (
            max(choice.size, min(before, self.largest))
            if self.width > 1 and choice.size < before
            else choice.size
        )
