"""The account of one story: what its events and its report say, from what has happened so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from itertools import islice

from stages.flow import BatchResult, Story, StoryClosed
from stages.messages import (
    BatchCounts,
    BatchEvent,
    Progress,
    ProgressEvent,
    Report,
    SessionLearning,
    State,
)

NAMED = 5_000
"""So many recipients a list of a report names; a report must fit in one NATS message."""
LONGEST_NAME = 64

_NOTHING_LEARNED = SessionLearning(
    max_proven_batch_size=0, used_historical_data=False, will_skip_ramping_next_time=False
)


class Account:
    """Sums up a story's results. `began` is seconds on the event loop's clock."""

    def __init__(self, story: Story, *, began: float) -> None:
        self.story = story
        self._began = began
        self._sent = self._failed = 0
        self._total = self._successful = self._unsuccessful = self._retried = 0
        self._sizes: list[int] = []
        self._forecast = 0
        self._current = 0
        self._seconds_per_recipient: float | None = None
        self._message_id: str | None = None
        self._over = False

    @property
    def done(self) -> int:
        """Recipients with a final result."""
        return self.story.total if self._over else self._sent + self._failed + len(self.story.skipped)

    def note(self, result: BatchResult) -> None:
        """A batch came back."""
        batch = result.batch
        self._sent += len(result.sent)
        self._failed += len(result.failed)
        self._total += 1
        self._successful += result.outcome == "sent"
        self._unsuccessful += result.outcome != "sent"
        self._retried += batch.attempt > 1
        self._message_id = result.message_id or self._message_id
        self._current = max(self._current, batch.index)
        self._forecast = max(batch.forecast, batch.index)
        if batch.role != "anchor":
            self._sizes.append(len(batch.recipients))
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
            message_id=self._message_id,
            batch=None if result is None else _batch_event(result),
            eta_ms=self._eta_ms(),
            reason=reason,
        )

    def ended(self, closed: StoryClosed, *, at: datetime) -> ProgressEvent:
        """The last event of a story."""
        self._sent, self._failed = closed.sent, len(closed.failed)
        self._forecast = self._current
        self._over = True
        return self.event(_final_state(closed), at=at, reason=closed.reason)

    def report(self, closed: StoryClosed, *, now: float) -> Report:
        """The one report. `now` is on the same clock as `began`."""
        skipped = closed.skipped
        return Report(
            success=_succeeded(closed),
            story_id=self.story.story_id,
            session_id=self.story.session_id,
            message_id=closed.message_id,
            state=_final_state(closed),
            total_recipients=self.story.total,
            sent_successfully=closed.sent,
            failed=len(closed.failed),
            skipped=len(skipped),
            unknown=len(closed.unknown),
            batches=BatchCounts(
                total=self._total,
                successful=self._successful,
                failed=self._unsuccessful,
                retried=self._retried,
            ),
            batch_sequence=list(self._sizes),
            total_duration=round((now - self._began) * 1000),
            failed_recipients=_named(closed.failed),
            failure_reasons=dict(islice(closed.failed.items(), NAMED)),
            failures=dict(Counter(closed.failed.values())),
            skips=dict(Counter(skip.reason for skip in skipped)),
            skipped_recipients=_named(skip.recipient for skip in skipped),
            unknown_recipients=_named(closed.unknown),
            session_learning=closed.learning or _NOTHING_LEARNED,
            dry_run=self.story.dry_run,
            reason=closed.reason,
        )

    def _progress(self) -> Progress:
        total = self.story.total
        return Progress(
            current=self._current,
            total=self._forecast,
            percentage=100 * self.done // total if total else 100,
            recipients_sent=self._sent,
            recipients_total=total,
        )

    def _eta_ms(self) -> int | None:
        if self._seconds_per_recipient is None:
            return None
        return round((self.story.total - self.done) * self._seconds_per_recipient * 1000)


def _batch_event(result: BatchResult) -> BatchEvent:
    return BatchEvent(
        index=result.batch.index,
        size=len(result.batch.recipients) - result.untried,
        duration_ms=round(result.elapsed * 1000),
        attempt=result.batch.attempt,
        outcome=result.outcome,
    )


def _final_state(closed: StoryClosed) -> State:
    return "completed" if closed.reason is None else "failed"


def _succeeded(closed: StoryClosed) -> bool:
    wanted = len(closed.story.recipients)
    share = closed.sent / wanted if wanted and not closed.story.dry_run else 1.0
    return closed.reason is None and share >= closed.story.options.min_success_rate


def _named(recipients: Iterable[str]) -> list[str]:
    return [shortened(recipient) for recipient in islice(recipients, NAMED)]


def shortened(written: str) -> str:
    """A recipient as it was written, which may be anything of any length."""
    return written if len(written) <= LONGEST_NAME else f"{written[:LONGEST_NAME]}..."
