"""The pacer: lets the engine calls of one session start when it is their turn, on the event loop's clock."""

from __future__ import annotations

import anyio
from msgspec import Struct

from stages.cadence import Pace
from stages.turns import Random, Turn, Turns


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


class Pacer:
    """The turns of one session. Calls that wait are served in the order they came; cancelling one is safe."""

    def __init__(self, rate: float, *, random: Random) -> None:
        self._turns = Turns(rate, random=random)
        self._turn = anyio.Lock(fast_acquire=True)
        self._stopped = anyio.Event()
        self._calls = 0
        self._waited = 0.0

    @property
    def gap(self) -> float:
        """Seconds that refusals keep between calls at present; 0 in good times."""
        return self._turns.gap

    @property
    def pace(self) -> Pace:
        """What was learned of the far side's limits."""
        return self._turns.pace

    def resume(self, pace: Pace) -> None:
        """Begin with what the session learned of the far side's limits in another time."""
        self._turns.resume(pace)

    def set_rate(self, rate: float) -> None:
        """At most `rate` calls a second from now on."""
        self._turns.set_rate(rate, anyio.current_time())

    async def turn(self, pause: float, size: int = 1) -> Turn:
        """Wait until a call for `size` recipients may start, at least `pause` seconds after the end of the last one.

        Returns at once when the pacer is stopped: look whether it was, for then no call may start.
        """
        began = anyio.current_time()
        async with self._turn:
            # Asked anew after each wait: a refusal may have moved the time meanwhile.
            while (ready := self._turns.ready_at(anyio.current_time(), pause, size)) > anyio.current_time():
                with anyio.CancelScope(deadline=ready):
                    await self._stopped.wait()
                    return Turn(anyio.current_time(), size, held_back=False)
            turn = self._turns.take(anyio.current_time(), size)
        self._calls += 1
        self._waited += anyio.current_time() - began
        return turn

    def turn_now(self, pause: float, size: int = 1) -> Turn | None:
        """As `turn`, if a call may start this very moment and none waits; else None, and nothing has happened."""
        now = anyio.current_time()
        if self._turn.locked() or self._stopped.is_set() or self._turns.ready_at(now, pause, size) > now:
            return None
        self._calls += 1
        return self._turns.take(now, size)

    def ended(self) -> None:
        """A call has come back, whatever it brought."""
        self._turns.ended(anyio.current_time())

    def succeeded(self, turn: Turn) -> None:
        """The call of `turn` went through."""
        self._turns.succeeded(turn)

    def refused(self, turn: Turn, retry_after: float | None) -> float:
        """The call of `turn` was refused; returns the seconds that the session now waits."""
        return self._turns.refused(turn, anyio.current_time(), retry_after)

    def pause(self, seconds: float) -> None:
        """No call starts within the next `seconds`."""
        self._turns.hold(anyio.current_time(), seconds)

    def stop(self) -> None:
        """No call is to start any more: whoever waits for a turn stops waiting."""
        self._stopped.set()

    def statistics(self) -> PacerStatistics:
        """Counts since the start."""
        return PacerStatistics(self._calls, self._turns.refusals, self._turns.gap, self._waited)
