"""Answers on their way: with the headers of NATS services, and cut down to what one message can carry."""

from __future__ import annotations

import logging

import msgspec
from msgspec import structs

from stages.errors import ContentRefused, OutcomeUnknown
from transports.bus import HEADERS_ROOM, Bus, Outbound
from transports.errors import TransportError
from transports.remote.wire import (
    Answer,
    EngineAudience,
    EngineFailed,
    EngineReceipt,
    error_headers,
    failure_answer,
)
from transports.subjects import is_for_answers

REASON = 40
"""Letters that are left of a reason in an answer that would not fit."""

log = logging.getLogger("storycast")


async def publish_answer(bus: Bus, subject: str, answer: Answer) -> None:
    """Send `answer` to whoever asked; where that is not possible, the log says so."""
    sent, data = fitting(answer, bus.max_payload - HEADERS_ROOM)
    await publish(bus, Outbound(subject, data, error_headers(sent)))


async def publish(bus: Bus, message: Outbound) -> None:
    """Send `message` to the reply subject of a request, if it is one."""
    if not is_for_answers(message.subject):
        return
    try:
        await bus.publish([message])
    except TransportError as problem:
        log.warning("an answer is lost", extra={"subject": message.subject, "problem": str(problem)})


def fitting(answer: Answer, room: int) -> tuple[Answer, bytes]:
    """`answer`, or what can be said in its place in `room` bytes, and its bytes."""
    for candidate in (answer, _shorter(answer), _in_place_of(answer)):
        data = msgspec.json.encode(candidate)
        if len(data) <= room:
            break
    return candidate, data


def _shorter(answer: Answer) -> Answer:
    """The same with less detail."""
    match answer:
        case EngineReceipt(failed=failed):
            cut = {jid: reason.encode("ascii", "replace").decode()[:REASON] for jid, reason in failed.items()}
            return structs.replace(answer, failed=cut)
        case EngineFailed():
            return structs.replace(answer, rejected={})  # who it was is found out by halves
    return answer


def _in_place_of(answer: Answer) -> Answer:
    """What is true as well, and short."""
    match answer:
        case EngineReceipt(failed=failed):
            words = f"it was sent, and the {len(failed):,} who did not get it do not fit in an answer"
            return failure_answer(OutcomeUnknown(words))
        case EngineAudience(recipients=recipients):
            words = f"the audience of {len(recipients):,} does not fit in an answer: raise NATS' max_payload"
            return failure_answer(ContentRefused(words))
    return answer
