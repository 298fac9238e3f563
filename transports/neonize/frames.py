"""What the worker and the process that hosts a client say to each other, and how it is framed.

Each frame is a length of four bytes and a MessagePack map. The pipe is a socket of its own: the library prints to
stdout as it likes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct, field

from stages.engine import EngineState
from stages.messages import Content
from transports.neonize.options import Neonize

LARGEST: Final = 256 * 1024 * 1024
"""No frame is longer, in bytes; a longer one means that the stream is out of step."""
_LENGTH: Final = struct.Struct(">I")


class FrameError(Exception):
    """What came is no frame."""


class Abilities(Struct, frozen=True, kw_only=True):
    """What the installed library can do beyond a post to the account's audience."""

    takes_message_id: bool = False
    takes_recipients: bool = False
    version: str = ""


class Begin(Struct, frozen=True, kw_only=True, tag=True):
    """The first frame: which session, and whether it is to be linked rather than served."""

    session: str
    options: Neonize
    pair: bool = False
    phone: str | None = None


class Post(Struct, frozen=True, kw_only=True, tag=True):
    """Post a story."""

    call: int
    content: Content
    recipients: Sequence[str]
    message_id: str | None = None


class ListAudience(Struct, frozen=True, kw_only=True, tag=True):
    """Say who the account's audience is."""

    call: int


Order = Begin | Post | ListAudience


class Hello(Struct, frozen=True, kw_only=True, tag=True):
    """The library is loaded, and the store is ours."""

    abilities: Abilities


class Unusable(Struct, frozen=True, kw_only=True, tag=True):
    """The process cannot host the session; `code` is one of missing, in-use, unsafe, failed."""

    code: str
    reason: str


class Standing(Struct, frozen=True, kw_only=True, tag=True):
    """How the session stands. `until` is when a restriction ends (epoch seconds).

    `over` says that this client will do nothing more; `person` that starting another one helps only after somebody
    has acted; `linking` that all there is to be done is to link the session, before which nothing can go out.
    """

    state: EngineState
    reason: str = ""
    until: float | None = None
    over: bool = False
    person: bool = False
    linking: bool = False


class Posted(Struct, frozen=True, kw_only=True, tag=True):
    """A call went through; `failed` are those of its recipients that were left out."""

    call: int
    message_id: str
    failed: Mapping[str, str] = field(default_factory=dict)


class Refused(Struct, frozen=True, kw_only=True, tag=True):
    """A call failed; `kind` is that of the typed failure."""

    call: int
    kind: str
    message: str
    retry_after: float | None = None
    rejected: Mapping[str, str] = field(default_factory=dict)


class Listed(Struct, frozen=True, kw_only=True, tag=True):
    """The account's audience, as canonical JIDs."""

    call: int
    recipients: Sequence[str]


class Scan(Struct, frozen=True, kw_only=True, tag=True):
    """What the QR code to be scanned says, until the next one comes."""

    code: str


class TypeIn(Struct, frozen=True, kw_only=True, tag=True):
    """The code to be typed in on the phone."""

    code: str


class Linked(Struct, frozen=True, kw_only=True, tag=True):
    """The session is linked to the account `jid`; `already` if it was so before."""

    jid: str
    already: bool = False


class Cleared(Struct, frozen=True, kw_only=True, tag=True):
    """WhatsApp had removed the device that the session was; that is cleaned up, and linking can start anew."""


class NotLinked(Struct, frozen=True, kw_only=True, tag=True):
    """Linking failed."""

    reason: str


class Noted(Struct, frozen=True, kw_only=True, tag=True):
    """A line of the library's log, numbers masked."""

    text: str


Answer = Posted | Refused | Listed
Word = (
    Hello
    | Unusable
    | Standing
    | Posted
    | Refused
    | Listed
    | Scan
    | TypeIn
    | Linked
    | Cleared
    | NotLinked
    | Noted
)

_encoder = msgspec.msgpack.Encoder()
_orders: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_words: msgspec.msgpack.Decoder[Word] = msgspec.msgpack.Decoder(Word)


def framed(frame: Order | Word) -> bytes:
    """`frame` as it goes through the pipe."""
    body = _encoder.encode(frame)
    return _LENGTH.pack(len(body)) + body


class Unframed:
    """Cuts the bytes of a pipe into the bodies of frames."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take `data` in, and return what is complete now. Raises `FrameError` when out of step."""
        self._held += data
        while len(self._held) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._held)
            if length > LARGEST:
                raise FrameError(f"a frame of {length} bytes")
            end = _LENGTH.size + length
            if len(self._held) < end:
                return
            body = bytes(self._held[_LENGTH.size : end])
            del self._held[:end]
            yield body


def order_in(body: bytes) -> Order:
    """The order in `body`. Raises `FrameError`."""
    try:
        return _orders.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FrameError(str(error)) from error


def word_in(body: bytes) -> Word:
    """The answer in `body`. Raises `FrameError`."""
    try:
        return _words.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FrameError(str(error)) from error
