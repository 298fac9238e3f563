"""`progressive`: climbs a ladder of sizes while batches go well, and steps down when they do not.

- Sent faster than `fast`: two rungs up. In between: one up. Slower than `slow`: one down. Failed or timed
  out: two down.
- A rung that was slow, timed out, or failed twice in a row is shut for 5 good batches, after each new
  setback for twice as many, 40 at most. What is above a shut rung is out of reach too.
- No growth after a batch whose sent share is below `min_success_rate`, or that took more than one call.
- A good batch of at least 95% of its rung proves the rung. Without history a story starts on the lowest rung, with
  history on the largest one not above the proven size. After a failure or a time-out only what is proven
  later in the same story counts.

The rung is what is tracked, never the size: a short last batch does not pull the session down.
"""

from __future__ import annotations

from bisect import bisect_right

from msgspec import Struct, structs

from stages.history import History, Shut
from stages.policy import Decision, Sample

SHUT_FOR = 5
SHUT_AT_MOST = 40
PROOF = 0.95
FAILURES_TO_SHUT = 2


class Progressive(Struct, frozen=True, kw_only=True):
    """The ladder's sizes in rising order, its thresholds in seconds, and the share that allows growth."""

    ladder: tuple[int, ...]
    fast: float
    slow: float
    min_success_rate: float

    def first(self, total: int, history: History) -> Decision:
        """The largest rung not above the proven size, and the lowest without one."""
        rung = self._reachable(max(0, bisect_right(self.ladder, history.proven) - 1), history)
        started = structs.replace(history, rung=rung, setback=False, proven_since=0)
        known = f"{history.proven:,} is proven" if history.proven else "nothing is proven yet"
        return Decision(
            size=self.ladder[rung], reason=f"{known}: start with {self.ladder[rung]:,}", history=started
        )

    def next(self, size: int, sample: Sample, history: History) -> Decision:
        """Up, down or the same, by how the last batch went."""
        rung = max(0, min(history.rung, len(self.ladder) - 1))
        if sample.outcome == "sent" and size != self.ladder[rung]:
            return self._go(rung, rung, f"{sample.size:,} were planned before the last decision", history)
        if sample.outcome != "sent":
            return self._after_failure(rung, sample, history)
        if not sample.whole:
            return self._go(rung, rung, "it took several calls, which says nothing of the size", history)
        if sample.duration > self.slow:
            shut = _shut(history, rung)
            return self._go(rung, rung - 1, f"{_took(sample)}: slow", _cleared(shut, rung), learned=True)
        return self._after_success(rung, sample, _cleared(_aged(history), rung))

    def _after_failure(self, rung: int, sample: Sample, history: History) -> Decision:
        timed_out = sample.outcome == "timed-out"
        failures = history.failures.get(rung, 0) + 1
        noted = structs.replace(
            history, setback=True, proven=0, proven_since=0, failures={**history.failures, rung: failures}
        )
        if timed_out or failures >= FAILURES_TO_SHUT:
            noted = _shut(noted, rung)
        what = f"timed out after {sample.duration:.1f} s" if timed_out else "failed"
        return self._go(rung, rung - 2, f"{sample.size:,} {what}", noted, learned=True)

    def _after_success(self, rung: int, sample: Sample, history: History) -> Decision:
        if sample.share < self.min_success_rate:
            return self._go(rung, rung, f"only {sample.share:.0%} were sent", history)
        proves = sample.size >= PROOF * self.ladder[rung]
        if proves:
            history = _proven(history, self.ladder[rung])
        steps = 2 if sample.duration < self.fast else 1
        pace = ": fast" if steps == 2 else ""
        return self._go(rung, rung + steps, f"{_took(sample)}{pace}", history, learned=proves)

    def _go(self, rung: int, wanted: int, why: str, history: History, *, learned: bool = False) -> Decision:
        target = max(0, min(wanted, len(self.ladder) - 1))
        reached = self._reachable(target, history)
        note = " (above it is shut after a setback)" if reached < target else ""
        reason = f"{why}: {_direction(self.ladder[rung], self.ladder[reached])}{note}"
        return Decision(
            size=self.ladder[reached],
            reason=reason,
            history=structs.replace(history, rung=reached),
            learned=learned,
        )

    def _reachable(self, target: int, history: History) -> int:
        shut = [rung for rung, door in history.shut.items() if door.left]
        return max(0, min([target, *(rung - 1 for rung in shut)]))


def _proven(history: History, size: int) -> History:
    since = max(history.proven_since, size)
    proven = since if history.setback else max(history.proven, since)
    return structs.replace(history, proven=proven, proven_since=since)


def _took(sample: Sample) -> str:
    return f"{sample.size:,} in {sample.duration:.1f} s"


def _direction(before: int, after: int) -> str:
    if after == before:
        return f"stay at {after:,}"
    return f"{'up' if after > before else 'down'} to {after:,}"


def _cleared(history: History, rung: int) -> History:
    failures = {other: count for other, count in history.failures.items() if other != rung}
    return structs.replace(history, failures=failures)


def _aged(history: History) -> History:
    """One more good batch: every shut rung is one nearer to being open again."""
    shut = {rung: structs.replace(door, left=max(0, door.left - 1)) for rung, door in history.shut.items()}
    return structs.replace(history, shut=shut)


def _shut(history: History, rung: int) -> History:
    before = history.shut.get(rung)
    span = min(SHUT_AT_MOST, before.span * 2) if before else SHUT_FOR
    return structs.replace(history, shut={**history.shut, rung: Shut(left=span, span=span)})
