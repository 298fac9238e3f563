"""An asyncio event loop that a Trio task steps, in Trio's own thread.

The NATS client is written for asyncio, the worker runs on Trio. The bridge is a stock asyncio
loop whose selector never blocks: Trio waits for the loop's file descriptors and timers in its
place, and runs an iteration whenever there is something to do. There is no second thread, so
asyncio callbacks may touch Trio objects (`trio.Event.set`, `send_nowait`) as they are, and Trio
tasks may touch asyncio objects if they call `Bridge.wake` afterwards.

    async with open_bridge() as bridge:
        nc = await bridge.call(nats.connect, "nats://127.0.0.1:4222")
        await bridge.call(nc.publish, "greetings", b"hello")
        await bridge.call(nc.close)

An asyncio library that asks which async library is running (sniffio) is told "trio"; nats-py
never asks.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from typing import Any, Final, Generic, NoReturn, ParamSpec, TypeVar

import msgspec
import trio
from outcome import Error, Outcome, Value
from trio.lowlevel import Abort, enable_ki_protection

from transports.alarm import Alarm, alarm_for
from transports.errors import TransportError

P = ParamSpec("P")
T = TypeVar("T")

CLOSE_TIMEOUT: Final = 5.0
"""Seconds of real time that leftover asyncio tasks get to end once they are cancelled."""

_BURST: Final = 4  # asyncio iterations in one Trio tick; measured: fewer cost throughput, more gain none
_PATIENCE: Final = 0.001
_LONGEST_WAIT: Final = 24 * 3600.0  # asyncio's own limit for one wait


class BridgeStatistics(msgspec.Struct, frozen=True):
    """What a bridge has done so far."""

    ticks: int
    """Iterations of the asyncio loop."""
    calls: int
    """Calls ever started."""
    pending: int
    """Calls that have not ended yet."""


class _Selector(selectors.DefaultSelector):
    """Polls where asyncio would block, and ends `run_forever` after each iteration."""

    stop: Callable[[], None]
    wait = _LONGEST_WAIT
    idle = False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        self.wait = _LONGEST_WAIT if timeout is None else timeout
        self.idle = not events and self.wait > 0
        # A loop told to stop before its iteration polls with a timeout of 0, and how long it may
        # sleep would be lost; told in its midst, it has said so and still ends after this one.
        self.stop()
        return events


class _Call(Generic[T]):
    """One asyncio task that one Trio task waits for."""

    def __init__(self, bridge: Bridge, task: asyncio.Task[T]) -> None:
        self.bridge = bridge
        self.task = task
        self.caller = trio.lowlevel.current_task()
        self.raise_cancel: Callable[[], NoReturn] | None = None
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[T]) -> None:
        trio.lowlevel.reschedule(self.caller)

    def _abort(self, raise_cancel: Callable[[], NoReturn]) -> Abort:
        self.raise_cancel = raise_cancel
        self.task.cancel()
        self.bridge.wake()
        return Abort.FAILED  # the asyncio task must really have ended before the caller goes on

    def abandon(self) -> None:
        """Wake the caller although the task goes on: nobody will run it any more."""
        if not self.task.done():
            trio.lowlevel.reschedule(self.caller)

    async def result(self) -> T:
        await trio.lowlevel.wait_task_rescheduled(self._abort)
        if not self.task.done():
            raise TransportError(f"the bridge was closed, and {self.task.get_name()} did not end")
        if not self.task.cancelled():
            return self.task.result()
        if self.raise_cancel is not None:
            self.raise_cancel()
        raise TransportError(f"{self.task.get_name()} was cancelled on the asyncio side")


class TrioSlot(Generic[T]):
    """Where one Trio task waits for one value from an asyncio callback, for which no asyncio task is made.

    Cancelled, the wait ends at once, and what comes later is dropped.
    """

    __slots__ = ("_outcome", "_waiter")

    def __init__(self) -> None:
        self._waiter: trio.lowlevel.Task | None = None
        self._outcome: Outcome[T] | None = None

    async def get(self) -> T:
        """Wait for the value, or raise the error. Called once."""
        if self._outcome is not None:
            await trio.lowlevel.checkpoint()
            return self._outcome.unwrap()
        self._waiter = trio.lowlevel.current_task()
        found: T = await trio.lowlevel.wait_task_rescheduled(self._abort)
        return found

    def put(self, value: T) -> None:
        """Hand the value over, if nothing was yet."""
        self._settle(Value(value))

    def fail(self, error: BaseException) -> None:
        """Hand an error over instead."""
        self._settle(Error(error))

    def _settle(self, outcome: Outcome[T]) -> None:
        if self._outcome is not None:
            return
        self._outcome = outcome
        if self._waiter is not None:
            trio.lowlevel.reschedule(self._waiter, outcome)
            self._waiter = None

    def _abort(self, raise_cancel: Callable[[], NoReturn]) -> Abort:
        self._waiter = None
        return Abort.SUCCEEDED


class Bridge:
    """Runs asyncio code for Trio tasks; `open_bridge` makes one.

    Everything here belongs to the Trio thread, except `fail`.
    """

    def __init__(
        self, loop: asyncio.SelectorEventLoop, selector: _Selector, nursery: trio.Nursery, alarm: Alarm
    ):
        self._loop = loop
        self._selector = selector
        self._nursery = nursery
        self._alarm = alarm
        self._life = trio.CancelScope(shield=True)
        self._parked = trio.CancelScope()
        self._closing: asyncio.Task[None] | None = None
        self._pending: set[_Call[Any]] = set()
        self._started: set[asyncio.Task[None]] = set()
        self._ticks = 0
        self._calls = 0

    @enable_ki_protection
    async def call(self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the coroutine function `fn` on the asyncio side to its end, and return its result.

        Its exceptions come through with their traceback. On cancellation (Ctrl-C included) its
        asyncio task is cancelled, and the call waits until that has really ended: then it raises
        `trio.Cancelled`; if the task ended with a result or an error all the same, that is what the
        caller gets, and Trio cancels at the next checkpoint. A coroutine that resists cancellation
        thus holds its caller: give it a deadline of its own.

        Raises `TransportError` if the bridge is closed, or if asyncio code cancelled the task.
        """
        self._check_callable()
        name = getattr(fn, "__qualname__", type(fn).__name__)
        call = _Call(self, self._loop.create_task(fn(*args, **kwargs), name=name))
        self._pending.add(call)
        self._calls += 1
        self.wake()
        try:
            return await call.result()
        finally:
            self._pending.remove(call)

    def start(self, fn: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `fn` on the asyncio side; nobody waits for it, and what it raises leaves the block.

        The end of the block cancels it. Raises `TransportError` if the bridge is closed.
        """
        if self._closing is not None:
            raise TransportError("the bridge is closed")
        task = self._loop.create_task(fn(), name=getattr(fn, "__qualname__", None))
        self._started.add(task)  # asyncio itself only has a weak reference to it
        task.add_done_callback(self._ended)
        self.wake()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._started.remove(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def slot(self) -> TrioSlot[Any]:
        """Where the Trio task that asks can wait for a value from an asyncio callback."""
        return TrioSlot()

    def wake(self) -> None:
        """Have the loop look around soon.

        For Trio tasks that touched an asyncio object by themselves: set an `asyncio.Event`,
        resolved a future. Never waits.
        """
        self._parked.cancel()

    def fail(self, exc: BaseException) -> None:
        """Raise `exc` in the block of `open_bridge`, which ends the block.

        For asyncio callbacks that find out that going on is pointless; may be called from any
        thread. Exceptions of asyncio callbacks, and of asyncio tasks nobody awaits, come here by
        themselves. Raises `RuntimeError` once the bridge is closed.
        """
        self._loop.call_soon_threadsafe(self._nursery.start_soon, _raise, exc)

    def statistics(self) -> BridgeStatistics:
        """Counters of this moment."""
        return BridgeStatistics(ticks=self._ticks, calls=self._calls, pending=len(self._pending))

    def _check_callable(self) -> None:
        if self._closing is not None:
            raise TransportError("the bridge is closed")
        if self._loop.is_running():
            raise RuntimeError("Bridge.call is for Trio tasks; asyncio code awaits the coroutine itself")

    @enable_ki_protection
    async def _drive(self) -> None:
        # Shielded: whoever is cancelled still needs asyncio for a last drain or close. It ends when
        # the block has ended, and what was left on the asyncio side has too.
        with self._life:
            while True:
                if self._runs_dry():
                    await self._park()
                else:
                    await trio.lowlevel.checkpoint()
                await self._let_trio_finish()

    async def _let_trio_finish(self) -> None:
        """Wait while Trio tasks have something to do, `_PATIENCE` at most: what they publish goes out in one write.

        A write is a system call that wakes the server, and costs as much as ten messages in it.
        """
        until = time.perf_counter() + _PATIENCE
        while trio.lowlevel.current_statistics().tasks_runnable and time.perf_counter() < until:
            await trio.lowlevel.checkpoint()

    def _runs_dry(self) -> bool:
        """Run a few iterations; say whether the loop now has to wait."""
        for _ in range(_BURST):
            self._tick()
            if self._selector.idle:
                return True
        return False

    def _tick(self) -> None:
        self._ticks += 1
        try:
            self._loop.run_forever()
        except BaseException as exc:
            # asyncio lets only SystemExit and KeyboardInterrupt out of a callback; the program shall
            # end with them, but in good order, for which the loop must go on.
            self.fail(exc)

    async def _park(self) -> None:
        with self._alarm(self._selector.wait, self._ring) as self._parked:
            await trio.lowlevel.wait_readable(self._selector.fileno())

    def _ring(self) -> None:
        self._loop.call_soon_threadsafe(self.wake)

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.fail(context.get("exception") or TransportError(f"asyncio reports: {context['message']}"))

    def _close(self) -> None:
        # The driver ends asyncio's side, not the task that leaves the block: that may be the main task,
        # and a second Ctrl-C would interrupt it.
        self._closing = self._loop.create_task(self._end_leftovers(), name="the end of the bridge")
        self._closing.add_done_callback(self._closed)
        self.wake()

    def _closed(self, closing: asyncio.Task[None]) -> None:
        for call in self._pending:
            call.abandon()
        if (exc := closing.exception()) is not None:
            self._nursery.start_soon(_raise, exc)
        self._loop.set_exception_handler(None)  # asyncio's own, which logs: this block is over
        self._life.cancel()

    async def _end_leftovers(self) -> None:
        # The deadline is asyncio's, so that it is real time under a virtual clock too.
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                while leftovers := asyncio.all_tasks() - {self._closing}:
                    await self._end(leftovers)
                await self._loop.shutdown_asyncgens()
        except TimeoutError:
            stuck = sorted(task.get_name() for task in asyncio.all_tasks() - {self._closing})
            raise TransportError(
                f"asyncio did not end within {CLOSE_TIMEOUT:g} s: {', '.join(stuck)}"
            ) from None

    async def _end(self, leftovers: set[asyncio.Task[Any]]) -> None:
        # A call's error goes to its caller, and that of what was started has gone its way.
        unheard = leftovers - {call.task for call in self._pending} - self._started
        for task in leftovers:
            task.cancel()
        await asyncio.wait(leftovers)
        for task in unheard:
            if not task.cancelled() and (exc := task.exception()) is not None:
                self.fail(exc)


async def _raise(exc: BaseException) -> NoReturn:
    raise exc


@asynccontextmanager
@enable_ki_protection
async def open_bridge(*, alarm: Alarm | None = None) -> AsyncIterator[Bridge]:
    """Run an asyncio loop for as long as the block lasts.

    `alarm` keeps the loop's timers; None picks it by the clock of this run (see `alarm_for`).

    A failure on the asyncio side cancels the block and leaves it. As from any nursery, whatever
    leaves the block leaves it in an `ExceptionGroup`. Leaving the block, by cancellation too, first
    cancels the asyncio tasks that are left and awaits them, `CLOSE_TIMEOUT` seconds at most
    (`TransportError` if some do not end), then closes the loop. Until then `Bridge.call` works, also
    in a shielded clean-up inside the cancelled block. Clients that hold sockets are to be closed
    inside the block: a connection is no task.
    """
    selector = _Selector()
    with closing(asyncio.SelectorEventLoop(selector)) as loop:
        selector.stop = loop.stop
        async with trio.open_nursery() as nursery:
            bridge = Bridge(loop, selector, nursery, alarm or alarm_for(trio.lowlevel.current_clock()))
            loop.set_exception_handler(bridge._on_loop_error)
            nursery.start_soon(bridge._drive)
            try:
                yield bridge
            finally:
                bridge._close()
