"""What the conformance suite needs of an engine and of the far side that it talks to."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

from stages.engine import ContentKind, Engine
from stages.errors import EngineFailure, StorycastError
from stages.messages import Content, Image, Text, Video, Voice

SILENCE = "silence"
"""The signal of a far side that takes a call in and never answers. Every rig can arrange it."""


class NotConforming(StorycastError, AssertionError):
    """The engine does not keep a promise of the port: which, and what it did instead."""


class Call(Struct, frozen=True, kw_only=True):
    """One call that reached somebody, as the far side saw it.

    `recipients` are canonical JIDs without the account's own; `content` is equal for equal content.
    """

    message_id: str
    recipients: tuple[str, ...]
    content: str


class Rig(Protocol):
    """An engine under test and its far side. Each check gets a rig of its own, in which nothing has happened yet."""

    @property
    def signals(self) -> Mapping[str, type[EngineFailure]]:
        """Every signal of the far side by a name of its own, and what the engine must make of it."""
        ...

    @property
    def waits(self) -> Mapping[str, float]:
        """Those signals that name a wait, and its seconds: what `RateLimited.retry_after` must be."""
        ...

    @property
    def contents(self) -> Mapping[ContentKind, Content]:
        """One content of each kind; `SAMPLES` unless the far side looks into media."""
        ...

    def open(self) -> AbstractAsyncContextManager[Engine]:
        """The engine, ready to send."""
        ...

    def people(self, count: int) -> list[str]:
        """So many recipients whom the far side can reach; always the same ones first."""
        ...

    async def arrange(self, signal: str) -> None:
        """The next call, and if it is no state of the whole account only that one, meets this signal, or `SILENCE`."""
        ...

    async def calls(self) -> Sequence[Call]:
        """The calls that have reached somebody so far."""
        ...


def _png() -> bytes:
    """One green pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header, pixel = struct.pack(">2I5B", 1, 1, 8, 2, 0, 0, 0), zlib.compress(b"\x00\x38\xb4\x2f")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixel) + chunk(b"IEND", b"")


SAMPLES: Mapping[ContentKind, Content] = {
    "text": Text(text="Hello from the conformance suite"),
    "image": Image(data=_png(), mimetype="image/png", caption="a picture"),
    "video": Video(data=b"\x00\x00\x00\x18ftypmp42" + bytes(64), mimetype="video/mp4", caption="a video"),
    "voice": Voice(data=b"OggS" + bytes(64), mimetype="audio/ogg; codecs=opus"),
}
"""Small contents of each kind. The picture is a real one."""
