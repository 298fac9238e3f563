"""Where asyncio code runs: stepped by the bridge for Trio tasks, on the running loop for asyncio tasks.

The NATS client is written for asyncio. Whoever uses it through a `Runner` is written once, and works for tasks of
either kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, NoReturn, ParamSpec, Protocol, TypeVar

import anyio
import anyio.lowlevel
import trio
from anyio.abc import TaskGroup

from transports.bridge import open_bridge
from transports.errors import TransportError

P = ParamSpec("P")
T = TypeVar("T")


class Slot(Protocol[T]):
    """Where one task waits for one value from an asyncio callback."""

    async def get(self) -> T:
        """Wait for the value, or raise the error. Called once; cancelled, it takes nothing."""
        ...

    def put(self, value: T) -> None:
        """Hand the value over, if anybody waits still. Called on the asyncio side, as is `fail`."""
        ...

    def fail(self, error: BaseException) -> None:
        """Hand an error over instead."""
        ...


class Runner(Protocol):
    """Runs asyncio code for the tasks of a program; `open_runner` finds the one that fits."""

    async def call(self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the coroutine function `fn` to its end, and return its result.

        A cancelled call cancels `fn` once, and waits until it has really ended. Raises `TransportError` if asyncio
        code cancelled it.
        """
        ...

    def start(self, fn: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have asyncio run `fn`, which nobody waits for; what it raises ends the block, as `fail` does."""
        ...

    def slot(self) -> Slot[Any]:
        """Where the task that asks can wait for a value from the asyncio side: cheaper than a `call`."""
        ...

    def wake(self) -> None:
        """Have asyncio look around soon: one of its objects was touched from outside."""
        ...

    def fail(self, exc: BaseException) -> None:
        """Raise `exc` in the block of `open_runner`, which ends the block. For asyncio callbacks."""
        ...


class FutureSlot(Generic[T]):
    """The `Slot` of an asyncio task."""

    def __init__(self) -> None:
        self._future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    async def get(self) -> T:
        """See `Slot.get`."""
        return await self._future

    def put(self, value: T) -> None:
        """See `Slot.put`."""
        if not self._future.done():
            self._future.set_result(value)

    def fail(self, error: BaseException) -> None:
        """See `Slot.fail`."""
        if not self._future.done():
            self._future.set_exception(error)


class Direct:
    """The `Runner` of asyncio tasks: no second loop, and nothing to wake. `open_direct` makes one."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self._started: set[asyncio.Task[None]] = set()

    async def call(self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn` in an asyncio task of its own, see `Runner.call`.

        In a task of its own, because anyio cancels what waits in a cancelled scope again and again, also while it
        cleans up, which the NATS client does not expect.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        name = getattr(fn, "__qualname__", type(fn).__name__)
        task = asyncio.get_running_loop().create_task(fn(*args, **kwargs), name=name)
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            await _end(task)
            raise
        if task.cancelled():
            raise TransportError(f"{name} was cancelled on the asyncio side")
        return task.result()

    def start(self, fn: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `fn` in an asyncio task that ends with the block, see `Runner.start`."""
        task = asyncio.get_running_loop().create_task(fn())
        self._started.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._started.remove(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def slot(self) -> FutureSlot[Any]:
        """A slot that is a future, see `Runner.slot`."""
        return FutureSlot()

    async def end_started(self) -> None:
        """Cancel what `start` started and still runs, and wait until it has ended."""
        while self._started:
            task = next(iter(self._started))
            await _end(task)
            self._started.discard(task)

    def wake(self) -> None:
        """Nothing: the loop sees by itself what is touched in its own thread."""

    def fail(self, exc: BaseException) -> None:
        """Raise `exc` in the block of `open_direct`, see `Runner.fail`."""
        self._group.start_soon(_raise, exc)


@asynccontextmanager
async def open_direct() -> AsyncIterator[Direct]:
    """Run asyncio code on the running loop; a failure cancels the block and leaves it in an `ExceptionGroup`."""
    async with anyio.create_task_group() as group:
        direct = Direct(group)
        try:
            yield direct
        finally:
            with anyio.CancelScope(shield=True):
                await direct.end_started()


def open_runner() -> AbstractAsyncContextManager[Runner]:
    """The runner for the task that asks: `open_bridge` on Trio, `open_direct` on asyncio."""
    return open_bridge() if trio.lowlevel.in_trio_task() else open_direct()


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with anyio.CancelScope(shield=True):
        await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()  # heard, and of no interest: the caller is cancelled


async def _raise(exc: BaseException) -> NoReturn:
    raise exc
