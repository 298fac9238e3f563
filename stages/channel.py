"""Channels between actors: bounded, with many ends to send by and one to receive by.

As anyio's memory object streams, for which they stand in, but they give the event loop a turn only where there is
something to wait for: a story is handed on some twenty times, and two needless turns each time were half of its cost.
Bounds see to it that nobody runs on for long: who fills a channel waits, and so does who empties one.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from types import TracebackType
from typing import Generic, Self, TypeVar

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from anyio.lowlevel import checkpoint_if_cancelled

T = TypeVar("T")


class _Shared(Generic[T]):
    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.items: deque[T] = deque()
        self.waiting: OrderedDict[anyio.Event, T] = OrderedDict()
        self.arrival: anyio.Event | None = None
        self.senders = 0
        self.receiver_open = True

    def wake(self) -> None:
        if self.arrival is not None:
            self.arrival.set()
            self.arrival = None


class SendEnd(ObjectSendStream[T]):
    """An end to send by. The channel ends when all of them are closed."""

    def __init__(self, shared: _Shared[T]) -> None:
        self._shared = shared
        self._closed = False
        shared.senders += 1

    async def send(self, item: T) -> None:
        """Put `item` in, or wait until there is room. Raises `BrokenResourceError` if nobody receives any more."""
        try:
            self.send_nowait(item)
        except anyio.WouldBlock:
            await self._wait_with(item)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            # Where all of a group are cancelled some have closed their ends already: that is no failure.
            await checkpoint_if_cancelled()
            raise

    def send_nowait(self, item: T) -> None:
        """Put `item` in now. Raises `WouldBlock` if there is no room."""
        shared = self._shared
        if self._closed:
            raise anyio.ClosedResourceError
        if not shared.receiver_open:
            raise anyio.BrokenResourceError
        if len(shared.items) >= shared.bound:
            raise anyio.WouldBlock
        shared.items.append(item)
        if shared.arrival is not None:
            shared.wake()

    async def _wait_with(self, item: T) -> None:
        shared, taken = self._shared, anyio.Event()
        shared.waiting[taken] = item
        try:
            await taken.wait()
        finally:
            left = shared.waiting.pop(taken, None)
        if left is not None:
            raise anyio.BrokenResourceError

    def clone(self) -> SendEnd[T]:
        """A further end of the same channel."""
        if self._closed:
            raise anyio.ClosedResourceError
        return SendEnd(self._shared)

    def close(self) -> None:
        """Send no more by this end."""
        if not self._closed:
            self._closed = True
            self._shared.senders -= 1
            if not self._shared.senders:
                self._shared.wake()

    async def aclose(self) -> None:
        """As `close`."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ReceiveEnd(ObjectReceiveStream[T]):
    """The end to receive by, for one task at a time."""

    def __init__(self, shared: _Shared[T]) -> None:
        self._shared = shared

    async def receive(self) -> T:
        """The next item. Raises `EndOfStream` once all ends to send by are closed and all items received."""
        while True:
            try:
                return self.receive_nowait()
            except anyio.WouldBlock:
                await self._arrival()
            except (anyio.EndOfStream, anyio.ClosedResourceError):
                await checkpoint_if_cancelled()  # as above
                raise

    async def __anext__(self) -> T:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    def receive_nowait(self) -> T:
        """The next item, if there is one now. Raises `WouldBlock`, or what `receive` does."""
        shared = self._shared
        if not shared.receiver_open:
            raise anyio.ClosedResourceError
        if not shared.items:
            if not shared.senders:
                raise anyio.EndOfStream
            raise anyio.WouldBlock
        item = shared.items.popleft()
        if shared.waiting:
            taken, next_item = shared.waiting.popitem(last=False)
            shared.items.append(next_item)
            taken.set()
        return item

    async def _arrival(self) -> None:
        if self._shared.arrival is not None:
            raise anyio.BusyResourceError("receiving from")
        arrival = self._shared.arrival = anyio.Event()
        try:
            await arrival.wait()
        finally:
            if self._shared.arrival is arrival:
                self._shared.arrival = None

    def close(self) -> None:
        """Receive no more; whoever waits to send fails."""
        self._shared.receiver_open = False
        for taken in self._shared.waiting:
            taken.set()
        self._shared.wake()

    async def aclose(self) -> None:
        """As `close`."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_channel(bound: int) -> tuple[SendEnd[T], ReceiveEnd[T]]:
    """A channel for at most `bound` items, at least 1: where they are put in, where they are taken out."""
    shared = _Shared[T](bound)
    return SendEnd(shared), ReceiveEnd(shared)
