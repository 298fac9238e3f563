"""WAHA's refusals as the typed failures: the one place that knows what its words mean.

What a failure says is in our own words: theirs may hold phone numbers and content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from msgspec import Struct

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
from stages.masking import masked
from transports.waha.bodies import Said, said_in

MISSING = "MISSING"
"""A session that WAHA does not have, as if that were a status."""

_BY_WHATSAPP = re.compile(r"(?:server returned error|info query returned status)\D{0,3}([0-9]{3})")
_BATCHES = re.compile(r"\bbatch ([0-9]+)\b")
_REJECTING = frozenset({400, 406, 421, 479})
_RESTRICTING = frozenset({463, 475})
_LOST = frozenset({"SCAN_QR_CODE", "STOPPED", "FAILED", MISSING})
_LOSING = frozenset({401, 403})


class Refusal(Struct, frozen=True, kw_only=True):
    """An answer that is no success, and what is needed to understand it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    several: bool = False
    """The call went to more than one recipient."""
    unexplained: type[EngineFailure] = Unavailable
    """What an error of the server's is that says nothing of its cause: it may have come after the story went out."""
    now: datetime


Rule = tuple[re.Pattern[str], Callable[[], EngineFailure]]


def _rule(pattern: str, failure: type[EngineFailure], message: str) -> Rule:
    return re.compile(pattern, re.IGNORECASE), lambda: failure(message)


_MEANINGS: Mapping[int, tuple[type[EngineFailure], str]] = {
    401: (SessionLost, "it refuses the API key"),
    403: (SessionLost, "it refuses the API key"),
    408: (Unavailable, "the request did not arrive whole"),
    413: (ContentRefused, "the content is too large"),
    501: (ContentRefused, "its engine cannot do that"),
    502: (OutcomeUnknown, "a proxy lost WAHA, it may have been sent"),
    504: (OutcomeUnknown, "a proxy gave up waiting, it may have been sent"),
}


# In order: what concerns the account comes before what concerns the call.
_ACCOUNT: tuple[Rule, ...] = (
    _rule(r"tempora\w+ ban|temp[ -]ban", AccountRestricted, "WhatsApp has banned the account for a time"),
    _rule(
        r"logged out|not logged in|not authori[sz]ed|no device|contain a device JID|device removed|"
        r"stream replaced|conflict.*replaced|unpaired",
        SessionLost,
        "WAHA's session is not linked to a phone any more",
    ),
)
_CALL: tuple[Rule, ...] = (
    _rule(r"frame too large", TooLarge, "the call does not fit in one frame"),
    _rule(
        r"info query timed out|usync|failed to get device list|not connected|connection closed|"
        r"no connection established|before info query returned",
        Unavailable,
        "WAHA is not connected to WhatsApp",
    ),
    _rule(
        r"timed[ -]?out|DEADLINE_EXCEEDED|returned response|connection (was )?lost|connection dropped|"
        r"ECONNRESET|RST_STREAM|^1 CANCELLED|^14 UNAVAILABLE",
        OutcomeUnknown,
        "WAHA had no answer from WhatsApp: it may have been sent",
    ),
    _rule(
        r"upload\D*status code 5\d\d",
        Unavailable,
        "WhatsApp's media servers did not take the media at this time",
    ),
    _rule(r"upload", ContentRefused, "WhatsApp's media servers did not take the media"),
    _rule(
        r"not implemented|only in plus|'contacts'",
        ContentRefused,
        "this WAHA cannot post that: see which engines and versions can",
    ),
)


def failure_of(refusal: Refusal) -> EngineFailure:
    """What the refusal means for the call and for the session."""
    if 300 <= refusal.status < 400:
        return Unavailable(
            "WAHA's address answers with a redirect, which is not followed: set the address it leads to"
        )
    said = said_in(refusal.body)
    return (
        _by_session_state(said)
        or _by_rules(_ACCOUNT, said)
        or _by_whatsapp(said, refusal)
        or _by_rules(_CALL, said)
        or _by_media_url(said)
        or _by_status(said, refusal)
    )


