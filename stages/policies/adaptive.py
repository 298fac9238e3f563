"""`adaptive`: learns what calls of this session cost, and sends what remains in the parts that finish soonest."""

from __future__ import annotations

from msgspec import Struct, structs

from stages.adaptive.belief import UNKNOWN, Belief
from stages.adaptive.choice import best
from stages.adaptive.curve import unsure
from stages.adaptive.learning import after
from stages.adaptive.risk import faded
from stages.history import History
from stages.policy import Decision, Sample


import os

WARM = float(os.environ.get("WARM", "1.5"))


class Adaptive(Struct, frozen=True, kw_only=True):
    """No batch above `largest`; calls no nearer than `gap` seconds."""

    largest: int = 10_000
    gap: float = 0.5
    width: int = 1

    def first(self, total: int, history: History) -> Decision:
        """By what the session has shown in earlier stories."""
        belief = remembered(history.belief)
        return self._decide("", total, belief, history)

    def next(self, size: int, sample: Sample, history: History) -> Decision:
        """By what the last batch has shown too."""
        belief = after(history.belief or UNKNOWN, sample)
        return self._decide("", sample.waiting, belief, history)

    def _decide(self, why: str, waiting: int, belief: Belief, history: History) -> Decision:
        choice = best(belief, waiting, self.largest, self.gap)
        history = structs.replace(history, belief=belief, proven=belief.proven)
        return Decision(size=choice.size, reason=why, history=history, learned=True, tries=1, width=1)


def remembered(belief: Belief | None) -> Belief:
    """What is still believed in a new story of what was learned in earlier ones."""
    if belief is None:
        return UNKNOWN
    return structs.replace(
        belief,
        curve=unsure(belief.curve, WARM),
        condition=1.0,
        calls=0,
        surprise=1.0,
        cap=0,
        failures=0,
        failed=0,
        errors=faded(belief.errors, 0.5),
        hangs=faded(belief.hangs, 0.5),
    )
