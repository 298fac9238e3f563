"""The NATS bus for Trio tasks: publish, subscribe, request, and JetStream's store.

One connection, driven by the bridge. Deadlines of network calls are kept on the asyncio side, so they are real
time whatever clock the tasks run on. While the connection is down calls wait for it until their deadline;
when it is lost for good the block of `open_bus` ends with `Unreachable`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar

import nats
import nats.errors
import nats.js.errors
import trio
from msgspec import Struct, field
from nats.aio.client import Client
from nats.aio.msg import Msg

from transports.bridge import Bridge, open_bridge
from transports.errors import PublishRefused, TransportError, Unreachable
from transports.mailbox import Mailbox

T = TypeVar("T")

CONNECT_TIMEOUT = 5.0
CALL_TIMEOUT = 5.0
DRAIN_TIMEOUT = 2
HEADERS_ROOM = 4_096
"""Bytes to be left for headers in a message that shall fit."""
LONGEST_SUBJECT = 1_024
WRONG_LAST_SEQUENCE = 10071
"""JetStream's error code for a publish whose expected last sequence is not the subject's."""

OnEvent = Callable[[str], None]


class Outbound(Struct, frozen=True):
    """A message to be published."""

    subject: str
    data: bytes = b""
    headers: Mapping[str, str] | None = None
    reply: str = ""


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

    def __init__(self, bridge: Bridge, client: Client) -> None:
        self.bridge = bridge
        self.client = client
        self.jetstream = client.jetstream(timeout=CALL_TIMEOUT)

    @property
    def url(self) -> str:
        """The server that the bus is connected to."""
        return self.client.connected_url.netloc if self.client.connected_url else ""

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
        await self.call(self._publish_all, messages)

    async def store(self, message: Outbound) -> Stored:
        """Publish into a JetStream stream and wait until it is stored.

        Raises `PublishRefused` if it is too large or JetStream refuses it, `Unreachable` if no stream answers.
        """
        self._check(message)
        ack = await self.call(
            self.jetstream.publish, message.subject, message.data, headers=_copy(message.headers)
        )
        return Stored(sequence=ack.seq, duplicate=bool(ack.duplicate))

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
            with trio.CancelScope(shield=True):
                for subscription in subscriptions:
                    if not self.client.is_closed:
                        await self.call(subscription.unsubscribe)
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

    async def _publish_all(self, messages: Sequence[Outbound]) -> None:
        for message in messages:
            await self.client.publish(
                message.subject, message.data, reply=message.reply, headers=_copy(message.headers)
            )


class NotStored(TransportError):
    """JetStream knows nothing by that name."""


@contextmanager
def mapped() -> Iterator[None]:
    """Map what nats-py raises to `TransportError`s, once, here."""
    try:
        yield
    except nats.js.errors.NoStreamResponseError as error:
        raise Unreachable("no stream takes this subject: is JetStream on, are the streams there?") from error
    except nats.js.errors.NotFoundError as error:
        raise NotStored(str(error)) from error
    except (nats.js.errors.APIError, nats.errors.MaxPayloadError) as error:
        raise PublishRefused(str(error), code=getattr(error, "err_code", None)) from error
    except (TimeoutError, nats.errors.TimeoutError) as error:
        raise Unreachable("NATS did not answer in time") from error
    except (nats.errors.Error, OSError) as error:
        raise Unreachable(f"NATS: {error}") from error


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
    async with open_bridge() as bridge:
        client = await _connect(bridge, url, name=name, on_event=on_event or _ignore)
        leaving = False

        async def on_closed() -> None:
            if not leaving:
                bridge.fail(Unreachable(f"the connection to {url} was closed for good"))

        client._closed_cb = on_closed  # known only now: a failed first connect closes too
        try:
            yield Bus(bridge, client)
        finally:
            leaving = True
            with trio.CancelScope(shield=True):
                await bridge.call(_leave, client)


class _Listener:
    """Tells in words what happens to a connection, once there is one."""

    def __init__(self, client: Client, on_event: OnEvent) -> None:
        self._client = client
        self._on_event = on_event
        self.connected = False

    async def on_disconnected(self) -> None:
        if self.connected and not self._client.is_closed:
            self._on_event("the connection to NATS is lost; reconnecting")

    async def on_reconnected(self) -> None:
        self._on_event("connected to NATS again")

    async def on_error(self, error: Exception) -> None:
        if self.connected:  # before that `Unreachable` says it, once
            self._on_event(f"NATS: {error}")


async def _connect(bridge: Bridge, url: str, *, name: str, on_event: OnEvent) -> Client:
    client = Client()
    listener = _Listener(client, on_event)

    async def connect() -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await client.connect(
                url.split(","),
                name=name,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.5,  # type: ignore[arg-type] # nats-py sleeps so long: any number does
                ping_interval=20,
                drain_timeout=DRAIN_TIMEOUT,
                error_cb=listener.on_error,
                disconnected_cb=listener.on_disconnected,
                reconnected_cb=listener.on_reconnected,
            )

    try:
        with mapped():
            await bridge.call(connect)
        listener.connected = True
    except (TransportError, ValueError) as error:
        raise Unreachable(f"no NATS server answers at {url}") from error
    finally:
        if not listener.connected:
            with trio.CancelScope(shield=True):
                await bridge.call(_abandon, client)
    return client


async def _abandon(client: Client) -> None:
    # One whose connect was cancelled at its very beginning cannot be closed, and holds nothing either.
    with suppress(AssertionError):
        await client.close()


async def _leave(client: Client) -> None:
    """Drain, or just close where there is no connection to drain."""
    if not client.is_connected:
        # What waits to be written would go to a lost connection, at which asyncio fails since Python 3.12.
        client._pending.clear()
        client._pending_data_size = 0
    try:
        async with asyncio.timeout(DRAIN_TIMEOUT + 1):
            await (client.drain() if client.is_connected else client.close())
    except (TimeoutError, nats.errors.Error, OSError):
        await client.close()


async def _with_deadline(
    fn: Callable[..., Coroutine[Any, Any, T]], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> T:
    async with asyncio.timeout(max(CALL_TIMEOUT, kwargs.get("timeout") or 0) + 1):
        return await fn(*args, **kwargs)


def _copy(headers: Mapping[str, str] | None) -> dict[str, str] | None:
    return dict(headers) if headers else None


def _ignore(event: str) -> None:
    pass
