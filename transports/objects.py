"""Objects in JetStream's object store, read and written piece by piece with bounded memory.

They are as every NATS client makes them: chunks on `$O.<bucket>.C.<nuid>`, and what is known of them as JSON on
`$O.<bucket>.M.<name in base64>`. nats-py's own `get` keeps whatever arrives, however slowly it is taken, and waits for
ever for a chunk that is gone; its `put` reads in another thread and leaves chunks behind when it is cancelled.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import msgspec
import nats.js.errors
from msgspec import Struct, field
from nats.js import JetStreamContext

from transports.bus import HEADERS_ROOM, Bus, NotStored, Outbound
from transports.errors import TransportError, Unreachable
from transports.subjects import HEADER_MESSAGE_ID, HEADER_ROLLUP

T = TypeVar("T")

CHUNK = 128 * 1024
"""Bytes of a chunk that is written, as with other clients."""
AHEAD = 1024 * 1024
"""Bytes that are asked for at once when reading."""
ATTEMPTS = 4
PAUSE = 0.5
"""Seconds of real time between two attempts."""

_NO_MESSAGE = 10037
"""JetStream's error code where nothing is stored on a subject."""
_NUID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ObjectBroken(TransportError):
    """An object that is there, but not as it was written; the message says what is wrong with it."""


class Options(Struct, frozen=True, omit_defaults=True):
    """How an object is stored; one with a `link` is but another name of something else."""

    max_chunk_size: int | None = None
    link: dict[str, Any] | None = None


class Info(Struct, frozen=True, kw_only=True):
    """What is known of an object, as it is on the wire; whole, for nats-py waits for ever if `size` is left out."""

    name: str
    bucket: str
    nuid: str
    size: int = 0
    chunks: int = 0
    digest: str = ""
    mtime: str = ""
    deleted: bool | None = False
    options: Options = field(default_factory=Options)


async def find(bus: Bus, bucket: str, name: str) -> Info | None:
    """What is known of the object `name`, None if there is none.

    Raises `ObjectBroken` if that cannot be understood, other `TransportError`s if it cannot be read now.
    """
    data = await bus.call(_last, bus.jetstream, _stream(bucket), _meta_subject(bucket, name))
    if data is None:
        return None
    try:
        info = msgspec.json.decode(data, type=Info)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ObjectBroken(f"an object whose description cannot be read: {error}") from error
    if info.deleted:
        return None
    if info.options.link is not None:
        raise ObjectBroken("a link")
    if not _NUID.fullmatch(info.nuid):  # it becomes part of a subject, whose messages may be purged
        raise ObjectBroken("an object whose description names no chunks")
    return msgspec.structs.replace(info, bucket=bucket, name=name)


