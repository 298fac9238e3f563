"""The oracle: a policy that is told what the others have to find out, and has nothing to learn.

It knows the session's true costs, risks, limits and present condition, though not what chance has in store. Of all
numbers of equal parts, and of all numbers of calls under way, it takes those that are expected to finish soonest.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, erfc, exp, log, sqrt
from typing import Final

from msgspec import Struct

from stages.history import History
from stages.policy import Decision, Sample
from transports.simulated.conditions import risk_factor, seconds_for
from transports.simulated.instant import UNSURE_PAUSE, Clock
from transports.simulated.profile import Profile
from transports.simulated.world import base_seconds

FINER: Final = 1.05
"""Each number of parts that is looked at is so many times the last one,"""
FINEST: Final = 64
"""up to so many times the fewest."""
HOPELESS: Final = 0.99
"""No call is taken to be in vain more often."""


class Oracle(Struct):
    """Plays in the world of `profile`, where it is `clock` o'clock, with `gap` seconds between two calls' starts."""

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
        _, size, width = min(self._ways(max(1, waiting)))
        return Decision(size=size, reason="", history=history, width=width, tries=1)

    def _ways(self, waiting: int) -> Iterator[tuple[float, int, int]]:
        """Every way to go on: how long it takes, the size and the calls under way."""
        risk = risk_factor(self.profile.conditions, self.clock.now)
        for parts in self._parts(waiting):
            size = ceil(waiting / parts)
            goes_through = self._goes_through(size, risk)
            for width in range(1, min(self.width, parts) + 1):
                yield self._makespan(parts, size, width, goes_through), size, width

    def _parts(self, waiting: int) -> Iterator[int]:
        most = min(self.largest, self.profile.latency.hangs_above or self.largest)
        parts = fewest = ceil(waiting / most)
        while parts <= min(waiting, fewest * FINEST):
            yield parts
            parts = max(parts + 1, int(parts * FINER))

    def _makespan(self, parts: int, size: int, width: int, goes_through: float) -> float:
        """Seconds until all of so many equal parts are done."""
        duration, in_time = self._call(size, width, goes_through)
        good = max(1 - HOPELESS, goes_through * in_time)
        calls, gap = parts / good, self.gap
        if parts > width:
            by_time = max(1.0, calls / width) * duration + (width - 1) * gap
        else:
            by_time = duration / good + (parts - 1) * gap
        return max(by_time, (calls - 1) * gap + duration, self._by_limits(calls, size, duration))

    def _by_limits(self, calls: float, size: int, duration: float) -> float:
        """Seconds that the far side's limits ask for."""
        limits, asked = self.profile.limits, 0.0
        if limits.calls_per_second:
            every = max(self.gap, 1 / limits.calls_per_second)
            asked = max(0.0, calls - limits.calls_burst) * every + duration
        if limits.recipients_per_second:
            beyond = max(0.0, calls * size - limits.recipients_burst)
            asked = max(asked, beyond / limits.recipients_per_second)
        return asked

    def _goes_through(self, size: int, risk: float) -> float:
        """The share of calls that do not fail."""
        failures = self.profile.failures
        hazard = failures.base + ((size / failures.scale) ** 2 if failures.scale else 0.0)
        return exp(-hazard * risk - self.dead_share * size)

    def _call(self, size: int, width: int, goes_through: float) -> tuple[float, float]:
        """What one call takes, time-outs included, and the share of calls that do not time out."""
        latency, deadline = self.profile.latency, self.profile.timeout.seconds
        work = base_seconds(latency, size) * (1 + latency.concurrency_cost * (width - 1))
        middle = seconds_for(work, self.profile.conditions, self.clock.now)
        room = deadline / middle
        # A stall takes 2 to 8 times as long.
        stalled = latency.stall_share * min(1.0, max(0.0, (8 - room) / 6))
        late = min(1.0, _late(room, latency.noise) + stalled)
        duration = middle * (1 - late) + (deadline + UNSURE_PAUSE) * late
        return duration * (1 + goes_through) / 2, 1 - late


def _late(room: float, noise: float) -> float:
    """The share of calls that take too long, where `room` times what they should take is allowed."""
    if not noise:
        return float(room < 1)
    return 0.5 * erfc((log(room) / noise + noise / 2) / sqrt(2))
