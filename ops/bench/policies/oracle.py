"""The oracle: a policy that is told what the others have to find out, and has nothing to learn.

It knows the session's true costs, risks, limits and present condition, though not what chance has in store. Of all
numbers of equal parts, and of all numbers of calls under way, it takes those that are expected to finish soonest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from msgspec import Struct

from stages.history import History
from stages.policy import Decision, Sample
from transports.simulated.conditions import risk_factor, seconds_for
from transports.simulated.instant import Clock
from transports.simulated.profile import Profile
from transports.simulated.world import base_seconds

FINER = 1.05
FINEST = 64
UNSURE_PAUSE = 1.0


class Oracle(Struct):
    """Plays in the world of `profile`, where it is `clock` o'clock, under `gap` seconds between two calls' starts."""

    profile: Profile
    clock: Clock
    largest: int
    width: int
    gap: float
    dead_share: float

    def first(self, total: int, history: History) -> Decision:
        """The best for `total`."""
        return self._best(total, history)

    def next(self, size: int, sample: Sample, history: History) -> Decision:
        """The best for what is left."""
        return self._best(sample.waiting, history)

    def _best(self, waiting: int, history: History) -> Decision:
        size, width = min(
            (self._makespan(parts, math.ceil(waiting / parts), width), math.ceil(waiting / parts), width)
            for parts in self._parts(max(1, waiting))
            for width in range(1, min(self.width, parts) + 1)
        )[1:]
        return Decision(size=max(1, size), reason="", history=history, width=width, tries=1)

    def _parts(self, waiting: int) -> Iterator[int]:
        most = min(self.largest, self.profile.latency.hangs_above or self.largest)
        parts = fewest = math.ceil(waiting / most)
        while parts <= max(FINEST, fewest * FINEST) and parts <= waiting:
            yield parts
            parts = max(parts + 1, int(parts * FINER))

    def _makespan(self, parts: int, size: int, width: int) -> float:
        """Seconds until all of so many equal parts are done."""
        duration, risk = self._call(size, width)
        limits = self.profile.limits
        every = max(
            self.gap,
            1 / limits.calls_per_second if limits.calls_per_second else 0.0,
        )
        calls = parts / (1 - min(risk, 0.99))
        by_time = max(1.0, calls / width) * duration if parts > width else duration / (1 - min(risk, 0.99))
        started = (width - 1) * self.gap if parts > width else (parts - 1) * self.gap
        by_starts = (calls - 1) * self.gap + duration
        by_calls = 0.0
        if limits.calls_per_second:
            by_calls = max(0.0, calls - limits.calls_burst) * every
        by_recipients = 0.0
        if limits.recipients_per_second:
            by_recipients = max(0.0, calls * size - limits.recipients_burst) / limits.recipients_per_second
        return max(by_time + started, by_starts, by_calls + duration, by_recipients)

    def _call(self, size: int, width: int) -> tuple[float, float]:
        """What one call takes, time-outs included, and how likely it is to be in vain."""
        latency, failures, now = self.profile.latency, self.profile.failures, self.clock.now
        work = base_seconds(latency, size) * (1 + latency.concurrency_cost * (width - 1))
        middle = seconds_for(work, self.profile.conditions, now)
        deadline = self.profile.timeout.seconds
        late = _late(deadline / middle, latency.noise)
        stalled = latency.stall_share * min(1.0, max(0.0, (8 - deadline / middle) / 6))
        late = min(1.0, late + stalled)
        hazard = failures.base + ((size / failures.scale) ** 2 if failures.scale else 0.0)
        in_vain = 1 - math.exp(-hazard * risk_factor(self.profile.conditions, now) - self.dead_share * size)
        duration = middle * (1 - late) + (deadline + UNSURE_PAUSE) * late
        return duration * (1 - in_vain / 2), 1 - (1 - in_vain) * (1 - late)


def _late(room: float, noise: float) -> float:
    if not noise:
        return float(room < 1)
    return 0.5 * math.erfc((math.log(room) / noise + noise / 2) / math.sqrt(2))
