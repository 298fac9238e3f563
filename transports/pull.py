"""Pulling from a durable consumer: lists of requests, no more than are asked for.

One standing `MSG.NEXT` request whose messages come into an inbox of our own; the next one is made when all of it came
or the server says that it is over. That is several times faster than fetch calls, and a cancelled wait strands
nothing. Should the server forget the request (a restart, a new leader) it is made anew after its time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import msgspec
import nats.errors
import trio
from msgspec import Struct
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from transports.bus import Bus, Inbound, Outbound, inbound
from transports.errors import TransportError
from transports.mailbox import Mailbox

ACK = b"+ACK"
IN_PROGRESS = b"+WPI"

BATCH = 256
EXPIRES = 20.0
REFUSED_DELAY = 0.5
HAND_BACK = 2.0
NO_ROOM_DELAY = 0.1
LOOK_EVERY = 1.0
_STATUS = "Status"
_DESCRIPTION = "Description"

log = logging.getLogger("storycast")

Room = Callable[[], int]
"""How many more messages are wanted now."""


def as_many_as_come() -> int:
    """The room of whoever takes all."""
    return BATCH


class Pulled(Struct, frozen=True):
    """A message from a stream.

    `ack_subject` is where it is settled, `sequence` its place in the stream, `attempt` counts its deliveries from 1.
    `stored` is when it was stored, in nanoseconds: the same at each delivery.
    """

    subject: str
    data: bytes
    headers: dict[str, str]
    ack_subject: str
    sequence: int
    attempt: int = 1
    stored: int = 0


class _Puller:
    def __init__(self, bus: Bus, stream: str, consumer: str, room: Room) -> None:
        self._bus = bus
        self._room = room
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = bus.client.new_inbox()
        self._missing = 0
        self._refusal = ""
        self._answered = asyncio.Event()
        self.mailbox = Mailbox[Pulled](bus.bridge, BATCH)

    async def run(self) -> None:
        """Keep one request standing, until cancelled."""
        subscription = await self._bus.client.subscribe(self._inbox, cb=self._receive)
        try:
            while True:
                await self._ask()
        finally:
            self.mailbox.lift_bound()
            if not self._bus.client.is_closed:
                await self._leave(subscription)

    async def _leave(self, subscription: Subscription) -> None:
        """Ask for no more; what the server has sent us by then is in the mailbox, to be handed back."""
        if not self._bus.client.is_connected:
            await subscription.unsubscribe()
            return
        draining = asyncio.ensure_future(subscription.drain())  # type: ignore[no-untyped-call] # nats-py says nothing of its type
        # A flush that is cancelled ends nats-py's reading for good when its pong comes: it must run to its end.
        draining.add_done_callback(_note_failure)
        await asyncio.wait([draining], timeout=HAND_BACK)

    async def _ask(self) -> None:
        room = self._room()
        if room <= 0:
            await asyncio.sleep(NO_ROOM_DELAY)
            return
        self._missing = min(BATCH, room)
        self._answered.clear()
        request = msgspec.json.encode({"batch": self._missing, "expires": int(EXPIRES * 1e9)})
        try:
            await self._bus.client.publish(self._next, request, reply=self._inbox)
        except nats.errors.OutboundBufferLimitError:
            await asyncio.sleep(REFUSED_DELAY)  # the connection is lost, and what it keeps meanwhile is full
            return
        while not await self._is_over() and self.mailbox.statistics().putters:
            continue  # what came is not taken yet: more is not wanted

    async def _is_over(self) -> bool:
        """Wait until the request is answered in full, or forgotten; False once that took longer than it was to last."""
        connection = self._bus.client.stats["reconnects"]
        until = asyncio.get_running_loop().time() + EXPIRES + 1
        while asyncio.get_running_loop().time() < until:
            try:
                async with asyncio.timeout(LOOK_EVERY):
                    await self._answered.wait()
                return True
            except TimeoutError:
                if self._bus.client.stats["reconnects"] != connection:
                    return True  # a server that was started again knows nothing of it
        return False

    def _note_refusal(self, refusal: str) -> None:
        if refusal != self._refusal:
            log.warning(
                "cannot pull: is the consumer there? storycast doctor tells", extra={"answer": refusal}
            )
        self._refusal = refusal

    async def _receive(self, msg: Msg) -> None:
        # A message has an ack subject to reply to; headers alone would say nothing, for they are the sender's.
        if not msg.reply and msg.headers and _STATUS in msg.headers:
            # 404 and 408: there was nothing. Anything else is a refusal, and asking again at once a busy loop.
            if msg.headers[_STATUS] not in {"404", "408"}:
                self._note_refusal(f"{msg.headers[_STATUS]} {msg.headers.get(_DESCRIPTION, '')}".strip())
                await asyncio.sleep(REFUSED_DELAY)
            self._answered.set()
            return
        self._refusal = ""
        await self.mailbox.put(pulled(inbound(msg)))
        self._missing -= 1
        if self._missing <= 0:
            self._answered.set()


def _note_failure(draining: asyncio.Future[None]) -> None:
    if not draining.cancelled() and (error := draining.exception()) is not None:
        log.debug("what came last is delivered again later", extra={"problem": repr(error)})


@asynccontextmanager
async def open_pull(
    bus: Bus, stream: str, consumer: str, *, room: Room = as_many_as_come
) -> AsyncIterator[Mailbox[Pulled]]:
    """Pull from `consumer` while the block lasts, no more than there is `room` for when asking.

    What nobody took at its end is handed back.
    """
    puller = _Puller(bus, stream, consumer, room)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bus.bridge.call, puller.run)
            yield puller.mailbox
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(HAND_BACK, shield=True):
            await _hand_back(bus, puller.mailbox)


async def _hand_back(bus: Bus, mailbox: Mailbox[Pulled]) -> None:
    mailbox.close()
    try:
        left = await mailbox.receive()
        await bus.publish([Outbound(one.ack_subject, nak()) for one in left])
    except (anyio.EndOfStream, TransportError):
        return  # nothing was left, or the stream notices by itself when their time is over


def nak(delay: float = 0.0) -> bytes:
    """The answer that hands a message back, to be delivered again after `delay` seconds."""
    return b"-NAK " + msgspec.json.encode({"delay": int(delay * 1e9)}) if delay > 0 else b"-NAK"


def pulled(msg: Inbound) -> Pulled:
    """A delivery, with what its ack subject says of it (9 tokens; 11 or more with a domain)."""
    tokens = msg.reply.split(".")
    first = 4 if len(tokens) == 9 else 6
    return Pulled(
        subject=msg.subject,
        data=msg.data,
        headers=dict(msg.headers),
        ack_subject=msg.reply,
        sequence=int(tokens[first + 1]),
        attempt=int(tokens[first]),
        stored=int(tokens[first + 3]),
    )
