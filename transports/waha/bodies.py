"""What WAHA's answers say: the message id of one that went well, and the words of one that did not.

An error echoes the whole request, so only the fields that WAHA itself writes are looked at, and a body may
be cut where it got too long.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

_KEY = re.compile(rb'\s*\{\s*"key"\s*:\s*(\{[^{}]*\})')
_ID = re.compile(rb'\s*\{\s*"id"\s*:\s*("[^"\\]{1,512}")')
_SERIALIZED = re.compile(r"true_status@broadcast_([^_\s]+)(?:_\S*)?")
_PLAIN = re.compile(r"[0-9A-Za-z.-]{1,128}")
# The first of each is the exception's. No echoed content looks like one: quotes are escaped within strings.
_FIELD = re.compile(rb'"(message|details|name|code)"\s*:\s*("(?:[^"\\]|\\.)*"|[0-9]+)')


class Said(Struct, frozen=True, kw_only=True):
    """The words of an error. They may hold phone numbers: they are to be recognized, never to be passed on."""

    text: str = ""
    state: str = ""
    """The session's status, where the error is that it is not the expected one."""
    name: str = ""
    code: str = ""


def message_id_in(body: bytes) -> str | None:
    """The id of the message that went out, in either of WAHA's shapes; None where none can be read."""
    decoded = _decoded(body)
    if decoded is None:
        decoded = _beginning(body)
    if isinstance(key := decoded.get("key"), dict):
        return _plain(key.get("id"))
    found = _SERIALIZED.fullmatch(serialized) if isinstance(serialized := decoded.get("id"), str) else None
    return _plain(found[1]) if found else None


def new_id_in(body: bytes) -> str | None:
    """The id that `new-message-id` gave; None where none can be read."""
    return _plain((_decoded(body) or {}).get("id"))


def said_in(body: bytes) -> Said:
    """The words of an error, in any of WAHA's shapes; empty where there are none."""
    decoded = _decoded(body)
    if decoded is None:
        return _said_at_first(body)
    exception = decoded.get("exception")
    inner = exception if isinstance(exception, dict) else {}
    error = decoded.get("error")
    outer = error.get("message") if isinstance(error, dict) else error
    words = (inner.get("message"), inner.get("details"), decoded.get("message"), outer)
    return Said(
        text=" ".join(dict.fromkeys(_words(word) for word in words if word)),
        state=_words(decoded.get("status")) if isinstance(decoded.get("expected"), list) else "",
        name=_words(inner.get("name")),
        code=_words(inner.get("code")),
    )


def _said_at_first(body: bytes) -> Said:
    _, found, fields = body.partition(b'"exception"')
    told: dict[str, str] = {}
    for name, value in _FIELD.findall(fields if found else body):
        told.setdefault(name.decode(), _words(_loaded(value)))
    text = " ".join(filter(None, (told.get("message"), told.get("details"))))
    return Said(text=text, name=told.get("name", ""), code=told.get("code", ""))


def _beginning(body: bytes) -> dict[str, Any]:
    """What stands first in an answer that was too long to be read whole: the id does."""
    if found := _KEY.match(body):
        return {"key": _loaded(found[1])}
    if found := _ID.match(body):
        return {"id": _loaded(found[1])}
    return {}


def _decoded(body: bytes) -> dict[str, Any] | None:
    found = _loaded(body)
    return found if isinstance(found, dict) else None


def _loaded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _words(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(word for word in value if isinstance(word, str))
    return str(value) if isinstance(value, str | int) else ""


def _plain(value: Any) -> str | None:
    return value if isinstance(value, str) and _PLAIN.fullmatch(value) else None