def failure_of_state(state: str) -> EngineFailure | None:
    """What a session's status means for calls; None where it can send."""
    if state == "WORKING":
        return None
    if state == "STARTING":
        return Unavailable("WAHA's session is starting")
    if needs_person(state):
        return SessionLost(
            f"WAHA's session is {masked(state)[:40]}: start it, and link it if it asks for that"
        )
    return Unavailable("WAHA's session is in a status that storycast does not know")


def needs_person(state: str) -> bool:
    """Whether a session in this status stays in it until a person acts: FAILED is what becomes of a lost device."""
    return state in _LOST or state.startswith("PASSKEY_")


def _by_session_state(said: Said) -> EngineFailure | None:
    return failure_of_state(said.state) if said.state else None


def _by_rules(rules: tuple[Rule, ...], said: Said) -> EngineFailure | None:
    return next((failure() for pattern, failure in rules if pattern.search(said.text)), None)


def _by_whatsapp(said: Said, refusal: Refusal) -> EngineFailure | None:
    """By the codes of WhatsApp's own server; WAHA names several where it has split the call."""
    codes = [int(code) for code in _BY_WHATSAPP.findall(said.text)]
    text = f"WhatsApp's server returned error {', '.join(map(str, dict.fromkeys(codes)))}"
    if _RESTRICTING.intersection(codes):
        return AccountRestricted(text)
    if _LOSING.intersection(codes):
        return SessionLost(text)
    if 429 in codes or "rate-overlimit" in said.text:
        wait = retry_after(refusal.headers, refusal.now)
        return RateLimited("WhatsApp refused the call: too many calls", retry_after=wait)
    if any(int(number) > 1 for number in _BATCHES.findall(said.text)):
        return OutcomeUnknown(
            "WAHA split the call and a part of it failed: lower max_batch to what one part holds"
        )
    if not codes:
        return None
    return _by_code(codes[0], text)


def _by_code(code: int, text: str) -> EngineFailure:
    if code in _REJECTING:
        return RecipientsRejected(text)
    return Unavailable(text) if code >= 500 else ContentRefused(text)


def _by_media_url(said: Said) -> EngineFailure | None:
    """WAHA fetches media by URL itself, and passes on why it could not."""
    if said.name != "AxiosError":
        return None
    if said.code == "ERR_BAD_REQUEST" or re.search(r"status code 4\d\d", said.text):
        return ContentRefused("WAHA could not fetch the media: its address refuses")
    return Unavailable("WAHA could not fetch the media at this time")


def _by_status(said: Said, refusal: Refusal) -> EngineFailure:
    """By HTTP's own meaning, where the words say nothing: WAHA's, or that of a proxy before it."""
    status = refusal.status
    if status == 429:
        wait = retry_after(refusal.headers, refusal.now)
        return RateLimited("WAHA answered 429: too many calls", retry_after=wait)
    if status == 404:
        return _not_found(said)
    # With a single recipient it is the content that is too large, and no smaller batch would help.
    if status == 413 and refusal.several:
        return TooLarge("WAHA answered 413: the request is too large")
    if status in _MEANINGS:
        failure, meaning = _MEANINGS[status]
        return failure(f"WAHA answered {status}: {meaning}")
    return (refusal.unexplained if status >= 500 else ContentRefused)(f"WAHA answered {status}")


def _not_found(said: Said) -> EngineFailure:
    if re.search(r"cannot (get|post)", said.text, re.IGNORECASE):
        return ContentRefused("WAHA answered 404: at this address is no WAHA that can post a status")
    return SessionLost("WAHA answered 404: it has no session of that name")


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """The server's own wait in seconds, from seconds or a date; None where it named none that can be read."""
    written = headers.get("retry-after", "").strip()
    if written.isascii() and written.isdigit():
        return float(written[:9])
    try:
        then = parsedate_to_datetime(written)
    except ValueError:
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (then - now).total_seconds())
