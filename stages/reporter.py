"""reporter: tells the world how a story goes, and how it went.

One progress event per finished batch and per change of state, exactly one report per story, and metrics of the lane.
"""

from __future__ import annotations

from anyio import TASK_STATUS_IGNORED
from anyio.abc import ObjectReceiveStream, ObjectSendStream, TaskStatus
from msgspec import Struct

from stages.account import Account, poisoned, report_of
from stages.course import is_smart
from stages.flow import (
    HANDED_OVER,
    PAUSED,
    BatchResult,
    BatchSettled,
    Held,
    Onward,
    Outgoing,
    Paused,
    Reported,
    StoryClosed,
    StoryOpened,
    StoryParked,
)
from stages.history import Now
from stages.messages import Alert, State

_LEFT_AS: dict[str, State] = {PAUSED: "paused", HANDED_OVER: "waiting"}


class ReporterStatistics(Struct, frozen=True, rename="camel"):
    """The metrics of a lane since its start."""

    total_sends: int
    """Stories that ended with a report."""
    smart_sends_used: int
    """Those of them that were anchored and sent in batches."""
    average_batch_size: float
    """Recipients per batch, anchors not counted."""
    average_time_per_batch: float
    """Seconds per batch, anchors not counted."""
    success_rate: float
    """Recipients sent over recipients that were to be sent to; 1 before the first."""
    failed_batches: int
    """Batches that failed or timed out."""
    retries_needed: int
    """Batches that were a further attempt for some of their recipients."""


class Reporter:
    """Ends when its inbox is closed, and then closes its outbox."""

    def __init__(
        self, inbox: ObjectReceiveStream[Onward], outgoing: ObjectSendStream[Outgoing], *, now: Now
    ) -> None:
        self._inbox = inbox
        self._outgoing = outgoing
        self._now = now
        self._accounts: dict[str, Account] = {}
        self._metrics = _Metrics()

    async def __call__(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until the inbox is closed."""
        async with self._inbox, self._outgoing:
            task_status.started()
            async for item in self._inbox:
                await self._hear(item)

    def statistics(self) -> ReporterStatistics:
        """Metrics since the start."""
        return self._metrics.frozen()

    async def _hear(self, item: Onward) -> None:
        match item:
            case StoryOpened():
                await self._opened(item)
            case BatchSettled():
                await self._settled(item)
            case Held():
                await self._held(item)
            case StoryClosed():
                await self._closed(item)
            case StoryParked():
                await self._parked(item)

    async def _opened(self, opened: StoryOpened) -> None:
        story = opened.story
        account = self._accounts[story.story_id] = Account(story, opened.standing)
        state: State = "anchoring" if opened.anchoring else "sending"
        await self._outgoing.send(account.event(state, at=self._now(), reason=opened.reason))

    async def _settled(self, settled: BatchSettled) -> None:
        result = settled.result
        account = self._accounts[result.batch.story.story_id]
        account.note(settled)
        self._metrics.note(result)
        await self._outgoing.send(
            account.event("sending", at=self._now(), result=result, reason=result.reason)
        )
        if settled.scaling is not None:
            await self._outgoing.send(settled.scaling)

    async def _held(self, held: Held) -> None:
        account = self._accounts[held.batch.story.story_id]
        await self._outgoing.send(account.event("waiting", at=self._now(), reason=held.reason))

    async def _closed(self, closed: StoryClosed) -> None:
        account = self._accounts.pop(closed.story.story_id)
        self._metrics.note_closed(closed)
        now = self._now()
        await self._outgoing.send(account.ended(closed, at=now))
        report = report_of(closed, now=now)
        rejection = poisoned(closed, now=now)
        await self._outgoing.send(
            Reported(delivery=closed.story.delivery, report=report, closed=closed, rejection=rejection)
        )

    async def _parked(self, parked: StoryParked) -> None:
        """Say that a story is left, and where a person is needed, call one."""
        story = parked.story
        state = _LEFT_AS.get(parked.kind, "parked")
        await self._outgoing.send(
            self._accounts.pop(story.story_id).event(state, at=self._now(), reason=parked.reason)
        )
        if parked.kind == PAUSED:
            await self._outgoing.send(Paused(delivery=story.delivery, story_id=story.story_id))
        elif parked.kind != HANDED_OVER:
            await self._outgoing.send(
                Alert(
                    session_id=story.session_id,
                    kind=parked.kind,
                    reason=parked.reason,
                    at=self._now(),
                    story_id=story.story_id,
                )
            )


class _Metrics:
    def __init__(self) -> None:
        self.stories = self.smart = self.batches = self.recipients = 0
        self.failed = self.retried = self.sent = self.wanted = 0
        self.seconds = 0.0

    def note(self, result: BatchResult) -> None:
        self.failed += result.outcome in {"failed", "timed-out"}
        self.retried += result.batch.attempt > 1
        if result.batch.role != "anchor":
            self.batches += 1
            self.recipients += len(result.batch.recipients)
            self.seconds += result.elapsed

    def note_closed(self, closed: StoryClosed) -> None:
        self.stories += 1
        self.smart += is_smart(closed.story)
        self.sent += closed.sent
        self.wanted += 0 if closed.story.dry_run else len(closed.story.recipients)

    def frozen(self) -> ReporterStatistics:
        batches = max(1, self.batches)
        return ReporterStatistics(
            total_sends=self.stories,
            smart_sends_used=self.smart,
            average_batch_size=self.recipients / batches,
            average_time_per_batch=self.seconds / batches,
            success_rate=self.sent / self.wanted if self.wanted else 1.0,
            failed_batches=self.failed,
            retries_needed=self.retried,
        )
