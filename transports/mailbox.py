"""A bounded hand-over from asyncio callbacks to Trio tasks, in lists.

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
from typing import Generic, TypeVar

import msgspec
import trio

from transports.bridge import Bridge

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
    """A queue with `put` on the asyncio side of `bridge` and `receive` on its Trio side.

    `bound` is the number of waiting items, at least 1, from which on `put` waits. A single putter
    never fills it further; each further one that puts at the same time may add one item.
    """

    def __init__(self, bridge: Bridge, bound: int) -> None:
        if bound < 1:
            raise ValueError(f"bound: found {bound}, allowed: at least 1")
        self._bridge = bridge
        self._bound = bound
        self._waiting: list[T] = []
        self._readers = trio.lowlevel.ParkingLot()
        self._room = asyncio.Event()
        self._closed = False
        self._putters = self._most = self._items = self._lists = 0

    async def put(self, item: T) -> None:
        """Hand `item` over; then wait while `bound` items wait. Called on the asyncio side.

        The item is in the mailbox before the wait begins: cancelling the wait does not take it
        back. Items are received in the order of their `put`. Raises `trio.ClosedResourceError` after
        `close`: stop whatever puts before closing.
        """
        if self._closed:
            raise trio.ClosedResourceError("this mailbox is closed")
        self._waiting.append(item)
        self._most = max(self._most, len(self._waiting))
        self._readers.unpark()
        if len(self._waiting) >= self._bound:
            await self._wait_for_room()

    async def receive(self) -> list[T]:
        """Wait for at least one item, and take all that wait. Called on the Trio side.

        Each list goes to one reader, and whoever receives it owns it. A cancelled `receive` took
        nothing. Raises `trio.EndOfChannel` once the mailbox is closed and empty.
        """
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self._closed:
                raise trio.EndOfChannel
            await self._readers.park()
        return self._take()  # no checkpoint from here on: what is taken is delivered

    def close(self) -> None:
        """Let nothing more in; what waits can still be received. From either side, also twice."""
        self._closed = True
        self._readers.unpark_all()
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
            self._bridge.wake()
