"""What a worker publishes, as messages: events, reports, and requests that are refused."""

from __future__ import annotations

import gzip
import logging
from datetime import datetime

import msgspec
from msgspec import structs

from stages.errors import BadRequest
from stages.flow import Delivery, Outgoing
from stages.messages import Alert, ProgressEvent, Rejection, Report, Scaling
from transports.bus import HEADERS_ROOM, Outbound
from transports.subjects import (
    HEADER_EXPECTED_LAST,
    HEADER_MESSAGE_ID,
    HEADER_REJECTION,
    alert_subject,
    dry_run_subject,
    progress_subject,
    rejected_subject,
    report_subject,
    scaling_subject,
)

log = logging.getLogger("storycast")


def event_message(item: Outgoing) -> Outbound | None:
    """The message for what everybody may hear and nobody waits for; None for any other item."""
    match item:
        case ProgressEvent():
            return Outbound(progress_subject(item.session_id, item.story_id), msgspec.json.encode(item))
        case Scaling():
            return Outbound(scaling_subject(item.session_id), msgspec.json.encode(item))
        case Alert():
            log.error(
                "alert",
                extra={"session": item.session_id, "kind": item.kind, "reason": item.reason},
            )
            return Outbound(alert_subject(item.session_id), msgspec.json.encode(item))
    return None


def report_message(report: Report, max_payload: int) -> Outbound:
    """The report; without its lists of names if only so it fits, and with bare counts if not even so."""
    subject, room = report_subject(report.session_id, report.story_id), max_payload - HEADERS_ROOM
    data = msgspec.json.encode(report)
    if len(data) > room:
        report = structs.replace(
            report, failed_recipients=[], failure_reasons={}, skipped_recipients=[], unknown_recipients=[]
        )
        data = msgspec.json.encode(report)
    if len(data) > room:
        # An engine may word a reason of its own for each recipient.
        data = msgspec.json.encode(structs.replace(report, failures={}, skips={}, batch_sequence=[]))
    if report.dry_run:
        return Outbound(dry_run_subject(report.session_id, report.story_id), data)
    # Exactly one report a story: a second one is refused by the stream itself.
    return Outbound(subject, data, {HEADER_EXPECTED_LAST: "0", HEADER_MESSAGE_ID: subject})


def report_gone(delivery: Delivery, story_id: str, now: datetime) -> Rejection:
    """The answer to whoever repeats a story that was posted, and whose report is not kept any more."""
    why = BadRequest(
        "already-posted",
        field="storyId",
        found=f"{story_id}, whose report is not kept any more",
        allowed="another storyId",
    )
    return Rejection(
        code=why.code,
        field=why.field,
        found=why.found,
        allowed=why.allowed,
        message=str(why),
        session_id=delivery.session,
        story_id=story_id,
        at=now,
    )


def rejected_message(session: str, original: bytes, why: bytes, max_payload: int) -> Outbound:
    """The request as it came, under its rejection; compressed if only so it fits, and cut if not even so."""
    headers = {HEADER_REJECTION: why.decode()}
    room = max_payload - len(why) - HEADERS_ROOM
    payload = original
    if len(payload) > room:
        payload = gzip.compress(original)
        headers["Content-Encoding"] = "gzip"
    if len(payload) > room:
        payload = original[:room]
        headers = {HEADER_REJECTION: why.decode(), "Storycast-Cut-From": str(len(original))}
    return Outbound(rejected_subject(session), payload, headers)


def log_report(report: Report) -> None:
    """One structured line for each story."""
    log.info(
        "story finished",
        extra={
            "session": report.session_id,
            "story": report.story_id,
            "state": report.state,
            "total": report.total_recipients,
            "sent": report.sent_successfully,
            "failed": report.failed,
            "skipped": report.skipped,
            "unknown": report.unknown,
            "batches": report.batches.total,
            "ms": report.total_duration,
        },
    )
