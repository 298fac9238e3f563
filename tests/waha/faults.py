"""What a call can meet on the way: each fault is one answer, or the lack of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

Manner = Literal["whole", "silent", "reset", "cut", "endless", "dribble", "unread"]


class Reply(Struct, frozen=True, kw_only=True):
    """An answer and the manner in which it goes out.

    `silent`: never. `reset`: the connection is reset instead. `cut`: it breaks off in the middle. `endless`: its body
    never ends. `dribble`: the same, a byte at a time. `unread`: it is reset before the request was read.
    """

    status: int = 201
    body: bytes = b"{}"
    headers: Mapping[str, str] = {}
    manner: Manner = "whole"


class Fault(Struct, frozen=True, kw_only=True):
    """What the next call meets. With `delivers` its recipients have the story all the same."""

    reply: Callable[[Any], Reply]
    """Makes the answer from the decoded body of the request."""
    delivers: bool = False

    @property
    def unread(self) -> bool:
        """It is met before the request is read."""
        return self.reply(None).manner == "unread"


def answer(status: int, body: Any, *, delivers: bool = False, **headers: str) -> Fault:
    """Any answer."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(reply=lambda _: Reply(status=status, body=raw, headers=named), delivers=delivers)


def exception(message: str, *, delivers: bool = False, **fields: Any) -> Fault:
    """A 500 in the shape of WAHA's exceptions, the whole request echoed."""
    return Fault(
        reply=lambda request: Reply(status=500, body=exception_body(message, request, **fields)),
        delivers=delivers,
    )


def exception_body(message: str, request: Any, **fields: Any) -> bytes:
    """What WAHA writes of an error that it did not expect."""
    inner = {
        "message": message,
        **fields,
        "stack": f"Error: {message}\n    at callErrorFromStatus (/app/client.js:32:19)",
    }
    return msgspec.json.encode(
        {
            "statusCode": 500,
            "timestamp": "2026-11-22T08:00:00.000Z",
            "exception": {"code": 2, "details": message, "metadata": {}, "name": "Error", **inner},
            "request": {
                "path": "/api/main/status/text",
                "method": "POST",
                "body": request,
                "query": {},
            },
            "version": {"version": "2026.7.1", "engine": "GOWS", "tier": "CORE", "browser": None},
        }
    )


def by_whatsapp(code: int) -> Fault:
    """WhatsApp's server refused, and GOWS says so."""
    return exception(f"2 UNKNOWN: server returned error {code}", details=f"server returned error {code}")


def session_is(state: str) -> Fault:
    """The session is not in the status that a call needs."""
    return answer(422, session_body("main", state))


def session_body(name: str, state: str) -> dict[str, Any]:
    """What WAHA answers to calls on such a session."""
    return {
        "error": "Session status is not as expected. Try again later or restart the session",
        "session": name,
        "status": state,
        "expected": ["WORKING"],
    }


def manner(how: Manner, *, status: int = 201, body: bytes = b"{}", delivers: bool = False) -> Fault:
    """The same answer in another manner."""
    return Fault(reply=lambda _: Reply(status=status, body=body, manner=how), delivers=delivers)
