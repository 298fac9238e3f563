"""Noise XX as WhatsApp speaks it, the server's side, and the frames inside."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.whatsapp.keys import KeyPair, derive
from tests.whatsapp.protobufs import proto

PATTERN = b"Noise_XX_25519_AESGCM_SHA256\x00\x00\x00\x00"
HEADER = b"WA\x06\x03"

Receive = Callable[[], Awaitable[bytes]]
Send = Callable[[bytes], Awaitable[None]]


class Cipher:
    """One key and its counter."""

    def __init__(self, key: bytes) -> None:
        self._key = AESGCM(key)
        self._count = 0

    def encrypt(self, data: bytes, associated: bytes = b"") -> bytes:
        return self._key.encrypt(self._nonce(), data, associated)

    def decrypt(self, data: bytes, associated: bytes = b"") -> bytes:
        return self._key.decrypt(self._nonce(), data, associated)

    def _nonce(self) -> bytes:
        self._count += 1
        return (self._count - 1).to_bytes(12, "big")


class Handshake:
    """What both sides have mixed so far."""

    def __init__(self, header: bytes) -> None:
        self._salt = self._hash = PATTERN
        self._cipher = Cipher(PATTERN)
        self.authenticate(header)

    def authenticate(self, data: bytes) -> None:
        self._hash = hashlib.sha256(self._hash + data).digest()

    def mix(self, secret: bytes) -> None:
        self._salt, key = self._expand(secret)
        self._cipher = Cipher(key)

    def encrypt(self, data: bytes) -> bytes:
        sealed = self._cipher.encrypt(data, self._hash)
        self.authenticate(sealed)
        return sealed

    def decrypt(self, sealed: bytes) -> bytes:
        data = self._cipher.decrypt(sealed, self._hash)
        self.authenticate(sealed)
        return data

    def split(self) -> tuple[Cipher, Cipher]:
        """The ciphers of what the client says and of what it hears."""
        says, hears = self._expand(b"")
        return Cipher(says), Cipher(hears)

    def _expand(self, secret: bytes) -> tuple[bytes, bytes]:
        both = derive(secret, 64, salt=self._salt)
        return both[:32], both[32:]


class Frames:
    """Frames of three bytes of length over a stream of bytes that come in pieces of any size."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._buffer = b""

    async def read(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._buffer += await self._receive()
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    async def receive(self) -> bytes:
        return await self.read(int.from_bytes(await self.read(3), "big"))

    async def send(self, data: bytes) -> None:
        await self._send(len(data).to_bytes(3, "big") + data)


class Channel:
    """An encrypted channel to one client, and what the client said of itself in the handshake."""

    def __init__(self, frames: Frames, says: Cipher, hears: Cipher, key: bytes, payload: bytes) -> None:
        self._frames = frames
        self._says = says
        self._hears = hears
        self.key = key
        self.hello = proto.ClientPayload.FromString(payload)
        self._sending = trio.Lock()

    async def receive(self) -> bytes:
        return self._says.decrypt(await self._frames.receive())

    async def send(self, data: bytes) -> None:
        async with self._sending:  # the cipher counts: frames go out in the order in which they were sealed
            await self._frames.send(self._hears.encrypt(data))


async def accept(frames: Frames, static: KeyPair, certificates: bytes) -> Channel:
    """Shake hands with a client that has just connected."""
    handshake = Handshake(await frames.read(len(HEADER)))
    ephemeral = KeyPair()
    theirs = proto.HandshakeMessage.FromString(await frames.receive()).clientHello.ephemeral
    handshake.authenticate(theirs)
    handshake.authenticate(ephemeral.public)
    handshake.mix(ephemeral.agree(theirs))
    sealed = handshake.encrypt(static.public)
    handshake.mix(static.agree(theirs))
    hello = proto.HandshakeMessage(
        serverHello=proto.HandshakeMessage.ServerHello(
            ephemeral=ephemeral.public, static=sealed, payload=handshake.encrypt(certificates)
        )
    )
    await frames.send(hello.SerializeToString())
    finish = proto.HandshakeMessage.FromString(await frames.receive()).clientFinish
    key = handshake.decrypt(finish.static)
    handshake.mix(ephemeral.agree(key))
    payload = handshake.decrypt(finish.payload)
    return Channel(frames, *handshake.split(), key, payload)
