"""The policies that are compared: storycast's own, and what others do, each written as its authors describe it."""

from __future__ import annotations

from msgspec import Struct, structs

from stages.history import History
from stages.options import SmartSend
from stages.policies import Progressive, policy_for
from stages.policy import Decision, Policy, Sample


class OneCall(Struct, frozen=True):
    """Everybody at once, and again if that fails."""

    def first(self, total: int, history: History) -> Decision:
        """All."""
        return Decision(size=total, reason="all at once", history=history, tries=1)

    def next(self, size: int, sample: Sample, history: History) -> Decision:
        """All that is left."""
        return Decision(size=max(1, sample.waiting), reason="all at once", history=history, tries=1)


class Aimd(Struct, frozen=True, kw_only=True):
    """Additive increase, multiplicative decrease, as congestion control in TCP (RFC 5681): slow start, then steps."""

    least: int = 100
    step: int = 500
    slow: float = 10.0

    def first(self, total: int, history: History) -> Decision:
        """Where it arrived the last time, or the least."""
        return self._at(max(self.least, history.proven // 2), 0, history)

    def next(self, size: int, sample: Sample, history: History) -> Decision:
        """Half after trouble, twice as much until the first one, a step more afterwards."""
        if sample.outcome != "sent" or sample.duration > self.slow:
            return self._at(max(self.least, size // 2), max(self.least, size // 2), history)
        return self._at(size + self.step if history.rung else size * 2, history.rung, history)

    def _at(self, size: int, threshold: int, history: History) -> Decision:
        history = structs.replace(history, rung=threshold, proven=max(history.proven, size))
        return Decision(size=size, reason="", history=history, tries=1)


class Gradient(Struct, frozen=True, kw_only=True):
    """In the manner of Gradient2 of Netflix' concurrency-limits.

    The size follows long-term over present time per recipient, with room of a square root to grow into.
    """

    least: int = 100
    tolerance: float = 1.5
    smoothing: float = 0.2

    def first(self, total: int, history: History) -> Decision:
        """Where it arrived the last time, or a thousand."""
        return self._at(history.proven or 1_000, 0.0, history)

    def next(self, size: int, sample: Sample, history: History) -> Decision:
        """Larger as long as a recipient takes no longer than usual, else as much smaller; half after trouble."""
        usual = history.ceiling / 1e9
        if sample.outcome != "sent":
            return self._at(max(self.least, size // 2), usual, history)
        present = sample.duration / sample.size
        usual = 0.95 * usual + 0.05 * present if usual else present
        gradient = min(1.0, max(0.5, self.tolerance * usual / present))
        wanted = size * gradient + 4 * size**0.5
        return self._at(round(size * (1 - self.smoothing) + wanted * self.smoothing), usual, history)

    def _at(self, size: int, usual: float, history: History) -> Decision:
        history = structs.replace(history, ceiling=round(usual * 1e9), proven=size)
        return Decision(size=max(self.least, size), reason="", history=history, tries=1)


class OriginalLadder(Struct, frozen=True):
    """The ladder without shut rungs: what storycast's is made safe from."""

    ladder: Progressive

    def first(self, total: int, history: History) -> Decision:
        """As the ladder."""
        return self.ladder.first(total, structs.replace(history, shut={}))

    def next(self, size: int, sample: Sample, history: History) -> Decision:
        """As the ladder, and no rung stays shut."""
        decision = self.ladder.next(size, sample, structs.replace(history, shut={}, failures={}))
        return structs.replace(decision, history=structs.replace(decision.history, shut={}, failures={}))


def ladder(*sizes: int) -> Progressive:
    """The ladder with these rungs, or its own."""
    options = SmartSend(strategy="progressive")
    found = policy_for(structs.replace(options, progressive_sequence=sizes) if sizes else options)
    assert isinstance(found, Progressive)
    return found


class StartsHigh(Struct, frozen=True):
    """The ladder that starts with 5,000 where nothing is proven."""

    ladder: Progressive

    def first(self, total: int, history: History) -> Decision:
        """As the ladder with 5,000 proven."""
        return self.ladder.first(total, history if history.proven else structs.replace(history, proven=5_000))

    def next(self, size: int, sample: Sample, history: History) -> Decision:
        """As the ladder."""
        return self.ladder.next(size, sample, history)


def tiered() -> Policy:
    """The static tiers."""
    return policy_for(SmartSend(strategy="tiered"))
