"""The wire contract between a worker and an engine that is served elsewhere: requests and answers, all of them JSON.

Requests are strict: a service refuses a field that it does not know, for what it passes over it cannot keep. Answers
are lenient: a worker passes over fields that it does not know. docs/engines.md explains the contract to those
who implement it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from stages.engine import Capabilities, EngineState, Receipt
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
from stages.messages import Content, Wire

HEADER_ERROR = "Nats-Service-Error"
HEADER_ERROR_CODE = "Nats-Service-Error-Code"

LONGEST_MESSAGE = 500
"""Characters of a failure's message that travel."""

LONGEST_REASON = 64
"""Characters of the reason of one recipient that are taken in."""

CODES: Mapping[type[EngineFailure], int] = {
    ContentRefused: 400,
    SessionLost: 401,
    AccountRestricted: 403,
    TooLarge: 413,
    RecipientsRejected: 422,
    RateLimited: 429,
    Unavailable: 503,
    OutcomeUnknown: 504,
}
"""The code in the header of each kind of failure, for tools that know nothing of storycast."""

_KINDS = {failure.kind: failure for failure in CODES}


class EngineCall(Wire, frozen=True, kw_only=True):
    """Post `content` to `recipients`: the request on `storycast.engine.<session>.send`."""

    call_id: Annotated[str, Meta(min_length=1, max_length=64, description="New for each call.")]
    content: Content
    recipients: Annotated[list[str], Meta(min_length=1, description="Canonical JIDs.")]
    message_id: Annotated[
        str | None, Meta(description="The id the message must bear; null: the engine chooses.")
    ] = None
    deadline_ms: Annotated[
        int, Meta(ge=1, le=86_400_000, description="Milliseconds, from its arrival, in which to answer.")
    ]
    targeted: Annotated[
        bool, Meta(description="It goes to exactly `recipients`; false: to the account's own audience.")
    ] = True


class Answer(Struct, frozen=True, kw_only=True, rename="camel", tag_field="type"):
    """What all answers have in common; unknown fields in them are passed over."""


A = TypeVar("A", bound=Answer)


class EngineReceipt(Answer, frozen=True, kw_only=True, tag="receipt"):
    """The call went through: everybody in it has the message, but those in `failed`."""

    message_id: str
    failed: Annotated[dict[str, str], Meta(description="Recipient that was left out to reason.")] = field(
        default_factory=dict
    )


class EngineFailed(Answer, frozen=True, kw_only=True, tag="failure"):
    """The call did not go through. Nobody got it, unless `kind` is `outcome-unknown`."""

    kind: Annotated[str, Meta(description="One of: " + ", ".join(_KINDS))]
    message: Annotated[
        str, Meta(description="For people; neither content nor whole phone numbers nor secrets.")
    ] = ""
    retry_after: Annotated[
        float | None, Meta(description="`rate-limited`: seconds to wait, if that is known.")
    ] = None
    rejected: Annotated[
        dict[str, str], Meta(description="`recipients-rejected`: recipient to reason, as far as known.")
    ] = field(default_factory=dict)


class EngineReport(Answer, frozen=True, kw_only=True, tag="status"):
    """How the engine is, and what it can do: the answer on `storycast.engine.<session>.status`."""

    state: EngineState
    capabilities: Capabilities
    reason: str = ""
    served_by: Annotated[str, Meta(description="What serves the session, and where, for people.")] = ""
    calls: Annotated[
        list[str] | None, Meta(description="The `callId`s under way; null where they are not known.")
    ] = None


class EngineAudience(Answer, frozen=True, kw_only=True, tag="audience"):
    """Whom a post without chosen recipients goes to: the answer on `storycast.engine.<session>.audience`."""

    recipients: list[str]


class Undecodable(ValueError):
    """Bytes that are not what the contract allows there."""


def call_in(data: bytes) -> EngineCall:
    """The call that travelled. Raises `Undecodable`."""
    call: EngineCall = _decoded(data, EngineCall)
    return call


def answer_in(data: bytes, kind: type[A]) -> A:
    """The answer that travelled. Raises the failure that it is instead, or `Undecodable`."""
    answer = _decoded(data, kind | EngineFailed)
    if isinstance(answer, kind):
        return answer
    raise failure_in(answer)


def _decoded(data: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        raise Undecodable(heard(str(problem), 200)) from problem


def heard(text: str, most: int = LONGEST_MESSAGE) -> str:
    """What a gateway says, as it may go into logs, alerts and reports: without phone numbers, and `most` letters."""
    return masked(text)[:most]


def heard_reasons(reasons: Mapping[str, str]) -> dict[str, str]:
    """Reasons by recipient, each as it may go into a report."""
    return {jid: heard(reason, LONGEST_REASON) for jid, reason in reasons.items()}


def receipt_answer(receipt: Receipt) -> EngineReceipt:
    """A receipt as it travels."""
    return EngineReceipt(message_id=receipt.message_id, failed=dict(receipt.failed))


def failure_answer(failure: EngineFailure) -> EngineFailed:
    """A failure as it travels."""
    return EngineFailed(
        kind=failure.kind,
        message=_sendable(str(failure))[:LONGEST_MESSAGE],
        retry_after=failure.retry_after if isinstance(failure, RateLimited) else None,
        rejected=failure.rejected if isinstance(failure, RecipientsRejected) else {},
    )


def failure_in(answer: EngineFailed) -> EngineFailure:
    """The failure that travelled. One of a kind that is not known leaves open whether anybody got the message."""
    kind, message = _KINDS.get(answer.kind), heard(answer.message)
    if kind is None:
        return OutcomeUnknown(
            f"the engine's service answered with an unknown kind of failure: {heard(answer.kind, 60)!r}"
        )
    if kind is RateLimited:
        wait = answer.retry_after
        return RateLimited(message, retry_after=None if wait is None else max(wait, 0.0))
    if kind is RecipientsRejected:
        return RecipientsRejected(message, rejected=heard_reasons(answer.rejected))
    return kind(message)


def error_headers(answer: Answer) -> dict[str, str]:
    """The headers by which every NATS tool sees that an answer is a failure."""
    if not isinstance(answer, EngineFailed):
        return {}
    kind = _KINDS.get(answer.kind, OutcomeUnknown)
    words = answer.message.encode("ascii", "replace").decode()
    line = "".join(letter if letter.isprintable() else " " for letter in words)[:200].strip()
    return {HEADER_ERROR: line or answer.kind, HEADER_ERROR_CODE: str(CODES[kind])}


def _sendable(text: str) -> str:
    """`text` without what UTF-8 cannot carry, as it comes from undecodable bytes."""
    return text.encode("utf-8", "replace").decode()
