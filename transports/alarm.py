"""Alarms: how the bridge keeps asyncio's timers in real time, whatever clock Trio runs on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import trio


class Alarm(Protocol):
    """A wait in real time: a scope that ends the wait inside it after `seconds`.

    It cancels the scope, or it calls `ring` (from any thread), which also ends the wait. A ring that
    comes too early only costs an iteration: asyncio looks at its own clock before it fires a timer.
    """

    def __call__(
        self, seconds: float, ring: Callable[[], object]
    ) -> AbstractContextManager[trio.CancelScope]:
        """Set the alarm; leaving the context stops it."""


def trio_alarm(seconds: float, ring: Callable[[], object]) -> AbstractContextManager[trio.CancelScope]:
    """Keep real time by a Trio deadline: right, and cheapest, where Trio's clock is the real one."""
    return trio.move_on_after(seconds)


@contextmanager
def thread_alarm(seconds: float, ring: Callable[[], object]) -> Iterator[trio.CancelScope]:
    """Keep real time by a thread, for runs whose Trio clock is virtual."""
    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    try:
        with trio.CancelScope() as scope:
            yield scope
    finally:
        timer.cancel()
        timer.join()  # at once: cancelled, or ringing; and nothing rings after the loop is closed


def alarm_for(clock: trio.abc.Clock) -> Alarm:
    """The alarm that keeps real time in a run with this `clock`.

    asyncio's timers belong to real sockets and real peers. As deadlines on a virtual clock they
    would be what an autojump jumps to: a keepalive every 20 s would race through hours of virtual
    time while nothing happens. A clock is asked what it is by the one thing every Trio clock must
    answer, how long a wait really takes. (One that runs at the real rate and jumps as well passes
    for real: give `open_bridge` the `thread_alarm` there.)
    """
    hour, tolerance = 3600.0, 60.0
    really = clock.deadline_to_sleep_time(clock.current_time() + hour)
    return trio_alarm if abs(really - hour) < tolerance else thread_alarm
