"""What a session has learned of the far side's limits: how often calls, or how many recipients a second, are accepted.

The far side refuses a call when one of its token buckets is short, and says neither which nor how short. Between two
refusals a bucket goes from empty to empty, so what was accepted meanwhile is what it gave: that rate is learned, and
held to with some room. Both explanations, calls or recipients, are followed side by side. For batches of one size they
say the same; for others the one that asks for the shorter wait is tried, and the next answer shows if it was wrong.
"""

from __future__ import annotations

from math import inf

from msgspec import Struct

ROOM = 1.05
"""So many times the learned time is left between calls: 5% under what is accepted."""
EAGER = 0.9
"""While few calls went through between the two, the time shrinks so much with each one that it held back."""
STEADY = 0.999
"""And otherwise only so much: a limit that was raised is found again in time."""
FEW, MANY, ENOUGH = 2, 4, 12
"""Calls between refusals that tell the rate at all, that tell it well, and above which older ones fade."""


class Pace(Struct, frozen=True, kw_only=True):
    """Seconds the far side wants for a call, and for a recipient of it; 0 where no limit was met.

    `sure`: many calls went through between the two refusals that it was learned from.
    """

    per_call: float = 0.0
    per_recipient: float = 0.0
    sure: bool = False


NO_LIMIT = Pace()


def seconds_apart(pace: Pace, size: int) -> float:
    """How far apart calls to `size` recipients are to start: the shorter of the two explanations, 0 for no limit."""
    waits = [pace.per_call, pace.per_recipient * size]
    return min(waits) if all(waits) else max(waits)


class Cadence:
    """Learns a session's `Pace`. Times are seconds on any clock that does not go back, those of calls' starts."""

    def __init__(self, pace: Pace = NO_LIMIT) -> None:
        self.pace = pace
        self._since: float | None = None
        self._calls = self._recipients = 0.0
        self._last: float | None = None
        self._before_last: float | None = None
        self._refused_last = False

    def resume(self, pace: Pace) -> None:
        """Begin with what was learned before; what this one has learned by itself goes before that."""
        if self.pace == NO_LIMIT:
            self.pace = pace

    def wait_for(self, size: int) -> float:
        """Seconds between the start of the last accepted call and one for `size` recipients."""
        return seconds_apart(self.pace, size)

    def ready_at(self, size: int) -> float:
        """When a call for `size` recipients may start: long ago, where there was none before."""
        return -inf if self._last is None else self._last + self.wait_for(size)

    def started(self, now: float, size: int) -> None:
        """A call starts now; it counts as accepted until it turns out not to be."""
        self._before_last, self._last = self._last, now
        self._calls += 1
        self._recipients += size

    def accepted(self, *, held_back: bool) -> None:
        """A call went through; `held_back` if it was this pace that it had to wait for."""
        self._refused_last = False
        if held_back:
            self._grow()

    def refused(self, began: float, size: int) -> None:
        """A call that began then was refused: the bucket is empty."""
        if self._last == began:
            self._last = self._before_last
        if self._since is None:
            self._since, self._calls, self._recipients = began, 0.0, 0.0
            self._refused_last = True
            return
        self._calls = max(0.0, self._calls - 1)
        self._recipients = max(0.0, self._recipients - size)
        if self._calls >= FEW and not self._refused_last:
            spell = (began - self._since) * ROOM
            self.pace = Pace(
                per_call=spell / self._calls, per_recipient=spell / self._recipients, sure=self._calls >= MANY
            )
        if self._calls >= ENOUGH:
            self._fade(began)
        self._refused_last = True

    def _fade(self, now: float) -> None:
        """What was long ago weighs half as much."""
        assert self._since is not None
        self._since += (now - self._since) / 2
        self._calls, self._recipients = self._calls / 2, self._recipients / 2

    def _grow(self) -> None:
        factor = STEADY if self.pace.sure else EAGER
        self.pace = Pace(
            per_call=self.pace.per_call * factor,
            per_recipient=self.pace.per_recipient * factor,
            sure=self.pace.sure,
        )
