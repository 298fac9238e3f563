"""The account of one story: what its events and its report say, from what has happened so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from itertools import islice

from stages.errors import BadRequest
from stages.flow import CANCELLED, POISON, BatchResult, BatchSettled, Standing, Story, StoryClosed
from stages.messages import (
    BatchCounts,
    BatchEvent,
    Progress,
    ProgressEvent,
    Rejection,
    Report,
    SessionLearning,
    State,
)
from stages.skips import compact

NAMED = 5_000
"""So many recipients a list of a report names; a report must fit in one NATS message."""
LONGEST_NAME = 64

_NOTHING = Standing()
_NOTHING_LEARNED = SessionLearning(
    max_proven_batch_size=0, used_historical_data=False, will_skip_ramping_next_time=False
)


class Account:
    """Follows what is settled of a story. `standing` is where it is taken up."""

    def __init__(self, story: Story, standing: Standing = _NOTHING) -> None:
        self.story = story
        self._standing = standing
        self._forecast = self._current = standing.index
        self._seconds_per_recipient: float | None = None
        self._over = False

    @property
    def done(self) -> int:
        """Recipients with a final result."""
        if self._over:
            return self.story.total
        return self._standing.sent + self._standing.failed + self._standing.unknown + len(self.story.skipped)

    def note(self, settled: BatchSettled) -> None:
        """A batch counts."""
        result = settled.result
        batch = result.batch
        self._standing = settled.standing
        self._current = max(self._current, batch.index)
        self._forecast = max(batch.forecast, batch.index)
        if result.sent and batch.role != "anchor":
            self._seconds_per_recipient = (result.elapsed + result.gap) / len(batch.recipients)

    def event(
        self, state: State, *, at: datetime, result: BatchResult | None = None, reason: str | None = None
    ) -> ProgressEvent:
        """The progress event for the present standing."""
        return ProgressEvent(
            session_id=self.story.session_id,
            story_id=self.story.story_id,
            state=state,
            at=at,
            progress=self._progress(),
            message_id=self._standing.message_id,
            batch=None if result is None else _batch_event(result),
            eta_ms=self._eta_ms(),
            reason=reason,
        )

    def ended(self, closed: StoryClosed, *, at: datetime) -> ProgressEvent:
        """The last event of a story."""
        self._forecast = self._current
        self._over = True
        return self.event(_final_state(closed), at=at, reason=closed.reason)

    def _progress(self) -> Progress:
        total = self.story.total
        return Progress(
            current=self._current,
            total=self._forecast,
            percentage=100 * self.done // total if total else 100,
            recipients_sent=self._standing.sent,
            recipients_total=total,
        )

    def _eta_ms(self) -> int | None:
        if self._seconds_per_recipient is None:
            return None
        return round((self.story.total - self.done) * self._seconds_per_recipient * 1000)


def report_of(closed: StoryClosed, *, now: datetime) -> Report:
    """The one report of a story that is over `now`."""
    skipped, counts = closed.skipped, closed.counts
    return Report(
        success=_succeeded(closed),
        story_id=closed.story.story_id,
        session_id=closed.story.session_id,
        message_id=closed.message_id,
        state=_final_state(closed),
        total_recipients=closed.story.total,
        sent_successfully=closed.sent,
        failed=len(closed.failed),
        skipped=len(skipped),
        unknown=len(closed.unknown),
        batches=BatchCounts(
            total=counts.total, successful=counts.successful, failed=counts.failed, retried=counts.retried
        ),
        batch_sequence=[batch.size for batch in closed.batches if batch.index],
        total_duration=max(0, round((now - closed.began).total_seconds() * 1000)),
        failed_recipients=_named(closed.failed),
        failure_reasons=dict(islice(closed.failed.items(), NAMED)),
        failures=dict(Counter(closed.failed.values())),
        skips=dict(compact(skipped).reasons()),
        skipped_recipients=_named(skip.recipient for skip in skipped),
        unknown_recipients=_named(closed.unknown),
        message_ids=list(closed.message_ids),
        session_learning=closed.learning or _NOTHING_LEARNED,
        dry_run=closed.story.dry_run,
        reason=closed.reason,
    )


def poisoned(closed: StoryClosed, *, now: datetime) -> Rejection | None:
    """Why the request of a story that was given up is a dead letter; None for any other."""
    if closed.reason != POISON:
        return None
    why = BadRequest(
        POISON,
        found="a story whose worker or lane ended each time it was taken up, before it got any further",
        allowed="a story that can be worked on; the log of the workers says what they ended with",
    )
    return Rejection(
        code=why.code,
        field=why.field,
        found=why.found,
        allowed=why.allowed,
        message=str(why),
        session_id=closed.story.session_id,
        story_id=closed.story.story_id,
        at=now,
    )


def _batch_event(result: BatchResult) -> BatchEvent:
    return BatchEvent(
        index=result.batch.index,
        size=len(result.batch.recipients) - result.untried,
        duration_ms=round(result.elapsed * 1000),
        attempt=result.batch.attempt,
        outcome=result.outcome,
    )


def _final_state(closed: StoryClosed) -> State:
    if closed.reason is None:
        return "completed"
    return "cancelled" if closed.reason == CANCELLED else "failed"


def _succeeded(closed: StoryClosed) -> bool:
    wanted = len(closed.story.recipients)
    share = closed.sent / wanted if wanted and not closed.story.dry_run else 1.0
    return closed.reason is None and share >= closed.story.options.min_success_rate


def _named(recipients: Iterable[str]) -> list[str]:
    return [shortened(recipient) for recipient in islice(recipients, NAMED)]


def shortened(written: str) -> str:
    """A recipient as it was written, which may be anything of any length."""
    return written if len(written) <= LONGEST_NAME else f"{written[:LONGEST_NAME]}..."
