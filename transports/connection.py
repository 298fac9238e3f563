"""A connection to NATS: made, kept over restarts of the server, and left in good order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import nats.errors
from nats.aio.client import Client

from stages.masking import without_user
from transports.errors import TransportError, Unreachable
from transports.mapping import mapped
from transports.runner import Runner

CONNECT_TIMEOUT = 5.0
DRAIN_TIMEOUT = 2
FLUSH_TIMEOUT = 5.0
"""Seconds that one message waits while more than 2 MiB are to be written; without it, until the server is back."""

OnEvent = Callable[[str], None]


@asynccontextmanager
async def open_connection(runner: Runner, url: str, *, name: str, on_event: OnEvent) -> AsyncIterator[Client]:
    """Connect to `url` for as long as the block lasts, and drain at its end.

    Raises `Unreachable` if no server answers within 5 s, and fails `runner` with it when the client has given up.
    """
    client = await _connect(runner, url, name=name, on_event=on_event)
    leaving = False

    async def on_closed() -> None:
        if not leaving:
            runner.fail(Unreachable(f"the connection to {without_user(url)} was closed for good"))

    client._closed_cb = on_closed  # known only now: a failed first connect closes too
    try:
        yield client
    finally:
        leaving = True
        with anyio.CancelScope(shield=True):
            await runner.call(_leave, client)


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


async def _connect(runner: Runner, url: str, *, name: str, on_event: OnEvent) -> Client:
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
                flush_timeout=FLUSH_TIMEOUT,
                error_cb=listener.on_error,
                disconnected_cb=listener.on_disconnected,
                reconnected_cb=listener.on_reconnected,
            )

    try:
        with mapped():
            await runner.call(connect)
        listener.connected = True
    except (TransportError, ValueError) as error:
        raise Unreachable(f"no NATS server answers at {without_user(url)}") from error
    finally:
        if not listener.connected:
            with anyio.CancelScope(shield=True):
                await runner.call(_abandon, client)
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
