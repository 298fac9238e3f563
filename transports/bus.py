"""The NATS bus for Trio tasks and for asyncio tasks: publish, subscribe, request, and JetStream's store.

One connection, driven by the bridge on Trio and by the running loop on asyncio. Deadlines of network calls are kept
on the asyncio side, so they are real time whatever clock the tasks run on. While the connection is down calls wait
for it until their deadline; when it is lost for good the block of `open_bus` ends with `Unreachable`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import msgspec
from msgspec import Struct, field
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from transports.answers import StoredMessage, acknowledged, found_message
from transports.asking import Asker, Outbound
from transports.connection import OnEvent, open_connection
from transports.errors import NoResponders, NotStored, PublishRefused, TransportError, Unreachable
from transports.mailbox import Mailbox
from transports.mapping import mapped
from transports.runner import Runner, open_runner

__all__ = [
    "CALL_TIMEOUT",
    "HEADERS_ROOM",
    "WRONG_LAST_SEQUENCE",
    "Bus",
    "Inbound",
    "NotStored",
    "OnEvent",
    "Outbound",
    "Stored",
    "inbound",
    "mapped",
    "open_bus",
]

T = TypeVar("T")

CALL_TIMEOUT = 5.0
HEADERS_ROOM = 4_096
"""Bytes to be left for headers in a message that shall fit."""
LONGEST_SUBJECT = 1_024
NO_STREAM = "no stream takes this subject: is JetStream on, are the streams there?"
WRONG_LAST_SEQUENCE = 10071
"""JetStream's error code for a publish whose expected last sequence is not the subject's."""


class Inbound(Struct, frozen=True):
    """A message that came in."""

    subject: str
    data: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    reply: str = ""


class Stored(Struct, frozen=True):
    """JetStream's answer to a stored message; `duplicate` if it had its id already."""

    sequence: int
    duplicate: bool


class Bus:
    """A connection to NATS. `open_bus` makes one."""

    def __init__(self, bridge: Runner, client: Client, asker: Asker) -> None:
        self.bridge = bridge
        self.client = client
        self.asker = asker
        self.jetstream = client.jetstream(timeout=CALL_TIMEOUT)

    @property
    def url(self) -> str:
        """The server that the bus is connected to."""
        return self.client.connected_url.netloc if self.client.connected_url else ""

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands now; what is published while it does not goes out later."""
        return self.client.is_connected

    @property
    def max_payload(self) -> int:
        """The largest message the server takes, in bytes, headers included."""
        return self.client.max_payload

    async def call(self, fn: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> T:
        """Run a coroutine function of the NATS client with a deadline. Raises `TransportError`."""
        with mapped():
            return await self.bridge.call(_with_deadline, fn, args, kwargs)

    async def publish(self, messages: Sequence[Outbound]) -> None:
        """Publish without waiting for anybody to have it; all in one go, in order.

        Raises `PublishRefused` before any is sent if one is too large.
        """
        for message in messages:
            self._check(message)
        await self.asker.tell(messages)

    async def store(self, message: Outbound) -> Stored:
        """Publish into a JetStream stream and wait until it is stored.

        Raises `PublishRefused` if it is too large or JetStream refuses it, `Unreachable` if no stream answers.
        """
        self._check(message)
        try:
            return _stored(await self.asker.ask(message.subject, message.data, message.headers))
        except NoResponders as error:
            raise Unreachable(NO_STREAM) from error

    async def store_all(self, messages: Sequence[Outbound]) -> Sequence[Stored | TransportError]:
        """As `store` for each of `messages`, all at once; returns for each its place, or what `store` would raise."""
        fitting, refused = [], dict[int, TransportError]()
        for place, message in enumerate(messages):
            try:
                self._check(message)
                fitting.append(message)
            except PublishRefused as error:
                refused[place] = error
        found = iter([_stored_or_error(each) for each in await self.asker.ask_all(fitting)])
        return [refused[place] if place in refused else next(found) for place in range(len(messages))]

    async def stored_last(self, stream: str, subject: str) -> StoredMessage:
        """The last message stored on `subject`, as the stream's leader knows it. Raises `NotStored`."""
        wanted = msgspec.json.encode({"last_by_subj": subject})
        return found_message((await self.asker.ask(f"$JS.API.STREAM.MSG.GET.{stream}", wanted)).data)

    async def request(self, message: Outbound, *, timeout: float = CALL_TIMEOUT) -> Inbound:
        """Publish and wait for one answer, `timeout` seconds at most."""
        headers = _copy(message.headers)
        return inbound(
            await self.call(
                self.client.request, message.subject, message.data, timeout=timeout, headers=headers
            )
        )

    async def last(self, stream: str, subject: str) -> Inbound | None:
        """The last message stored on `subject`, or None."""
        try:
            found = await self.call(self.jetstream.get_last_msg, stream, subject, direct=True)
        except NotStored:
            return None
        return Inbound(subject=subject, data=found.data or b"", headers=found.headers or {})

    @asynccontextmanager
    async def subscribe(
        self, *subjects: str, bound: int = 4_096, queue: str = ""
    ) -> AsyncIterator[Mailbox[Inbound]]:
        """Receive what is published on `subjects` while the block lasts, in lists.

        Of all that subscribe in the same `queue` group only one receives each message.
        """

        async def leave(subscription: Subscription) -> None:
            await subscription.unsubscribe()

        async with self._subscribed(subjects, bound, queue, leave) as mailbox:
            yield mailbox

    @asynccontextmanager
    async def take(self, subject: str, *, bound: int, queue: str) -> AsyncIterator[Mailbox[Inbound]]:
        """As `subscribe`, and nothing is lost at the end: what the server has sent us by then is in the mailbox.

        So its reader must outlive the block, and receive until `EndOfStream`.
        """

        async def leave(subscription: Subscription) -> None:
            # It flushes, and see `_flush`.
            leaving = subscription.drain() if self.is_connected else subscription.unsubscribe()  # type: ignore[no-untyped-call] # nats-py says nothing of its type
            await asyncio.shield(leaving)

        async with self._subscribed((subject,), bound, queue, leave) as mailbox:
            yield mailbox

    @asynccontextmanager
    async def _subscribed(
        self,
        subjects: Sequence[str],
        bound: int,
        queue: str,
        leave: Callable[[Subscription], Coroutine[Any, Any, None]],
    ) -> AsyncIterator[Mailbox[Inbound]]:
        mailbox = Mailbox[Inbound](self.bridge, bound)

        async def receive(msg: Msg) -> None:
            await mailbox.put(inbound(msg))

        subscriptions = [
            await self.call(self.client.subscribe, subject, queue=queue, cb=receive) for subject in subjects
        ]
        await self.call(self._flush)
        try:
            yield mailbox
        finally:
            with anyio.CancelScope(shield=True):
                for subscription in subscriptions:
                    if not self.client.is_closed:
                        await self.call(leave, subscription)
            mailbox.close()

    async def _flush(self) -> None:
        # A flush that is cancelled ends nats-py's reading for good when its pong comes: it must run to its end.
        await asyncio.shield(self.client.flush())

    def _check(self, message: Outbound) -> None:
        # The server closes the connection over a message that is too large, and the client counts its payload only.
        headers = sum(
            len(name.encode()) + len(value.encode()) + 4 for name, value in (message.headers or {}).items()
        )
        size = len(message.data) + (headers + 12 if headers else 0)
        if size > self.max_payload:
            raise PublishRefused(
                f"a message of {size:,} bytes; this server takes {self.max_payload:,} (max_payload)"
            )
        if max(len(message.subject), len(message.reply)) > LONGEST_SUBJECT:
            raise PublishRefused(f"a subject longer than {LONGEST_SUBJECT} characters")


