"""publisher: puts what leaves the lanes onto NATS, and settles the requests it belongs to.

A request is acknowledged only after its report, or its rejection, is stored, and after that it is noted that its
story is finished. Progress, decisions and alerts are published without waiting for anybody; whatever waits is taken
in one go.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TypeAlias

import anyio
import msgspec
import trio
from anyio.streams.memory import MemoryObjectReceiveStream
from msgspec import Struct, structs
from trio import TASK_STATUS_IGNORED, TaskStatus

from pipeline.custody import Custody
from pipeline.long_lists import store_long_lists
from pipeline.outbound import event_message, log_report, rejected_message, report_gone, report_message
from pipeline.together import fits_in, mark_of, settle_together
from stages.channel import ReceiveEnd
from stages.checkpoint import Checkpoint
from stages.errors import StoreFailed, Superseded
from stages.flow import Delivery, Outgoing, Paused, Postponed, Refused, Repeated, Reported, SessionLeft
from stages.history import Now
from stages.messages import Alert, ProgressEvent, Rejection, Report
from stages.turns import Random, backoff
from transports.bus import WRONG_LAST_SEQUENCE, Bus, Outbound
from transports.errors import PublishRefused, TransportError
from transports.jobs import NatsJobs
from transports.stores import NatsReports

Inbox: TypeAlias = MemoryObjectReceiveStream[Outgoing] | ReceiveEnd[Outgoing]
"""The end of what all lanes of a worker send by."""

AT_ONCE = 256
ROUNDS = 8
"""So many lists of reports are being settled together at the same time."""
ANSWER_RETRY = 1.0
_Settling: TypeAlias = Reported | Refused | Repeated | Postponed | Paused

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
    """Ends when `outgoing` is closed and all of it is published.

    Reports that come together are settled together. What does not go well then, and all else, is settled by a task of
    its own, `AT_ONCE` at a time, so that one that cannot be stored now never holds up the others.
    """

    def __init__(
        self,
        outgoing: Inbox,
        bus: Bus,
        custody: Custody,
        *,
        reports: NatsReports,
        jobs: NatsJobs,
        now: Now,
        random: Random,
    ) -> None:
        self._outgoing = outgoing
        self._bus = bus
        self._custody = custody
        self._reports = reports
        self._jobs = jobs
        self._now = now
        self._random = random
        self._room = trio.Semaphore(AT_ONCE)
        self._rounds = trio.Semaphore(ROUNDS)
        self._open: dict[tuple[str, str], list[Delivery]] = {}
        self._events = self._stored_reports = self._rejections = self._failed_stores = 0

    async def __call__(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until `outgoing` is closed."""
        async with self._outgoing, trio.open_nursery() as settling:
            task_status.started()
            async for first in self._outgoing:
                await self._publish([first, *self._waiting()], settling)

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

    async def _publish(self, items: Sequence[Outgoing], settling: trio.Nursery) -> None:
        for item in items:
            self._note(item)
        events = [event for item in items if (event := event_message(item))]
        await self._tell(events)
        self._events += len(events)
        await self._begin_to_settle([item for item in items if isinstance(item, _Settling)], settling)

    async def _begin_to_settle(self, items: Sequence[_Settling], settling: trio.Nursery) -> None:
        together = [item for item in items if isinstance(item, Reported) and fits_in(item)]
        if together:
            await self._rounds.acquire()
            settling.start_soon(self._settle_together, together, settling)
        for item in items:
            if not (isinstance(item, Reported) and fits_in(item)):
                await self._room.acquire()
                settling.start_soon(self._settle, item)

    async def _settle_together(self, items: Sequence[Reported], settling: trio.Nursery) -> None:
        try:
            ended = await settle_together(self._bus, self._jobs, items)
        finally:
            self._rounds.release()
        await self._answer_all(ended.finished)
        for item in ended.stored:
            await self._room.acquire()
            settling.start_soon(self._finish_one, item)
        for item in ended.left:
            await self._room.acquire()
            settling.start_soon(self._settle, item)

    async def _finish_one(self, item: Reported) -> None:
        """Its report is stored, and must not be told a second time."""
        try:
            await self._note_finished(mark_of(item.report))
            await self._answer_all([item])
        finally:
            self._room.release()

    async def _answer_all(self, items: Sequence[Reported]) -> None:
        """What settles them is stored: answer whoever asked, and acknowledge all of them in one go."""
        answers, keys = [], []
        for item in items:
            asking = [item.delivery, *self._ended(item.report)]
            waiting = [one.reply_to for one in asking if one.reply_to]
            if waiting:
                answer = report_message(item.report, self._bus.max_payload).data
                answers += [Outbound(reply_to, answer) for reply_to in waiting]
            keys += [one.key for one in asking]
        await self._tell(answers)
        await self._custody.acknowledge(keys)

    def _ended(self, report: Report) -> Sequence[Delivery]:
        """The story is over; returns those that asked for its report meanwhile."""
        self._stored_reports += 1
        log_report(report)
        return self._open.pop((report.session_id, report.story_id), [])

    def _note(self, item: Outgoing) -> None:
        """Know which stories are under way: whoever repeats one of those is answered when it ends."""
        match item:
            case Reported(delivery=delivery):
                self._custody.reported(delivery.key)
            case ProgressEvent(session_id=session, story_id=story, state=state):
                if state == "parked":
                    self._open.pop((session, story), None)
                elif state not in {"paused", "completed", "cancelled", "failed"}:
                    self._open.setdefault((session, story), [])
            case Alert(session_id=session) | SessionLeft(session_id=session):
                # Its requests are handed back as a whole, repeated ones too.
                self._open = {key: askers for key, askers in self._open.items() if key[0] != session}

    async def _settle(self, item: _Settling) -> None:
        try:
            match item:
                case Reported():
                    await self._report(item)
                case Refused():
                    await self._refuse(item)
                case Repeated(delivery=delivery, story_id=story_id):
                    await self._repeat(delivery, story_id)
                case Postponed(delivery=delivery, until=until):
                    await self._custody.postpone(delivery.key, until)
                case Paused():
                    await self._pause(item)
        finally:
            self._room.release()

    async def _report(self, item: Reported) -> None:
        report = item.report
        if item.rejection is not None:
            await self._store_rejected(item.rejection, item.delivery.data)
        if item.closed is not None and not report.dry_run:
            report = structs.replace(report, **await store_long_lists(self._bus, item.closed, self._random))
        message = report_message(report, self._bus.max_payload)
        answer = message.data
        if not await self._store(message):
            # Another worker's report of this story was there first: that is the one that everybody gets.
            answer = await self._found(report.session_id, report.story_id) or answer
        if not report.dry_run:
            await self._note_finished(mark_of(report))
        askers = self._ended(report)
        if report.dry_run:
            # Whoever repeats a story wants that story's report, not a rehearsal's.
            await self._custody.hand_back((one.key for one in askers), delay=ANSWER_RETRY)
            askers = []
        await self._answer([item.delivery, *askers], answer)

    async def _note_finished(self, checkpoint: Checkpoint) -> None:
        """From now on the story is known as finished. The report itself keeps a second one out until then."""
        attempt = 0
        while True:
            try:
                await self._finish(checkpoint)
            except (StoreFailed, Superseded) as problem:
                attempt += 1
                await self._try_again_later("that a story is finished", problem, attempt)
            else:
                return

    async def _finish(self, checkpoint: Checkpoint) -> None:
        try:
            await self._jobs.save(checkpoint)
        except Superseded:
            # Somebody has written in between: another worker's progress, or an order. The report is there all the same.
            found = await self._jobs.load(checkpoint.session_id, checkpoint.story_id)
            if found is None or found.state != "finished":
                await self._jobs.save(checkpoint)

    async def _pause(self, item: Paused) -> None:
        """Keep the request until its story is resumed; those that only asked again come again, and are kept then."""
        self._custody.pause(item.delivery.key, item.story_id)
        await self._unless_resumed(item.delivery.session, item.story_id)
        askers = self._open.pop((item.delivery.session, item.story_id), [])
        await self._custody.hand_back((one.key for one in askers), delay=ANSWER_RETRY)

    async def _unless_resumed(self, session: str, story: str) -> None:
        # Whoever resumed it before it was held here found nothing to deliver again.
        try:
            checkpoint = await self._jobs.peek(session, story)
        except StoreFailed:
            checkpoint = None
        if checkpoint is None or checkpoint.state != "paused":
            await self._custody.resume(session, story)

    async def _refuse(self, item: Refused) -> None:
        await self._store_rejected(item.rejection, item.delivery.data)
        await self._answer([item.delivery], msgspec.json.encode(item.rejection))

    async def _store_rejected(self, rejection: Rejection, original: bytes) -> None:
        why, session = msgspec.json.encode(rejection), rejection.session_id
        await self._store(rejected_message(session, original, why, self._bus.max_payload))
        self._rejections += 1
        log.warning("request refused", extra={"session": session, "code": rejection.code})

    async def _repeat(self, delivery: Delivery, story_id: str) -> None:
        """A repeated request gets the report of the first one: now, when it comes, or at the next try."""
        askers = self._open.get((delivery.session, story_id))
        if askers is not None:
            askers.append(delivery)
            return
        report = await self._found(delivery.session, story_id)
        if report is not None:
            await self._answer([delivery], report)
        elif await self._is_finished(delivery.session, story_id):
            await self._answer([delivery], msgspec.json.encode(report_gone(delivery, story_id, self._now())))
        else:
            await self._custody.hand_back([delivery.key], delay=ANSWER_RETRY)

    async def _is_finished(self, session: str, story: str) -> bool:
        try:
            checkpoint = await self._jobs.peek(session, story)
        except StoreFailed:
            return False
        return checkpoint is not None and checkpoint.state == "finished"

    async def _found(self, session: str, story: str) -> bytes | None:
        try:
            return await self._reports.find(session, story)
        except StoreFailed as problem:
            log.warning("cannot look up", extra={"session": session, "story": story, "problem": str(problem)})
            return None

    async def _answer(self, deliveries: Sequence[Delivery], answer: bytes) -> None:
        """Answer those that asked for it, and acknowledge all: what settles them is stored."""
        await self._tell([Outbound(one.reply_to, answer) for one in deliveries if one.reply_to])
        await self._custody.acknowledge(one.key for one in deliveries)

    async def _tell(self, messages: Sequence[Outbound]) -> None:
        """Publish what may be lost with the connection: events and answers."""
        if not messages:
            return
        try:
            await self._bus.publish(messages)
        except TransportError as problem:
            log.warning("lost on the way to NATS", extra={"messages": len(messages), "problem": str(problem)})

    async def _store(self, message: Outbound) -> bool:
        """Store `message`, however long it takes: until then its request stays unacknowledged.

        False if its subject has one already, and may have no second.
        """
        attempt = 0
        while True:
            try:
                await self._bus.store(message)
            except PublishRefused as error:
                if error.code == WRONG_LAST_SEQUENCE:
                    return False
                problem: TransportError = error
            except TransportError as error:
                problem = error
            else:
                return True
            attempt += 1
            await self._try_again_later(message.subject, problem, attempt)

    async def _try_again_later(self, what: str, problem: Exception, attempt: int) -> None:
        self._failed_stores += 1
        log.warning("cannot store", extra={"what": what, "problem": str(problem)})
        await trio.sleep(backoff(attempt, self._random))
