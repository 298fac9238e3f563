"""A WhatsApp on loopback, for the real client library."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.server import Server, ServerConnection, serve

from tests.whatsapp import certificates, noise
from tests.whatsapp.background import open_background
from tests.whatsapp.faults import Hangup, Stream
from tests.whatsapp.keys import KeyPair
from tests.whatsapp.media import Media, open_media
from tests.whatsapp.pairing import read_qr
from tests.whatsapp.sessions import Connection, Ended
from tests.whatsapp.world import World

LARGEST_FRAME = 1 << 24


class Whatsapp:
    """The server as a test sees it: its world, and who is connected to it."""

    def __init__(self, world: World, media: Media) -> None:
        self.world = world
        self.media = media
        self.port = 0
        self.connections: list[Connection] = []
        self._key = KeyPair()
        self._certificates = certificates.chain(self._key.public)

    def environment(self) -> dict[str, str]:
        """What a client's process must be started with, so that it trusts the host of the media."""
        return {"SSL_CERT_FILE": str(self.media.authority)}

    async def scan(self, code: str, phone: str) -> None:
        """The owner of this number scans a client's QR code."""
        qr = read_qr(code)
        shows = next(one for one in self.connections if qr.ref in one.refs)
        await shows.let_in(self.world.account(phone), qr.identity, qr.secret)

    async def type_code(self, code: str, phone: str) -> None:
        """The owner of this number types a client's pairing code into the phone."""
        asks = next(one for one in reversed(self.connections) if one.link is not None)
        await asks.type_code(code, self.world.account(phone))

    async def answer(self, jid: str, text: str = "seen") -> None:
        """A contact answers what it was sent last, which it has read before."""
        for one in self.online():
            await one.pass_on(jid, self.world.device(jid).answer(text))

    def online(self) -> list[Connection]:
        """The connections that are logged in."""
        return [one for one in self.connections if one.jid]

    def cut_off(self) -> None:
        """Everybody's connection breaks off."""
        for one in list(self.connections):
            one.hang_up()

    async def end_streams(self, fault: Stream) -> None:
        """A stream error for everybody who is logged in."""
        for one in self.online():
            with suppress(ConnectionClosed):  # it may be gone before the last word
                await one.end_stream(fault)

    async def log_out(self, phone: str) -> None:
        """The owner of this number removes all linked devices."""
        self.world.account(phone).devices.clear()
        await self.end_streams(Stream("401", "device_removed"))

    async def handle(self, websocket: ServerConnection) -> None:
        """Serve one connection until either side ends it."""
        if isinstance(self.world.faults.meet("handshake"), Hangup):
            return
        frames = noise.Frames(partial(_receive, websocket), websocket.send)
        async with trio.open_nursery() as nursery:
            with suppress(ConnectionClosed, Ended):
                channel = await noise.accept(frames, self._key, self._certificates)
                await self._serve(Connection(self.world, channel, nursery))
            nursery.cancel_scope.cancel()

    async def _serve(self, connection: Connection) -> None:
        self.connections.append(connection)
        try:
            await connection.serve()
        finally:
            self.connections.remove(connection)


async def _receive(websocket: ServerConnection) -> bytes:
    received = await websocket.recv(decode=False)
    return bytes(received)


@asynccontextmanager
async def open_whatsapp() -> AsyncIterator[Whatsapp]:
    """A server on a port of its own, for as long as the block lasts."""
    world = World()
    async with open_media(world.faults) as media, open_background() as nursery:
        world.media_host = media.host
        whatsapp = Whatsapp(world, media)
        server: Server = await nursery.start(
            partial(
                serve,
                whatsapp.handle,
                0,
                host="127.0.0.1",
                compression=None,
                max_size=LARGEST_FRAME,
                ping_interval=None,
            )
        )
        whatsapp.port = server.listeners[0].socket.getsockname()[1]
        yield whatsapp
