"""Sending: a request becomes one message, and a list too long for it an object that the message refers to."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import chain
from uuid import uuid4

import anyio
import msgspec
from msgspec import structs

from stages.errors import BadRequest
from stages.lines import LONGEST_LINE
from stages.messages import Level, SendRequest
from stages.requests import JSON, decode
from transports.bus import HEADERS_ROOM, Bus, Outbound, Stored
from transports.errors import PublishRefused, TransportError
from transports.lists import delete_list, put_list
from transports.subjects import HEADER_REPLY_TO, STREAM_SENDS, send_subject

log = logging.getLogger("storycast")

INLINE_AT_MOST = 512 * 1024
"""Bytes of recipients that a request holds itself: what is longer would fill the memory of whoever reads the stream."""
STREAM_FULL = 10077
"""JetStream's error code for a message beyond a limit of its stream: in messages, messages per subject, or bytes."""


async def submit(
    bus: Bus,
    request: SendRequest,
    recipients: Iterable[str] | None,
    *,
    level: Level,
    reply_to: str | None = None,
) -> Stored:
    """Store `request`, with `recipients` in place of its own unless they are None: see `Client.send`."""
    if recipients is None:
        listed = [each for each in request.recipients if isinstance(each, str)]
        if len(listed) < len(request.recipients) or not listed:
            return await _store(bus, request, _encoded(bus, request), level, reply_to)
        recipients = listed
    request = structs.replace(request, recipients=[], recipients_ref=None, audience=None)
    left = (recipient.rstrip("\r\n") for recipient in recipients)  # lines of a file will do
    room = _room(bus) - len(msgspec.json.encode(request))
    head, fits = _head(left, min(room, INLINE_AT_MOST))
    if fits:
        inline = structs.replace(request, recipients=head)
        return await _store(bus, inline, _encoded(bus, inline), level, reply_to)
    return await _store_apart(bus, request, chain(head, left), level, reply_to)


async def _store_apart(
    bus: Bus, request: SendRequest, recipients: Iterable[str], level: Level, reply_to: str | None
) -> Stored:
    # A new name each time, because an earlier request of the same story may have been accepted: what it refers to is
    # neither to be replaced while a worker reads it, nor deleted because this one is refused. (A digest would be a
    # name too, but it is known only when the whole list has gone by, and it would be shared.)
    name = f"{request.session_id}.{request.story_id}.{uuid4().hex}"
    referring = structs.replace(request, recipients_ref=name)
    data = _encoded(bus, referring)
    await put_list(bus, name, map(_line, recipients))
    try:
        return await _store(bus, referring, data, level, reply_to)
    except PublishRefused:
        # Only now it is certain that nothing refers to the list. After any other error it may have been stored.
        await _discard(bus, name)
        raise


async def _discard(bus: Bus, name: str) -> None:
    try:
        with anyio.CancelScope(shield=True):
            await delete_list(bus, name)
    except TransportError as error:  # why the request was refused is to be told, not this
        log.warning("a list that nothing refers to is left", extra={"list": name, "problem": str(error)})


async def _store(bus: Bus, request: SendRequest, data: bytes, level: Level, reply_to: str | None) -> Stored:
    headers = {HEADER_REPLY_TO: reply_to} if reply_to else None
    try:
        return await bus.store(Outbound(send_subject(request.session_id, level), data, headers))
    except PublishRefused as error:
        if error.code != STREAM_FULL:
            raise
        raise PublishRefused(
            f"too many requests wait already: stream {STREAM_SENDS} takes no more at level {level} for session "
            f"{request.session_id} ({error}). Story {request.story_id} was not stored; send it again when workers "
            "have caught up",
            code=error.code,
        ) from error


def _line(recipient: str) -> str:
    """What stands for `recipient` in a list: what no person is called is skipped there, and refuses no other one."""
    if len(recipient) <= LONGEST_LINE and "\n" not in recipient:
        return recipient
    return " ".join(recipient.split())[:LONGEST_LINE]


def _head(recipients: Iterator[str], room: int) -> tuple[list[str], bool]:
    """The first recipients until they take more than `room` bytes as JSON; whether these are all, and fit."""
    head = []
    for recipient in recipients:
        head.append(recipient)
        room -= len(msgspec.json.encode(recipient)) + 1
        if room < 0:
            return head, False
    return head, True


def _encoded(bus: Bus, request: SendRequest) -> bytes:
    """The request as it is published. Raises `BadRequest` if a worker would refuse it, or no message can hold it."""
    data = msgspec.json.encode(request)
    room = _room(bus)
    if len(data) > room:
        raise BadRequest(
            "too-large",
            found=f"a request of {len(data):,} bytes, not counting recipients without a priority",
            allowed=f"{room:,} bytes on this server (max_payload)",
        )
    decode(data, JSON)
    return data


def _room(bus: Bus) -> int:
    return bus.max_payload - HEADERS_ROOM
