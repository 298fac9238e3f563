"""`progressive`: climbs a ladder of sizes while batches go well, and steps down when they do not.

- Sent faster than `fast`: two rungs up. In between: one up. Slower than `slow`: one down. Failed or timed
  out: two down.
- A rung that was slow, timed out, or failed twice in a row is shut for 5 good batches, after each new
  setback for twice as many, 40 at most. What is above a shut rung is out of reach too.
- No growth after a batch whose sent share is below `min_success_rate`, or that took more than one call.
- A good batch of at least 95% of its rung proves the rung. Without history a story starts on the lowest rung,
  with history on the largest one not above the proven size. After a failure or a time-out only what is proven
  later in the same story counts, and until then no more than the rung that was stepped down to.

The rung is what is tracked, never the size of a batch: a short last batch does not pull the session down. Several
batches may be out at once; each speaks for the rung it was planned on, which may no longer be the present one.
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
        rung = self._reachable(self._rung(history.proven), history)
        started = structs.replace(history, rung=rung, setback=False, proven_since=0)
        known = f"{history.proven:,} is proven" if history.proven else "nothing is proven yet"
        return Decision(
            size=self.ladder[rung], reason=f"{known}: start with {self.ladder[rung]:,}", history=started
        )

    def next(self, size: int, sample: Sample, history: History) -> Decision:
        """Up, down or the same, by how the batch that was planned with `size` went."""
        planned = self._rung(size)
        if sample.outcome != "sent":
            return self._after_failure(planned, sample, history)
        if not sample.whole:
            return self._stay("it took several calls, which says nothing of the size", history)
        if sample.duration > self.slow:
            return self._after_slow(planned, sample, history)
        if sample.share < self.min_success_rate:
            return self._stay(f"only {sample.share:.0%} were sent", history)
        return self._after_success(planned, sample, history)

    def _after_failure(self, planned: int, sample: Sample, history: History) -> Decision:
        size, timed_out = self.ladder[planned], sample.outcome == "timed-out"
        failures = history.failures.get(size, 0) + 1
        below = max(0, planned - 2)
        noted = structs.replace(
            history,
            setback=True,
            proven=min(history.proven, self.ladder[below]),
            proven_since=0,
            failures={**history.failures, size: failures},
        )
        if timed_out or failures >= FAILURES_TO_SHUT:
            noted = _shut(noted, size)
        what = f"timed out after {sample.duration:.1f} s" if timed_out else "failed"
        return self._down(below, f"{sample.size:,} {what}", noted)

    def _after_slow(self, planned: int, sample: Sample, history: History) -> Decision:
        shut = _shut(_cleared(history, self.ladder[planned]), self.ladder[planned])
        return self._down(planned - 1, f"{_took(sample)}: slow", shut)

    def _after_success(self, planned: int, sample: Sample, history: History) -> Decision:
        size, present = self.ladder[planned], self._present(history)
        proves = sample.size >= PROOF * size
        history = _aged(_cleared(history, size))
        if proves:
            history = _proven(history, size)
        if planned != present:
            why = f"{_took(sample)}, but it was planned before the last decision"
            return self._go(present, why, history, learned=proves)
        is_fast = sample.duration < self.fast
        pace = ": fast" if is_fast else ""
        return self._go(present + (2 if is_fast else 1), f"{_took(sample)}{pace}", history, learned=proves)

    def _stay(self, why: str, history: History) -> Decision:
        return self._go(self._present(history), why, history, learned=False)

    def _down(self, wanted: int, why: str, history: History) -> Decision:
        """To `wanted`, unless the session stands lower already."""
        return self._go(min(wanted, self._present(history)), why, history, learned=True)

    def _go(self, wanted: int, why: str, history: History, *, learned: bool) -> Decision:
        before, target = self._present(history), max(0, min(wanted, len(self.ladder) - 1))
        reached = self._reachable(target, history)
        note = " (above it is shut after a setback)" if reached < target else ""
        reason = f"{why}: {_direction(self.ladder[before], self.ladder[reached])}{note}"
        history = structs.replace(history, rung=reached)
        return Decision(size=self.ladder[reached], reason=reason, history=history, learned=learned)

    def _rung(self, size: int) -> int:
        """The largest rung not above `size`, or the lowest."""
        return max(0, bisect_right(self.ladder, size) - 1)

    def _present(self, history: History) -> int:
        return max(0, min(history.rung, len(self.ladder) - 1))

    def _reachable(self, target: int, history: History) -> int:
        shut = [size for size, door in history.shut.items() if door.left]
        below = bisect_right(self.ladder, min(shut) - 1) - 1 if shut else target
        return max(0, min(target, below))


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


def _cleared(history: History, size: int) -> History:
    failures = {other: count for other, count in history.failures.items() if other != size}
    return structs.replace(history, failures=failures)


def _aged(history: History) -> History:
    """One more good batch: every shut rung is one nearer to being open again."""
    shut = {size: structs.replace(door, left=max(0, door.left - 1)) for size, door in history.shut.items()}
    return structs.replace(history, shut=shut)


def _shut(history: History, size: int) -> History:
    """Shut the rung of `size`; one that is shut already stays so, for batches out together are one setback."""
    before = history.shut.get(size)
    if before is not None and before.left:
        return history
    span = min(SHUT_AT_MOST, before.span * 2) if before else SHUT_FOR
    return structs.replace(history, shut={**history.shut, size: Shut(left=span, span=span)})
