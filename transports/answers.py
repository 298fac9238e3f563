"""JetStream's answers, decoded: that a message is stored, or the message that was asked for, or why not."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from transports.errors import NotStored, PublishRefused

_NOT_FOUND = 404


class _Refusal(Struct, frozen=True):
    code: int = 0
    err_code: int = 0
    description: str = ""


class PublishAck(Struct, frozen=True):
    """The answer to a publish that a stream takes."""

    seq: int = 0
    duplicate: bool = False
    error: _Refusal | None = None


class StoredMessage(Struct, frozen=True):
    """A message as a stream has it; `hdrs` are its headers as on the wire."""

    seq: int = 0
    data: bytes = b""
    hdrs: bytes = b""


class Found(Struct, frozen=True):
    """The answer to whoever asks a stream for a message."""

    message: StoredMessage | None = None
    error: _Refusal | None = None


_ack = msgspec.json.Decoder(PublishAck)
_found = msgspec.json.Decoder(Found)


def acknowledged(answer: bytes) -> PublishAck:
    """What JetStream says to a publish. Raises `PublishRefused`, `NotStored`."""
    ack = _ack.decode(answer)
    if ack.error is not None:
        raise _raised(ack.error)
    return ack


def found_message(answer: bytes) -> StoredMessage:
    """The message that JetStream was asked for. Raises `NotStored` if there is none, `PublishRefused`."""
    found = _found.decode(answer)
    if found.error is not None:
        raise _raised(found.error)
    return found.message or StoredMessage()


def headers_in(written: bytes) -> Mapping[str, str]:
    """Headers as they are on the wire: a line of version and status, then one for each, as nats-py reads them."""
    lines = written.decode(errors="replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _raised(refusal: _Refusal) -> NotStored | PublishRefused:
    said = refusal.description or f"error {refusal.code}"
    if refusal.code == _NOT_FOUND:
        return NotStored(f"NATS: {said}")
    return PublishRefused(f"NATS: {said}", code=refusal.err_code)
