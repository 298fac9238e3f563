"""publisher: puts what leaves the lanes onto NATS, and settles the requests it belongs to.

A request is acknowledged only after its report, or its rejection, is stored. Progress, decisions and alerts are
published without waiting for anybody; whatever waits is taken in one go.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Coroutine, Hashable, Sequence
from itertools import count

import anyio
import msgspec
import trio
from anyio.streams.memory import MemoryObjectReceiveStream
from msgspec import Struct
from trio import TASK_STATUS_IGNORED, TaskStatus

from pipeline.custody import Custody
from stages.errors import StoreFailed
from stages.flow import Delivery, Outgoing, Postponed, Refused, Repeated, Reported
from stages.ingest import ReportStore
from stages.messages import Alert, ProgressEvent, Report, Scaling
from stages.pacing import Random, backoff
from transports.bus import WRONG_LAST_SEQUENCE, Bus, Outbound
from transports.errors import PublishRefused, TransportError
from transports.subjects import (
    HEADER_EXPECTED_LAST,
    HEADER_MESSAGE_ID,
    HEADER_REJECTION,
    alert_subject,
    progress_subject,
    rejected_subject,
    report_subject,
    scaling_subject,
)

AT_ONCE = 256
ANSWER_RETRY = 5.0
HEADERS_ROOM = 4_096

log = logging.getLogger("storycast")


class PublisherStatistics(Struct, frozen=True):
    """What the publisher has done."""

    events: int
    """Progress events, decisions and alerts published."""
    reports: int
    """Reports stored."""
    rejections: int
    """Refused requests stored with their reason."""
    failed_stores: int
    """Times a store had to be tried again."""


class Publisher:
    """Ends when `outgoing` is closed and all of it is published."""

    def __init__(
        self,
        outgoing: MemoryObjectReceiveStream[Outgoing],
        bus: Bus,
        custody: Custody,
        *,
        reports: ReportStore,
        random: Random,
    ) -> None:
        self._outgoing = outgoing
        self._bus = bus
        self._custody = custody
        self._reports = reports
        self._random = random
        self._askers: dict[tuple[str, str], list[Delivery]] = {}
        self._events = self._stored_reports = self._rejections = self._failed_stores = 0

    async def __call__(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until `outgoing` is closed."""
        async with self._outgoing:
            task_status.started()
            async for first in self._outgoing:
                await self._publish([first, *self._waiting()])

    def statistics(self) -> PublisherStatistics:
        """Counts since the start."""
        return PublisherStatistics(self._events, self._stored_reports, self._rejections, self._failed_stores)

    def _waiting(self) -> list[Outgoing]:
        waiting: list[Outgoing] = []
        while len(waiting) < AT_ONCE:
            try:
                waiting.append(self._outgoing.receive_nowait())
            except (anyio.WouldBlock, anyio.EndOfStream):
                break
        return waiting

    async def _publish(self, items: Sequence[Outgoing]) -> None:
        events = [event for item in items if (event := _event(item))]
        await self._tell(events)
        self._events += len(events)
        done: list[Hashable] = []
        async with trio.open_nursery() as nursery:
            for item in items:
                nursery.start_soon(self._settle, item, done)
        await self._quietly(self._custody.acknowledge(done))

    async def _settle(self, item: Outgoing, done: list[Hashable]) -> None:
        """Store what settles a request; `done` collects those that may now be acknowledged."""
        match item:
            case Reported(delivery=delivery, report=report):
                await self._store(_report_message(report))
                self._stored_reports += 1
                _log_report(report)
                askers = self._askers.pop((report.session_id, report.story_id), [])
                await self._answer([delivery, *askers], msgspec.json.encode(report), done)
            case Refused(delivery=delivery, rejection=rejection):
                why = msgspec.json.encode(rejection)
                session = rejection.session_id
                await self._store(_rejected_message(session, delivery.data, why, self._bus.max_payload))
                self._rejections += 1
                log.warning("request refused", extra={"session": session, "code": rejection.code})
                await self._answer([delivery], why, done)
            case Repeated(delivery=delivery, story_id=story_id):
                await self._repeat(delivery, story_id, done)
            case Postponed(delivery=delivery, until=until):
                await self._quietly(self._custody.postpone(delivery.key, until))

    async def _repeat(self, delivery: Delivery, story_id: str, done: list[Hashable]) -> None:
        """A repeated request gets the report of the first one: now, or when it is there."""
        askers = self._askers.setdefault((delivery.session, story_id), [])
        askers.append(delivery)
        try:
            report = await self._reports.find(delivery.session, story_id)
        except StoreFailed:
            report = None
        if report is not None and delivery in askers:
            askers.remove(delivery)
            await self._answer([delivery], msgspec.json.encode(report), done)
        if not askers:
            self._askers.pop((delivery.session, story_id), None)

    async def _answer(self, deliveries: Sequence[Delivery], answer: bytes, done: list[Hashable]) -> None:
        await self._tell([Outbound(one.reply_to, answer) for one in deliveries if one.reply_to])
        done.extend(one.key for one in deliveries)

    async def _tell(self, messages: Sequence[Outbound]) -> None:
        if messages:
            await self._quietly(self._bus.publish(messages))

    async def _store(self, message: Outbound) -> None:
        """Store `message`, however long it takes: until then its request stays unacknowledged."""
        for attempt in count(1):
            try:
                await self._bus.store(message)
            except PublishRefused as error:
                if error.code == WRONG_LAST_SEQUENCE:
                    return  # it is stored already: an earlier acknowledgement got lost
                problem: TransportError = error
            except TransportError as error:
                problem = error
            else:
                return
            self._failed_stores += 1
            log.warning("cannot store", extra={"subject": message.subject, "problem": str(problem)})
            await trio.sleep(backoff(attempt, self._random))

    async def _quietly(self, work: Coroutine[object, object, None]) -> None:
        """Do what may be lost with the connection: events, answers, and settlements, which are then asked anew."""
        try:
            await work
        except TransportError as error:
            log.warning("lost on the way to NATS", extra={"problem": str(error)})


def _event(item: Outgoing) -> Outbound | None:
    match item:
        case ProgressEvent():
            return Outbound(progress_subject(item.session_id, item.story_id), msgspec.json.encode(item))
        case Scaling():
            return Outbound(scaling_subject(item.session_id), msgspec.json.encode(item))
        case Alert():
            log.error(
                "session stopped",
                extra={"session": item.session_id, "kind": item.kind, "reason": item.reason},
            )
            return Outbound(alert_subject(item.session_id), msgspec.json.encode(item))
    return None


def _report_message(report: Report) -> Outbound:
    subject = report_subject(report.session_id, report.story_id)
    # Exactly one report a story: a second one is refused by the stream itself.
    headers = {HEADER_EXPECTED_LAST: "0", HEADER_MESSAGE_ID: subject}
    return Outbound(subject, msgspec.json.encode(report), headers)


def _rejected_message(session: str, original: bytes, why: bytes, max_payload: int) -> Outbound:
    """The request as it came, under its rejection; compressed if only so it fits, and cut if not even so."""
    headers = {HEADER_REJECTION: why.decode()}
    room = max_payload - HEADERS_ROOM
    if len(original) > room:
        original = gzip.compress(original)
        headers["Content-Encoding"] = "gzip"
    if len(original) > room:
        headers["Storycast-Cut-From"] = str(len(original))
    return Outbound(rejected_subject(session), original[:room], headers)


def _log_report(report: Report) -> None:
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
