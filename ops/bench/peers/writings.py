"""What a worker reads and writes on NATS for a session and for a story, byte for byte, for peers to do the same."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from secrets import token_hex
from typing import Final

import msgspec
from msgspec import structs

from stages.checkpoint import Checkpoint, finished
from stages.message_id import message_id_of
from stages.messages import BatchCounts, BatchEvent, Progress, ProgressEvent, Report, SessionLearning
from stages.ranges import Ranges
from transports.jobs import FINISHED_KEPT, encoded
from transports.leases import Claim
from transports.subjects import (
    BUCKET_JOBS,
    BUCKET_LEASES,
    HEADER_EXPECTED_LAST,
    HEADER_MESSAGE_ID,
    HEADER_TTL,
    HEADER_WRITER,
    bucket_stream,
    key_subject,
    progress_subject,
    report_subject,
)

READY: Final = "serving requests"
JOBS: Final = bucket_stream(BUCKET_JOBS)
LEASES: Final = bucket_stream(BUCKET_LEASES)
LEASE_TTL: Final = 8
RENEW_EVERY: Final = 2.0
IN_FLIGHT: Final = 512
"""Stories that a peer has in hand at the same time."""
FETCHED: Final = 256
"""Requests that it fetches in one go, as the worker does."""

Message = tuple[str, bytes, dict[str, str]]
"""Subject, payload and headers."""
_WRITER: Final = token_hex(8)
_CLAIM: Final = Claim(worker="peer", since="2026-11-22T08:00:00+00:00", nonce=token_hex(8), term=token_hex(8))
_AT: Final = datetime(2026, 11, 22, 8, 0, 0, 123456, UTC)
_NOTHING_LEARNED: Final = SessionLearning(
    max_proven_batch_size=0, used_historical_data=False, will_skip_ramping_next_time=False
)


def job_key(session: str, story: str) -> str:
    """Where the checkpoint of a story is stored."""
    return key_subject(BUCKET_JOBS, f"{session}.{story}")


def parked_key(session: str) -> str:
    """Where it would stand that nobody is to serve the session."""
    return key_subject(BUCKET_LEASES, f"{session}.parked")


def claim(session: str, after: int) -> Message:
    """The lease of `session`, or its renewal `after` a revision."""
    headers = {HEADER_EXPECTED_LAST: str(after), HEADER_TTL: f"{LEASE_TTL}s"}
    return key_subject(BUCKET_LEASES, session), msgspec.json.encode(_CLAIM), headers


def term(session: str) -> Message:
    """The acquisition of `session`, kept for ever."""
    return key_subject(BUCKET_LEASES, f"{session}.term"), _CLAIM.term.encode(), {}


def begun(session: str, story: str) -> Message:
    """The checkpoint before the one call of a story."""
    checkpoint = structs.replace(_begun(), session_id=session, story_id=story)
    return job_key(session, story), encoded(checkpoint), {HEADER_WRITER: _WRITER, HEADER_EXPECTED_LAST: "0"}


def ended(session: str, story: str, after: int) -> Message:
    """The mark that a story is finished, in the place of its checkpoint."""
    headers = {
        HEADER_WRITER: _WRITER,
        HEADER_EXPECTED_LAST: str(after),
        HEADER_TTL: f"{FINISHED_KEPT}s",
    }
    return job_key(session, story), encoded(finished(session, story)), headers


def events(session: str, story: str) -> list[tuple[str, bytes]]:
    """The three progress events of a story of one call."""
    subject = progress_subject(session, story)
    its = (structs.replace(event, session_id=session, story_id=story) for event in _events())
    return [(subject, msgspec.json.encode(event)) for event in its]


def report(session: str, story: str) -> Message:
    """The report of a story."""
    subject = report_subject(session, story)
    data = msgspec.json.encode(structs.replace(_report(), session_id=session, story_id=story))
    return subject, data, {HEADER_EXPECTED_LAST: "0", HEADER_MESSAGE_ID: subject}


@cache
def _begun() -> Checkpoint:
    return Checkpoint(
        session_id="",
        story_id="",
        order=token_hex(16),
        total=1,
        index=1,
        size=1,
        planned=1,
        next=1,
        out=((0, False, False, Ranges(range(1)).packed()),),  # type: ignore[arg-type] # as long as a `Retry` is
        starts=1,
        began=_AT,
    )


@cache
def _events() -> list[ProgressEvent]:
    before = Progress(current=0, total=0, percentage=0, recipients_sent=0, recipients_total=1)
    after = Progress(current=1, total=1, percentage=100, recipients_sent=1, recipients_total=1)
    batch = BatchEvent(index=1, size=1, duration_ms=0, attempt=1, outcome="sent")
    message_id = message_id_of("session", "story")
    first = ProgressEvent(session_id="", story_id="", state="sending", at=_AT, progress=before)
    second = structs.replace(first, progress=after, message_id=message_id, batch=batch, eta_ms=0)
    return [first, second, structs.replace(second, state="completed", batch=None)]


@cache
def _report() -> Report:
    message_id = message_id_of("session", "story")
    return Report(
        success=True,
        story_id="",
        session_id="",
        message_id=message_id,
        state="completed",
        total_recipients=1,
        sent_successfully=1,
        failed=0,
        skipped=0,
        unknown=0,
        batches=BatchCounts(total=1, successful=1, failed=0, retried=0),
        batch_sequence=[1],
        total_duration=1,
        failed_recipients=[],
        failure_reasons={},
        failures={},
        skips={},
        skipped_recipients=[],
        unknown_recipients=[],
        session_learning=_NOTHING_LEARNED,
        message_ids=[message_id],
    )
