"""The library's error texts as the typed failures: one table, read once, here.

The texts are those of whatsmeow, the Go library inside neonize. What matters most is whether anybody can have got the
story: a text that comes before the message left is `Unavailable` at worst, one that comes after it `OutcomeUnknown`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal

from stages.errors import (
    AccountRestricted,
    ContentRefused,
    EngineFailure,
    OutcomeUnknown,
    RateLimited,
    RecipientsRejected,
    SessionLost,
    TooLarge,
    Unavailable,
)
from transports.neonize.client import ClientError
from transports.neonize.masking import masked

Step = Literal["prepare", "send"]
"""`prepare`: upload, contacts, privacy, device lists, where nothing can have been sent yet. `send`: the post itself."""

_RESTRICTED: Final = frozenset({463, 475})
_REJECTED: Final = frozenset({400, 406, 421, 479})
_LOST: Final = frozenset({401, 403})

_Rule = tuple[re.Pattern[str], Callable[[re.Match[str], str], EngineFailure]]


def failure_of(text: str, step: Step) -> EngineFailure:
    """What the library's error `text` means, when it came at that step of a call."""
    said = masked(text)
    for pattern, make in (*_ANYWHERE, *(_SENDING if step == "send" else ())):
        if found := pattern.search(text):
            return make(found, said)
    return OutcomeUnknown(said) if step == "send" else Unavailable(said)


def failure_from(error: Exception, step: Step) -> EngineFailure:
    """What `error` means, whatever it is, when it was raised at that step of a call."""
    if isinstance(error, EngineFailure):
        return error
    if isinstance(error, ClientError):
        return failure_of(str(error), step)
    return OutcomeUnknown(in_words(error)) if step == "send" else Unavailable(in_words(error))


def in_words(error: Exception) -> str:
    """`error` for people: of one that is not the library's the kind only, lest its words hold what was to be sent."""
    if isinstance(error, ClientError):
        return masked(str(error))
    why = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    return f"the client failed ({type(error).__name__}{why})"


def _of_ack(found: re.Match[str], said: str) -> EngineFailure:
    """WhatsApp answered the post with an error code: nobody got it."""
    code = int(found[1])
    if code == 429:
        return RateLimited(said)
    if code in _RESTRICTED:
        return AccountRestricted(said)
    if code in _REJECTED:
        return RecipientsRejected(said)
    if code in _LOST:
        return SessionLost(said)
    return Unavailable(said) if code >= 500 else ContentRefused(said)


def _of_query(found: re.Match[str], said: str) -> EngineFailure:
    """A question that precedes the post was answered with an error code."""
    code = int(found[1])
    if code == 429:
        return RateLimited(said)
    if code in _RESTRICTED:
        return AccountRestricted(said)
    if code in _LOST:
        return SessionLost(said)
    return RecipientsRejected(said) if code in _REJECTED else Unavailable(said)


def _of_upload(found: re.Match[str], said: str) -> EngineFailure:
    code = int(found[1])
    if code == 429:
        return RateLimited(said)
    # 401 and 403: the permission to upload has run out, and a new one is fetched for the next try.
    return ContentRefused(said) if 400 <= code < 500 and code not in _LOST else Unavailable(said)


def _always(kind: type[EngineFailure]) -> Callable[[re.Match[str], str], EngineFailure]:
    return lambda _, said: kind(said)


def _rule(pattern: str, make: Callable[[re.Match[str], str], EngineFailure]) -> _Rule:
    return re.compile(pattern, re.IGNORECASE), make


_ANYWHERE: Final[tuple[_Rule, ...]] = (
    _rule(r"upload failed with status code (\d{3})", _of_upload),
    _rule(r"info query returned status (\d{3})", _of_query),
    _rule(r"rate-overlimit", _always(RateLimited)),
    _rule(r"server returned error (\d{3})", _of_ack),
    _rule(r"frame too large", _always(TooLarge)),
    # The library looks all recipients up in its store by one query, which has an end.
    _rule(r"variable number must be between|too many SQL variables", _always(TooLarge)),
    _rule(r"the store doesn't contain a device JID", _always(SessionLost)),
    _rule(r"client is nil", _always(Unavailable)),
    _rule(r"failed to dial", _always(Unavailable)),
)

_SENDING: Final[tuple[_Rule, ...]] = (
    # These precede the post, whatever made them fail.
    _rule(
        r"^failed to (get|fetch|prefetch|create|encrypt|marshal|save|send message node|process prekey)\b",
        _always(Unavailable),
    ),
    _rule(r"timed out waiting for message send response", _always(OutcomeUnknown)),
    _rule(r"websocket disconnected before message send", _always(OutcomeUnknown)),
    # Bare, without what failed before it, these come from sending the frame a second time after a disconnection:
    # the first one may have arrived.
    _rule(r"^(websocket not connected|frame socket is closed)$", _always(OutcomeUnknown)),
)
