"""The loopback WAHA as a server: HTTP/1.1 over real sockets, with faults down to the socket."""

from __future__ import annotations

import ssl
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from socket import SO_LINGER, SOL_SOCKET

import h11
import trio
from trio.abc import Stream

from tests.waha.faults import Reply
from tests.waha.world import Request, Settings, World

_PADDING = b" " * 16_384
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class LoopbackWaha(World):
    """A WAHA that listens at `url`."""

    url = ""


@asynccontextmanager
async def open_loopback(
    settings: Settings | None = None, *, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[LoopbackWaha]:
    """Serve until the block ends; then nothing listens there any more, and every connection is cut."""
    waha = LoopbackWaha(settings or Settings())
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        waha.url = f"{'https' if tls else 'http'}://127.0.0.1:{listeners[0].socket.getsockname()[1]}"

        async def handle(stream: trio.SocketStream) -> None:
            await _connection(waha, stream, tls)

        await nursery.start(trio.serve_listeners, handle, listeners)
        try:
            yield waha
        finally:
            nursery.cancel_scope.cancel()


async def _connection(waha: LoopbackWaha, plain: trio.SocketStream, tls: ssl.SSLContext | None) -> None:
    stream: Stream = trio.SSLStream(plain, tls, server_side=True, https_compatible=True) if tls else plain
    try:
        await _exchanges(waha, stream, plain)
    except (*_GONE, h11.RemoteProtocolError):
        pass  # the client went away, which is its right
    finally:
        await trio.aclose_forcefully(stream)


async def _exchanges(waha: LoopbackWaha, stream: Stream, plain: trio.SocketStream) -> None:
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=65_536)
    while True:
        head = await _next(http, stream)
        if not isinstance(head, h11.Request):
            return
        waha.under_way += 1
        waha.peak = max(waha.peak, waha.under_way)
        try:
            if waha.takes_unread(head.method.decode()):
                _reset(plain)
                return
            reply = waha.answer(await _request(http, stream, head))
            await _reply(http, stream, plain, reply)
        finally:
            waha.under_way -= 1
        if http.our_state is not h11.DONE:
            return
        http.start_next_cycle()


async def _request(http: h11.Connection, stream: Stream, head: h11.Request) -> Request:
    body = bytearray()
    while isinstance(part := await _next(http, stream), h11.Data):
        body += part.data
    headers = {name.decode(): value.decode() for name, value in head.headers}
    return Request(method=head.method.decode(), path=head.target.decode(), headers=headers, body=bytes(body))


async def _next(http: h11.Connection, stream: Stream) -> object:
    while (event := http.next_event()) is h11.NEED_DATA:
        http.receive_data(bytes(await stream.receive_some(65_536)))
    return event


async def _reply(http: h11.Connection, stream: Stream, plain: trio.SocketStream, reply: Reply) -> None:
    if reply.manner == "silent":
        await _left(stream)
    elif reply.manner == "reset":
        _reset(plain)
    elif reply.manner == "whole":
        await _head(http, stream, reply, len(reply.body))
        await _say(http, stream, h11.Data(data=reply.body), h11.EndOfMessage())
    elif reply.manner == "cut":
        await _head(http, stream, reply, len(reply.body) + 1_000)
        await _say(http, stream, h11.Data(data=reply.body))
        _reset(plain)
    else:
        await _without_end(http, stream, reply)


async def _without_end(http: h11.Connection, stream: Stream, reply: Reply) -> None:
    await _head(http, stream, reply, 1 << 40)
    await _say(http, stream, h11.Data(data=reply.body))
    piece, pause = (_PADDING, 0.0) if reply.manner == "endless" else (b" ", 0.02)
    while True:
        await _say(http, stream, h11.Data(data=piece))
        await trio.sleep(pause)


async def _head(http: h11.Connection, stream: Stream, reply: Reply, length: int) -> None:
    headers = {
        "content-type": "application/json; charset=utf-8",
        **reply.headers,
        "content-length": str(length),
    }
    await _say(http, stream, h11.Response(status_code=reply.status, headers=list(headers.items())))


async def _say(http: h11.Connection, stream: Stream, *events: h11.Event) -> None:
    for event in events:
        if data := http.send(event):
            await stream.send_all(data)


async def _left(stream: Stream) -> None:
    """Wait until the client has gone."""
    while await stream.receive_some(65_536):
        pass


def _reset(plain: trio.SocketStream) -> None:
    """Closing the socket sends a reset now, not the polite end."""
    plain.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
