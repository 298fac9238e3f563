"""Sending a story from the command line: the request is built, published as any client would, and followed."""

from __future__ import annotations

import math
import mimetypes
from collections.abc import Iterable
from pathlib import Path

import anyio
import msgspec

from ops.display import Display
from pipeline.client import Answer, Client, Events
from stages.errors import BadRequest, Unavailable
from stages.messages import Alert, Level, Rejection, Report, SendRequest
from stages.requests import JSON, decode


def content_from(text: str | None, media: dict[str, str | None], *, caption: str | None) -> dict[str, object]:
    """The content the options ask for: a text, or one medium by address or by file. Raises `BadRequest`."""
    chosen = {kind: source for kind, source in media.items() if source is not None}
    if (text is not None) + len(chosen) != 1:
        found = "none" if text is None and not chosen else "more than one"
        raise BadRequest(
            "content", field="content", found=found, allowed="one of --text, --image, --video, --voice"
        )
    if text is not None:
        return {"type": "text", "text": text}
    [(kind, source)] = chosen.items()
    is_address = source.startswith(("http://", "https://"))
    where = {"url": source} if is_address else {"data": _bytes(Path(source))}
    said = {} if caption is None or kind == "voice" else {"caption": caption}
    return {"type": kind, "mimetype": _mimetype(kind, source), **where, **said}


def request_from(fields: dict[str, object]) -> SendRequest:
    """The request with these fields, checked just as the worker will check it. Raises `BadRequest`."""
    return decode(msgspec.json.encode(fields), JSON)


async def send_and_follow(
    client: Client,
    request: SendRequest,
    display: Display,
    *,
    recipients: Iterable[str] | None = None,
    level: Level = "normal",
    timeout: float = math.inf,
) -> Answer | None:
    """Send `request`, show what becomes of it, and return its answer; None if there is none in `timeout` seconds.

    None also if its session is stopped, for then a person has to act first. The request is kept either way.
    """
    async with client.send_and_follow(request, recipients=recipients, level=level) as events:
        with display, anyio.move_on_after(timeout):
            return await _answer(events, display)
    return None


async def _answer(events: Events, display: Display) -> Answer | None:
    async for event in events:
        if isinstance(event, Report | Rejection):
            return event
        display.show(event)
        if isinstance(event, Alert) and event.kind != Unavailable.kind:
            return None  # an engine that is away is tried again by itself; anything else takes long
    return None


def _mimetype(kind: str, source: str) -> str:
    guessed = mimetypes.guess_type(source)[0]
    if guessed is None:
        raise BadRequest(
            "mimetype",
            field=f"--{kind}",
            found=source,
            allowed="a name whose ending says what it is, such as .jpg",
        )
    return guessed


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadRequest(
            "file", field=str(path), found=error.strerror or str(error), allowed="a readable file"
        ) from error
