"""A bounded hand-over from asyncio callbacks to tasks of a program, in lists.

A NATS subscription calls back once per message, and messages come in bursts. Handing each over by
itself costs a task switch per message; a mailbox hands over what has come since the last look, as
one list. When its reader is slow the callback waits, and the pressure travels on to the
subscription. That holds `pending_msgs_limit` messages more; nats-py drops what comes beyond, and
says so only to `error_cb` (`SlowConsumerError`). So bound what the server sends as well: by pull
requests, or by `max_ack_pending`.

    mailbox = Mailbox[Msg](bridge, bound=1024)
    subscription = await bridge.call(nc.subscribe, "requests.>", cb=mailbox.put)
    while True:
        for msg in await mailbox.receive(): ...
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import Generic, TypeVar

import anyio
import anyio.lowlevel
import msgspec

from transports.runner import Runner

T = TypeVar("T")


class MailboxStatistics(msgspec.Struct, frozen=True):
    """What a mailbox holds, and what went through it."""

    bound: int
    """Items from which on the asyncio side waits."""
    waiting: int
    """Items that wait for a reader now."""
    most: int
    """The most items that ever waited at once."""
    putters: int
    """Callbacks that wait for room now."""
    items: int
    """Items received so far."""
    lists: int
    """Lists they were received in."""


class Mailbox(Generic[T]):
    """A queue with `put` on the asyncio side of `runner` and `receive` for the tasks it runs for.

    `bound` is the number of waiting items, at least 1, from which on `put` waits. A single putter
    never fills it further; each further one that puts at the same time may add one item.
    """

    def __init__(self, runner: Runner, bound: int) -> None:
        if bound < 1:
            raise ValueError(f"bound: found {bound}, allowed: at least 1")
        self._runner = runner
        self._bound = bound
        self._waiting: list[T] = []
        self._readers: deque[anyio.Event] = deque()
        self._room = asyncio.Event()
        self._closed = False
        self._putters = self._most = self._items = self._lists = 0

    async def put(self, item: T) -> None:
        """Hand `item` over; then wait while `bound` items wait. Called on the asyncio side.

        The item is in the mailbox before the wait begins: cancelling the wait does not take it
        back. Items are received in the order of their `put`. Raises `anyio.ClosedResourceError` after
        `close`: stop whatever puts before closing.
        """
        if self._closed:
            raise anyio.ClosedResourceError("this mailbox is closed")
        self._waiting.append(item)
        self._most = max(self._most, len(self._waiting))
        self._wake_reader()
        if len(self._waiting) >= self._bound:
            await self._wait_for_room()

    async def receive(self) -> list[T]:
        """Wait for at least one item, and take all that wait. Called by a task.

        Each list goes to one reader, and whoever receives it owns it. A cancelled `receive` took
        nothing. Raises `anyio.EndOfStream` once the mailbox is closed and empty.
        """
        await anyio.lowlevel.checkpoint()
        while not self._waiting:
            if self._closed:
                raise anyio.EndOfStream
            await self._arrival()
        return self._take()  # no checkpoint from here on: what is taken is delivered

    async def _arrival(self) -> None:
        arrived = anyio.Event()  # made here, on the reader's side: this is where it is known who waits
        self._readers.append(arrived)
        try:
            await arrived.wait()
        except BaseException:
            if arrived.is_set():
                self._wake_reader()  # asyncio can cancel whoever was woken: what came is for the next one
            else:
                self._readers.remove(arrived)
            raise

    def _wake_reader(self) -> None:
        if self._readers:
            self._readers.popleft().set()

    def lift_bound(self) -> None:
        """Let in whatever still comes, without a wait: for an end at which it is to be gathered, not read."""
        self._bound = sys.maxsize
        self._make_room()

    def close(self) -> None:
        """Let nothing more in; what waits can still be received. From either side, also twice."""
        self._closed = True
        while self._readers:
            self._readers.popleft().set()
        self._make_room()

    def statistics(self) -> MailboxStatistics:
        """Counters of this moment."""
        return MailboxStatistics(
            bound=self._bound,
            waiting=len(self._waiting),
            most=self._most,
            putters=self._putters,
            items=self._items,
            lists=self._lists,
        )

    async def _wait_for_room(self) -> None:
        self._room.clear()
        self._putters += 1
        try:
            await self._room.wait()
        finally:
            self._putters -= 1

    def _take(self) -> list[T]:
        taken, self._waiting = self._waiting, []
        self._items += len(taken)
        self._lists += 1
        self._make_room()
        return taken

    def _make_room(self) -> None:
        if self._putters:
            self._room.set()
            self._runner.wake()
