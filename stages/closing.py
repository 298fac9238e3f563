"""How a story ends: where each of its recipients is once there is nothing more to be sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from stages.batch_book import BatchBook
from stages.failures import Failures
from stages.flow import CANCELLED, Story, StoryClosed
from stages.messages import SessionLearning
from stages.roll import Roll
from stages.skips import Skips, compact


def closed(
    story: Story,
    order: Sequence[str],
    roll: Roll,
    book: BatchBook,
    *,
    began: datetime,
    message_id: str | None,
    message_ids: Sequence[str],
    learning: SessionLearning | None,
    ended: str | None,
) -> StoryClosed:
    """The end of `story`: with the reason `ended`, or, if some still wait on its `roll`, because it is cancelled."""
    if ended is not None:
        roll.give_up(ended)
    reason = ended or (CANCELLED if roll.waiting else None)
    skipped = _skipped(story, order, roll)
    return StoryClosed(
        story=story,
        began=began,
        sent=len(roll.sent),
        failed=Failures(order, roll.failed),
        unknown=[order[place] for place in roll.unknown],
        skipped=skipped,
        message_id=message_id,
        message_ids=message_ids,
        learning=learning,
        reason=reason,
        batches=book.records,
        counts=book.counts,
    )


def _skipped(story: Story, order: Sequence[str], roll: Roll) -> Skips:
    skipped = compact(story.skipped)
    if story.dry_run:
        return skipped.and_(story.recipients, "dry-run")
    left = roll.leave_out()
    return skipped.and_((order[place] for place in left), CANCELLED) if left else skipped
