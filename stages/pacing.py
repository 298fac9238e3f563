"""When a session's next engine call may start.

Three things hold it back: a token bucket (calls a second), the pause between batches, and what the far side
said. After a refusal the session waits 1 s doubling to 10 s with jitter, or as long as the server asks; that wait
then stays as the gap between calls and is halved by every call that goes through, so that the rate comes back in
steps and never at once.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
from msgspec import Struct

from stages.bucket import TokenBucket

FIRST_WAIT = 1.0
LONGEST_WAIT = 10.0
LONGEST_RETRY_AFTER = 900.0
"""No more seconds are waited in one go, whatever the server asks for."""
JITTER = 0.1
SMALLEST_GAP = 0.05

Random = Callable[[], float]
"""A number in [0, 1), like `random.random`."""


class PacerStatistics(Struct, frozen=True):
    """What a pacer has seen."""

    calls: int
    """Calls that were let through."""
    refusals: int
    """Calls that the far side refused."""
    gap: float
    """Seconds that refusals keep between calls at present."""
    waited: float
    """Seconds that calls spent waiting for their turn."""


def backoff(failures: int, random: Random) -> float:
    """Seconds to wait after the `failures`-th failure in a row: 1, 2, 4, 8, 10, 10..., each within 10%."""
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(failures - 1, 10))
    return float(wait * (1 + JITTER * (2 * random() - 1)))


class Pacer:
    """The turns of one session. Calls that wait are served in the order they came; cancelling one is safe."""

    def __init__(self, rate: float, *, random: Random) -> None:
        self._bucket = TokenBucket(rate)
        self._random = random
        self._turn = anyio.Lock()
        self._stopped = anyio.Event()
        self._not_before = 0.0
        self._last_end: float | None = None
        self._refused_in_a_row = 0
        self._gap = 0.0
        self._calls = self._refusals = 0
        self._waited = 0.0

    @property
    def gap(self) -> float:
        """Seconds that refusals keep between calls at present; 0 in good times."""
        return self._gap

    def set_rate(self, rate: float) -> None:
        """At most `rate` calls a second from now on."""
        if rate != self._bucket.rate:
            self._bucket.set_rate(rate, anyio.current_time())

    async def turn(self, pause: float) -> None:
        """Wait until a call may start, at least `pause` seconds after the end of the last one.

        Returns at once when the pacer is stopped: look whether it was, for then no call may start.
        """
        began = anyio.current_time()
        async with self._turn:
            # Asked anew after each wait: a refusal may have moved the time meanwhile.
            while (ready := self._ready_at(anyio.current_time(), pause)) > anyio.current_time():
                with anyio.CancelScope(deadline=ready):
                    await self._stopped.wait()
                    return
            self._bucket.take(anyio.current_time())
        self._calls += 1
        self._waited += anyio.current_time() - began

    def ended(self) -> None:
        """A call has come back, whatever it brought."""
        self._last_end = anyio.current_time()

    def succeeded(self) -> None:
        """A call went through: the gap comes down by a step."""
        self._refused_in_a_row = 0
        self._gap = self._gap / 2 if self._gap / 2 >= SMALLEST_GAP else 0.0

    def refused(self, retry_after: float | None) -> float:
        """A call was refused; returns the seconds that the session now waits."""
        self._refusals += 1
        self._refused_in_a_row += 1
        wait = backoff(self._refused_in_a_row, self._random)
        if retry_after is not None and retry_after > wait:  # never for NaN
            wait = min(retry_after, LONGEST_RETRY_AFTER) * (1 + JITTER * self._random())
        self._gap = max(self._gap, min(wait, LONGEST_WAIT))
        self.pause(wait)
        return wait

    def pause(self, seconds: float) -> None:
        """No call starts within the next `seconds`."""
        self._not_before = max(self._not_before, anyio.current_time() + seconds)

    def stop(self) -> None:
        """No call is to start any more: whoever waits for a turn stops waiting."""
        self._stopped.set()

    def statistics(self) -> PacerStatistics:
        """Counts since the start."""
        return PacerStatistics(self._calls, self._refusals, self._gap, self._waited)

    def _ready_at(self, now: float, pause: float) -> float:
        after_last = 0.0 if self._last_end is None else self._last_end + max(pause, self._gap)
        return max(self._bucket.ready_at(now), self._not_before, after_last)
