"""Calls to a hosting process, one at a time, and the answers to them.

A call that nobody waits for any more goes on over there. Its answer is known by its number and completes no other
call, and the next call waits for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count

import trio
from msgspec import Struct

from stages.errors import OutcomeUnknown, Unavailable
from transports.neonize.frames import Answer, ListAudience, Post
from transports.neonize.process import Hosted


class _Call(Struct, eq=False):
    number: int
    began: float
    ended: trio.Event
    answer: Answer | None = None
    unanswered: str = ""


class Link:
    """The calls of one hosting process. `run` sends them; `answered` and `break_off` are for whoever reads."""

    def __init__(self, hosted: Hosted) -> None:
        self._hosted = hosted
        self._numbers = count(1)
        self._turn = trio.Semaphore(1)
        self._current: _Call | None = None
        self._broken: str | None = None
        self._orders, self._outbox = trio.open_memory_channel[Post | ListAudience](1)

    async def run(self) -> None:
        """Send what is asked, until cancelled."""
        async for order in self._outbox:
            try:
                await self._hosted.tell(order)
            except trio.BrokenResourceError:
                return  # it has died, and whoever reads says so

    async def ask(
        self, make: Callable[[int], Post | ListAudience], timeout: float, begun_by: float = math.inf
    ) -> Answer:
        """Send the order that `make` makes of a number, and wait for its answer.

        Raises `Unavailable` where it was not sent: the process is gone, or still busy with an earlier call after
        `timeout` seconds or at `begun_by` (on Trio's clock); if that call has had its own `timeout` seconds, the
        process is ended. Raises `OutcomeUnknown` where it was, and the process died or did not answer within `timeout`
        seconds.
        """
        await self._wait_for_turn(timeout, begun_by)
        if self._broken is not None:
            self._turn.release()
            raise Unavailable(self._broken)
        call = self._current = _Call(next(self._numbers), trio.current_time(), trio.Event())
        self._orders.send_nowait(make(call.number))
        with trio.move_on_after(timeout):
            await call.ended.wait()
        if call.answer is None:
            raise OutcomeUnknown(call.unanswered or f"the client did not answer within {timeout:g} s")
        return call.answer

    def answered(self, answer: Answer) -> None:
        """An answer came."""
        if self._current and self._current.number == answer.call:
            self._current.answer = answer
            self._end_current()

    def break_off(self, reason: str) -> None:
        """The process is gone: no answer comes any more."""
        self._broken = reason
        if self._current:
            self._current.unanswered = reason
            self._end_current()

    def _end_current(self) -> None:
        assert self._current is not None
        self._current.ended.set()
        self._current = None
        self._turn.release()

    async def _wait_for_turn(self, timeout: float, begun_by: float) -> None:
        with trio.move_on_at(min(trio.current_time() + timeout, begun_by)) as waiting:
            await self._turn.acquire()
        if not waiting.cancelled_caught:
            return
        if self._current and self._current.began + timeout <= trio.current_time():
            self._hosted.kill()  # whoever made that call has given it up
            raise Unavailable("the call before this one has not ended: the client is started again")
        raise Unavailable("the call before this one has not ended yet")
