"""`adaptive`: learns what calls of this session cost, and sends what remains in the parts that finish soonest."""

from __future__ import annotations

from math import ceil

from msgspec import Struct, structs

from stages.adaptive.belief import UNKNOWN, VERSION, Belief, anew
from stages.adaptive.choice import Choice, Limits, best
from stages.adaptive.learning import after
from stages.adaptive.wording import afterwards, at_first
from stages.history import History
from stages.policy import Decision, Sample


class Adaptive(Struct, frozen=True, kw_only=True):
    """No batch above `largest`, calls no nearer than `gap` seconds, and at most `width` of them under way."""

    largest: int = 10_000
    gap: float = 0.5
    width: int = 1

    def first(self, total: int, history: History) -> Decision:
        """By what the session has shown in earlier stories, if it has and it can be read."""
        known = history.belief
        belief = anew(known) if known is not None and known.version == VERSION else UNKNOWN
        choice = best(belief, total, self._limits)
        is_foreign = known is not None and known.version != VERSION
        return self._decision(choice, at_first(belief, choice, foreign=is_foreign), belief, history)

    def next(self, size: int, sample: Sample, history: History) -> Decision:
        """By what the last batch has shown too."""
        known = history.belief
        before = known if known is not None and known.version == VERSION else UNKNOWN
        belief = after(before, sample)
        choice = best(belief, sample.waiting, self._limits)
        # Those under way beside it have gone out meanwhile.
        waiting = max(0, sample.waiting - round(sample.beside * size))
        choice = structs.replace(choice, size=evenly(waiting, choice.size))
        reason = afterwards(before, sample, belief, choice if sample.waiting else None)
        return self._decision(choice, reason, belief, history)

    @property
    def _limits(self) -> Limits:
        return Limits(largest=self.largest, gap=self.gap, width=self.width)

    def _decision(self, choice: Choice, reason: str, belief: Belief, history: History) -> Decision:
        return Decision(
            size=choice.size,
            reason=reason,
            history=structs.replace(history, belief=belief, proven=belief.proven),
            learned=True,
            width=choice.width,
            tries=1,
        )


def evenly(waiting: int, size: int) -> int:
    """The size of equal parts of `waiting` that are at most `size`; of what is hardly anything, all in one part."""
    parts = ceil(waiting / size)
    return ceil(waiting / parts) if parts > 1 else size
