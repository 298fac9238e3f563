"""The course of one story: which batch is next, and what a result means for the rest.

Plain state without tasks or clocks; the planner moves it on.
"""

from __future__ import annotations

from math import ceil

from stages.flow import Batch, Feedback, Role, Skipped, Story, StoryClosed, StoryParked
from stages.message_id import message_id_of
from stages.messages import SessionLearning
from stages.recipients import in_sending_order
from stages.roll import Roll

ANCHOR_CANDIDATES = 3


class Course:
    """One story on its way. `max_batch` is what the engine can take in one call, None for no limit."""

    def __init__(self, story: Story, *, max_batch: int | None = None, reuses_message_id: bool = True) -> None:
        options = story.options
        order = in_sending_order(story.recipients, dict(story.priorities), regional=options.regional)
        self.story = story
        self._roll = Roll(order if not story.dry_run else (), retries=options.max_retries)
        self._role: Role = "anchor" if is_smart(story) else "plain"
        self._size = min(len(order), options.max_batch_size, max_batch or len(order))
        self._planned = self._size
        self._message_id = message_id_of(story.session_id, story.story_id) if reuses_message_id else None
        self._index = 0
        self._outstanding = 0
        self._ended: str | None = None
        self._parked: StoryParked | None = None
        self._learning: SessionLearning | None = None

    @property
    def over(self) -> bool:
        """Nothing is out, and nothing is left to be sent."""
        return not self._outstanding and (self._ended is not None or not self._roll.waiting)

    def next_batch(self) -> Batch | None:
        """The next batch, or None while a result has to come in first."""
        width = 1 if self._role == "anchor" else self.story.options.max_concurrent
        if self._ended is not None or self._outstanding >= width:
            return None
        recipients = self._roll.take(ANCHOR_CANDIDATES if self._role == "anchor" else self._size)
        if not recipients:
            return None
        self._outstanding += 1
        self._index += self._role != "anchor"
        return Batch(
            story=self.story,
            role=self._role,
            index=self._index,
            recipients=recipients,
            planned=self._planned,
            forecast=self._index + ceil(self._roll.waiting / self._size),
            attempt=self._roll.attempt_of(recipients),
            message_id=self._message_id,
        )

    def take_in(self, feedback: Feedback) -> None:
        """A batch came back, with the size to go on with."""
        result = feedback.result
        self._outstanding -= 1
        self._roll.settle(result)
        self._size, self._planned, self._learning = feedback.size, feedback.planned, feedback.learning
        self._message_id = result.message_id or self._message_id
        if result.outcome == "parked":
            kind = result.failure or "parked"
            self._parked = StoryParked(story=self.story, kind=kind, reason=result.reason or kind)
            self._ended = kind
        elif result.outcome == "refused":
            self._ended = result.failure
        elif self._role == "anchor":
            self._anchored(sent=bool(result.sent))

    def closing(self) -> StoryClosed | StoryParked:
        """How it ended. Call once, when `over`."""
        if self._parked is not None:
            return self._parked
        if self._ended is not None:
            self._roll.give_up(self._ended)
        dry = [Skipped(jid, "dry-run") for jid in self.story.recipients] if self.story.dry_run else []
        return StoryClosed(
            story=self.story,
            sent=self._roll.sent,
            failed=self._roll.failed,
            unknown=self._roll.unknown,
            skipped=[*self.story.skipped, *dry],
            message_id=self._message_id if self._roll.sent else None,
            learning=self._learning,
            reason=self._ended,
        )

    def _anchored(self, *, sent: bool) -> None:
        if sent:
            self._role = "batch"
        elif self._roll.waiting:
            self._ended = "no-anchor"


def is_smart(story: Story) -> bool:
    """Whether the story is anchored and sent in batches, or goes out in one plain call."""
    return story.options.enabled and len(story.recipients) >= story.options.min_recipients
