"""The turns of one session as a function of time: when its next engine call may start, by a clock that is passed in.

Four things hold it back: a token bucket (calls a second), the pause between batches, what the far side said, and
what was learned of its limits. After a refusal the session waits 1 s doubling to 10 s with jitter, or as long as the
server asks; that wait then stays as the gap between calls and is halved by every call that goes through, so that the
rate comes back in steps and never at once.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from stages.bucket import TokenBucket
from stages.cadence import Cadence, Pace

FIRST_WAIT = 1.0
LONGEST_WAIT = 10.0
LONGEST_RETRY_AFTER = 900.0
"""No more seconds are waited in one go, whatever the server asks for."""
JITTER = 0.1
SMALLEST_GAP = 0.05
MEANWHILE = 0.05
"""A call that starts within so many seconds of the time it waited for waited for that."""

Random = Callable[[], float]
"""A number in [0, 1), like `random.random`."""


def backoff(failures: int, random: Random) -> float:
    """Seconds to wait after the `failures`-th failure in a row: 1, 2, 4, 8, 10, 10..., each within 10%."""
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(failures - 1, 10))
    return float(wait * (1 + JITTER * (2 * random() - 1)))


class Turn(Struct, frozen=True):
    """A call that may start: when, for how many recipients, and whether a learned limit had held it back till then."""

    at: float
    size: int = 1
    held_back: bool = False


class Turns:
    """Says when a call may start, and hears how calls went. Times are seconds, and never go back."""

    def __init__(self, rate: float, *, random: Random) -> None:
        self._bucket = TokenBucket(rate)
        self._cadence = Cadence()
        self._random = random
        self._not_before = 0.0
        self._last_end: float | None = None
        self._refused_in_a_row = 0
        self.gap = 0.0
        """Seconds that refusals keep between calls at present; 0 in good times."""
        self.refusals = 0

    @property
    def pace(self) -> Pace:
        """What was learned of the far side's limits."""
        return self._cadence.pace

    def resume(self, pace: Pace) -> None:
        """Begin with what was learned in another time."""
        self._cadence.resume(pace)

    def set_rate(self, rate: float, now: float) -> None:
        """At most `rate` calls a second from now on."""
        if rate != self._bucket.rate:
            self._bucket.set_rate(rate, now)

    def ready_at(self, now: float, pause: float, size: int = 1) -> float:
        """When a call for `size` recipients may start, at least `pause` seconds after the end of the last one."""
        after_last = 0.0 if self._last_end is None else self._last_end + max(pause, self.gap)
        return max(self._bucket.ready_at(now), self._not_before, after_last, self._cadence.ready_at(size))

    def take(self, now: float, size: int = 1) -> Turn:
        """A call starts now."""
        self._bucket.take(now)
        held_back = now - self._cadence.ready_at(size) < MEANWHILE
        self._cadence.started(now, size)
        return Turn(now, size, held_back=held_back)

    def ended(self, now: float) -> None:
        """A call has come back, whatever it brought."""
        self._last_end = now

    def succeeded(self, turn: Turn) -> None:
        """The call of `turn` went through: the gap comes down by a step."""
        self._refused_in_a_row = 0
        self.gap = self.gap / 2 if self.gap / 2 >= SMALLEST_GAP else 0.0
        self._cadence.accepted(held_back=turn.held_back)

    def refused(self, turn: Turn, now: float, retry_after: float | None) -> float:
        """The call of `turn` was refused now; returns the seconds that the session waits."""
        self.refusals += 1
        self._refused_in_a_row += 1
        self._cadence.refused(turn.at, turn.size)
        wait = backoff(self._refused_in_a_row, self._random)
        if retry_after is not None and retry_after > wait:  # never for NaN
            wait = min(retry_after, LONGEST_RETRY_AFTER) * (1 + JITTER * self._random())
        self.gap = max(self.gap, min(wait, LONGEST_WAIT))
        self.hold(now, wait)
        return wait

    def hold(self, now: float, seconds: float) -> None:
        """No call starts within the next `seconds`."""
        self._not_before = max(self._not_before, now + seconds)