def _stored(answer: Msg) -> Stored:
    ack = acknowledged(answer.data)
    return Stored(sequence=ack.seq, duplicate=ack.duplicate)


def _stored_or_error(answer: Msg | TransportError) -> Stored | TransportError:
    try:
        if isinstance(answer, NoResponders):
            return Unreachable(NO_STREAM)
        return answer if isinstance(answer, TransportError) else _stored(answer)
    except TransportError as error:
        return error


def inbound(msg: Msg) -> Inbound:
    """What came in, freed of the client's own types."""
    return Inbound(subject=msg.subject, data=msg.data, headers=msg.headers or {}, reply=msg.reply)


@asynccontextmanager
async def open_bus(
    url: str, *, name: str = "storycast", on_event: OnEvent | None = None
) -> AsyncIterator[Bus]:
    """Connect to `url` for as long as the block lasts, and drain at its end.

    Of a cluster `url` may name several servers, with commas between. `on_event` hears in words when the connection is
    lost and found. Raises `Unreachable` if no server answers within 5 s, and ends the block with it when the client has
    given up.
    """
    async with (
        open_runner() as runner,
        open_connection(runner, url, name=name, on_event=on_event or _ignore) as client,
    ):
        asker = Asker(runner, client, timeout=CALL_TIMEOUT)
        with mapped():
            await runner.call(asker.open)
        try:
            yield Bus(runner, client, asker)
        finally:
            with anyio.CancelScope(shield=True):
                await runner.call(asker.close)


async def _with_deadline(
    fn: Callable[..., Coroutine[Any, Any, T]], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> T:
    async with asyncio.timeout(max(CALL_TIMEOUT, kwargs.get("timeout") or 0) + 1):
        return await fn(*args, **kwargs)


def _copy(headers: Mapping[str, str] | None) -> dict[str, str] | None:
    return dict(headers) if headers else None


def _ignore(event: str) -> None:
    pass