async def read(bus: Bus, info: Info) -> AsyncGenerator[bytes, None]:
    """The chunks of an object in order. To be closed after use.

    Raises `ObjectBroken` if one is gone, or at the end if they are not what was written; other `TransportError`s if
    the object cannot be read now, or was replaced meanwhile.
    """
    digest, left, after, width = sha256(), info.chunks, 1, 1
    while left > 0:
        found = await _found(bus, info, after, min(left, width))
        for data in found.values():
            digest.update(data)
            yield data
        left, after = left - len(found), max(found) + 1
        width = max(1, AHEAD // max(CHUNK, *map(len, found.values())))
    if info.digest.rstrip("=") != _written(digest.digest()).rstrip("="):
        raise ObjectBroken("an object whose digest is another one")


async def put(bus: Bus, bucket: str, name: str, pieces: Iterable[bytes]) -> Info:
    """Store the object `name`, which is all `pieces`, in place of one that is there.

    Other tasks get their turn after each piece. Whoever reads finds the old one until the new one is whole. Raises
    `TransportError` if it cannot be stored, and whatever `pieces` raises; its chunks are removed then.
    """
    writer = _Writer(bus, bucket)
    try:
        for piece in pieces:
            await writer.write(piece)
            await anyio.lowlevel.checkpoint()
        await writer.flush()
    except BaseException:
        with anyio.CancelScope(shield=True), suppress(TransportError):  # what went wrong first is to be told
            await _purge(bus, bucket, _chunk_subject(bucket, writer.nuid))
        raise
    # From here on a failure leaves the chunks where they are: the description may be stored already.
    before = await _known(bus, bucket, name)
    info = writer.info(name)
    meta = Outbound(
        _meta_subject(bucket, name),
        msgspec.json.encode(info),
        {HEADER_ROLLUP: "sub", HEADER_MESSAGE_ID: writer.nuid},
    )
    await _insist(bus, lambda: bus.store(meta))
    if before is not None:
        await _purge(bus, bucket, _chunk_subject(bucket, before.nuid))
    return info


async def delete(bus: Bus, bucket: str, name: str) -> None:
    """Remove the object `name`; that it is not there is fine. Raises `TransportError`."""
    info = await _known(bus, bucket, name)
    await _purge(bus, bucket, _meta_subject(bucket, name))
    if info is not None:
        await _purge(bus, bucket, _chunk_subject(bucket, info.nuid))


class _Writer:
    """Stores pieces of any size as chunks, and keeps count of them."""

    def __init__(self, bus: Bus, bucket: str) -> None:
        self.nuid = secrets.token_hex(11)
        self._bus = bus
        self._bucket = bucket
        self._chunk = min(CHUNK, bus.max_payload - HEADERS_ROOM)
        self._waiting = bytearray()
        self._digest = sha256()
        self._size = self._chunks = 0

    async def write(self, piece: bytes) -> None:
        self._waiting += piece
        while len(self._waiting) >= self._chunk:
            await self.flush()

    async def flush(self) -> None:
        data = bytes(self._waiting[: self._chunk])
        del self._waiting[: self._chunk]
        if not data:
            return
        # With an id of its own a chunk that is sent once more, for want of an answer, is stored once.
        named = {HEADER_MESSAGE_ID: f"{self.nuid}-{self._chunks}"}
        chunk = Outbound(_chunk_subject(self._bucket, self.nuid), data, named)
        await _insist(self._bus, lambda: self._bus.store(chunk))
        self._digest.update(data)
        self._size += len(data)
        self._chunks += 1

    def info(self, name: str) -> Info:
        return Info(
            name=name,
            bucket=self._bucket,
            nuid=self.nuid,
            size=self._size,
            chunks=self._chunks,
            digest=_written(self._digest.digest()),
            mtime=datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            options=Options(max_chunk_size=self._chunk),
        )


async def _found(bus: Bus, info: Info, after: int, width: int) -> dict[int, bytes]:
    """The next chunks from the stream's sequence `after` on, one to `width` of them, each with its sequence."""
    stream, subject = _stream(info.bucket), _chunk_subject(info.bucket, info.nuid)
    try:
        return await _insist(bus, lambda: bus.call(_next, bus.jetstream, stream, subject, after, width))
    except NotStored as error:
        now = await find(bus, info.bucket, info.name)
        if now is None or now.nuid != info.nuid:
            raise Unreachable("the object was replaced while it was read") from error
        raise ObjectBroken("an object of which a chunk is missing") from error


async def _next(js: JetStreamContext, stream: str, subject: str, after: int, width: int) -> dict[int, bytes]:
    # Where the next chunks are is not known before they come, but mostly they lie side by side: ask from each place
    # on. Where something lies between them, two get the same answer.
    asked = (
        js.get_msg(stream, seq=place, subject=subject, direct=True, next=True)
        for place in range(after, after + width)
    )
    found: dict[int, bytes] = {}
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        if not isinstance(answer, BaseException):
            found[answer.seq or 0] = answer.data or b""
        elif found:
            break
        else:
            raise answer
    return found


async def _last(js: JetStreamContext, stream: str, subject: str) -> bytes | None:
    # Not a direct get: a replica may not know yet what the leader has acknowledged already.
    try:
        return (await js.get_last_msg(stream, subject)).data or b""
    except nats.js.errors.NotFoundError as error:
        if error.err_code == _NO_MESSAGE:
            return None
        raise


async def _known(bus: Bus, bucket: str, name: str) -> Info | None:
    try:
        return await find(bus, bucket, name)
    except ObjectBroken:  # then there is nothing known that could be removed with it
        return None


async def _insist(bus: Bus, act: Callable[[], Awaitable[T]]) -> T:
    """Try several times: a connection may be lost and found, a replica may lag behind."""
    for _ in range(ATTEMPTS - 1):
        try:
            return await act()
        except (Unreachable, NotStored):
            await bus.bridge.call(asyncio.sleep, PAUSE)
    return await act()


async def _purge(bus: Bus, bucket: str, subject: str) -> None:
    await bus.call(bus.jetstream.purge_stream, _stream(bucket), subject=subject)


def _stream(bucket: str) -> str:
    return f"OBJ_{bucket}"


def _chunk_subject(bucket: str, nuid: str) -> str:
    return f"$O.{bucket}.C.{nuid}"


def _meta_subject(bucket: str, name: str) -> str:
    return f"$O.{bucket}.M.{urlsafe_b64encode(name.encode()).decode()}"


def _written(digest: bytes) -> str:
    return f"SHA-256={urlsafe_b64encode(digest).decode()}"
