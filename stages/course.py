"""The course of one story: which batch is next, and what a result means for the rest.

Plain state without tasks; the planner moves it on, and stores its checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from math import ceil

from stages.batch_book import BatchBook
from stages.cadence import NO_LIMIT
from stages.checkpoint import (
    Checkpoint,
    JobState,
    Retry,
    fingerprint,
    has_begun,
)
from stages.closing import closed
from stages.control import Order
from stages.engine import Capabilities
from stages.flow import (
    HANDED_OVER,
    PAUSED,
    POISON,
    Batch,
    BatchResult,
    BatchSettled,
    Feedback,
    Role,
    Standing,
    Story,
    StoryClosed,
    StoryParked,
)
from stages.history import History
from stages.message_id import MessageIds, message_id_of
from stages.messages import SessionLearning
from stages.policy import TRIES
from stages.ranges import Ranges
from stages.recipients import in_sending_order
from stages.roll import Roll

ANCHOR_CANDIDATES = 3
MOST_AT_ONCE = 16
MAX_STARTS = 5
"""A story that was taken up so often and got nowhere is not tried again."""
ANOTHER_LIST = (
    "the list, or the order it is sent in, is not what it was: all of it is sent again, under the same id"
)
LIST_LOST = (
    "the list, or the order it is sent in, is not what it was: nobody in it is sent it, for they may have it"
)
ENGINE_CHANGED = "engine-changed"
"""Why a story ends that some have, when its engine has come to be one that posts to all of its audience."""


class Course:
    """One story on its way, from its beginning or from `story.checkpoint`."""

    def __init__(
        self, story: Story, *, capabilities: Capabilities, now: datetime, max_starts: int = MAX_STARTS
    ) -> None:
        options, limit = story.options, capabilities.max_batch
        reuses = capabilities.reuses_message_id
        self.story = story
        self._order = in_sending_order(story.recipients, dict(story.priorities), regional=options.regional)
        self._whole = not capabilities.targets_recipients
        total = 0 if story.dry_run else len(self._order)
        self._roll = Roll(total, retries=options.max_retries, repeatable=reuses, whole=self._whole)
        # Even an anchor whose id cannot be reused shows, at the cost of one recipient, that a call goes through.
        self._anchored = not is_smart(story)
        self._size = min(len(self._order), options.max_batch_size, limit or len(self._order))
        self._planned = self._size
        self._width: int | None = None
        self._tries = TRIES
        self._pace = NO_LIMIT
        self._ids = MessageIds(message_id_of(story.session_id, story.story_id) if reuses else None)
        self._index = self._outstanding = 0
        self._book = BatchBook()
        self._began = now
        self._starts = 0
        self._ended: str | None = None
        self._parked: StoryParked | None = None
        self._order_given: Order | None = None
        self._learning: SessionLearning | None = None
        self._used_history = False
        self._history: History | None = None
        self.anew_because: str | None = None
        # It is stored before its first call: after a crash nobody else knows whether that went out, and under which id.
        self.dirty = not story.dry_run
        """There is something that must be stored before it counts."""
        self._resume(story.checkpoint, max_starts)

    @property
    def over(self) -> bool:
        """Nothing is out, and nothing is to be sent any more."""
        stopped = self._ended is not None or self._parked is not None or self._order_given is not None
        return not self._outstanding and (stopped or not self._roll.waiting)

    @property
    def anchoring(self) -> bool:
        """Nobody has it yet, and one contact is to get it first."""
        return not self._anchored and not self._roll.sent

    @property
    def left(self) -> bool:
        """Over for now only: it is to go on from its checkpoint another time."""
        wanted = self._order_given in {"pause", "leave"} and self._ended is None and self._roll.waiting > 0
        return self.over and (wanted or self._parked is not None)

    @property
    def report_will_do(self) -> bool:
        """It is over, after one call at most, which a crash would have made again and nobody see twice."""
        return self.over and not self.left and self._ids.shared is not None and self._book.counts.total <= 1

    @property
    def standing(self) -> Standing:
        """Where it stands now."""
        return Standing(
            sent=len(self._roll.sent),
            failed=self._roll.failures,
            unknown=len(self._roll.unknown),
            index=self._index,
            message_id=self._message_id,
        )

    def heed(self, order: Order | None) -> None:
        """Do what people want; None: go on."""
        self.dirty = self.dirty or order != self._order_given
        self._order_given = order
        if order is not None:
            self._starts = 0  # whoever can heed it is alive

    def next_batch(self) -> Batch | None:
        """The next batch, or None while a result has to come in first."""
        width = min(self._width or MOST_AT_ONCE, self.story.options.max_concurrent) if self._anchored else 1
        if self._ended or self._order_given or self._parked or self._outstanding >= width:
            return None
        size = len(self._order) if self._whole else self._size
        places = self._roll.take(size) if self._anchored else self._roll.candidates(ANCHOR_CANDIDATES)
        if not places:
            return None
        role = self._role
        self._outstanding += 1
        self._index += role != "anchor"
        return Batch(
            story=self.story,
            role=role,
            index=self._index,
            recipients=_at(self._order, places),
            places=places,
            planned=self._planned,
            forecast=self._index + ceil(self._roll.waiting / self._size),
            attempt=self._roll.attempt_of(places),
            message_id=self._ids.shared,
            waiting=self._roll.waiting,
            tries=self._tries,
            pace=self._pace,
        )

    def take_in(self, feedback: Feedback) -> BatchSettled | None:
        """A batch came back, with the size to go on with; None if it was called off before it sent anything."""
        result = feedback.result
        self._outstanding -= 1
        self._roll.settle(result)
        self._size, self._planned, self._learning = feedback.size, feedback.planned, feedback.learning
        self._width, self._tries, self._pace = feedback.width, feedback.tries, feedback.pace
        self._used_history, self._history = feedback.learning.used_historical_data, feedback.history
        self._ids.note(result.message_ids)
        if self._ids.shared is None:
            self._roll.never_repeat()
        self._draw_conclusions(result)
        self.dirty = True
        if result.outcome == "halted" and not (result.sent or result.failed or result.unsure):
            return None
        self._starts = 0
        self._book.enter(result)
        return BatchSettled(result=result, standing=self.standing, scaling=feedback.scaling)

    def checkpoint(self) -> Checkpoint:
        """Where it stands, to be stored."""
        self.dirty = False
        states: dict[Order | None, JobState] = {"pause": "paused", "cancel": "cancelled"}
        return Checkpoint(
            session_id=self.story.session_id,
            story_id=self.story.story_id,
            state=states.get(self._order_given, "open"),
            order=self._fingerprint,
            total=len(self._order),
            message_id=self._ids.latest,
            message_ids=tuple(self._ids.known),
            reuses=self._ids.shared is not None,
            anchored=self._anchored,
            index=self._index,
            size=self._size,
            planned=self._planned,
            width=self._width or 0,
            tries=self._tries,
            batches=tuple(self._book.records),
            counts=self._book.counts,
            used_history=self._used_history,
            # Other stories may teach the session something while this one is paused.
            history=None if self._order_given == "pause" else self._history,
            starts=self._starts,
            began=self._began,
            **self._roll.standing(),  # type: ignore[arg-type] # a dict of the fields' own values
        )

    def closing(self) -> StoryClosed | StoryParked:
        """How it ended. Call once, when `over`."""
        if self._parked is not None:
            return self._parked
        if self.left:
            kind = PAUSED if self._order_given == "pause" else HANDED_OVER
            return StoryParked(story=self.story, kind=kind, reason=kind)
        return closed(
            self.story,
            self._order,
            self._roll,
            self._book,
            began=self._began,
            message_id=self._message_id,
            message_ids=self._ids.known if self._message_id else (),
            learning=self._learning,
            ended=self._ended,
        )

    @property
    def _message_id(self) -> str | None:
        """What people may know the story by, once somebody has it."""
        return self._ids.latest if self._roll.sent else None

    @property
    def _role(self) -> Role:
        if not is_smart(self.story):
            return "plain"
        return "batch" if self._anchored else "anchor"

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self._order)

    def _resume(self, checkpoint: Checkpoint | None, max_starts: int) -> None:
        self._starts = 1 + (checkpoint.starts if checkpoint else 0)
        if checkpoint is not None and checkpoint.order:
            self._ids.resume(checkpoint.message_id, checkpoint.message_ids)
            repeatable = checkpoint.reuses and self._ids.shared is not None
            if checkpoint.order == self._fingerprint:
                self._go_on(checkpoint, repeatable=repeatable)
            elif has_begun(checkpoint):
                self.anew_because = ANOTHER_LIST if repeatable else LIST_LOST
                everyone = _with_everyone_in_doubt(checkpoint, len(self._order))
                self._roll.resume(everyone, repeatable=repeatable)
        if self._starts > max_starts:
            self._ended = POISON
        elif self.story.unable:
            self._ended = self.story.unable
        elif self._whole and 0 < self._roll.waiting < len(self._order) and not self.story.dry_run:
            self._ended = ENGINE_CHANGED  # its next call would go to those as well who are settled

    def _go_on(self, checkpoint: Checkpoint, *, repeatable: bool) -> None:
        self._roll.resume(checkpoint, repeatable=repeatable)
        self._anchored = self._anchored or checkpoint.anchored
        self._index = checkpoint.index
        self._size = min(checkpoint.size or self._size, self._size)
        self._planned = checkpoint.planned or self._planned
        self._width, self._tries = checkpoint.width or None, checkpoint.tries
        self._book = BatchBook(checkpoint.batches, checkpoint.counts)
        self._used_history, self._history = checkpoint.used_history, checkpoint.history
        self._began = checkpoint.began or self._began

    def _draw_conclusions(self, result: BatchResult) -> None:
        if result.outcome == "parked":
            kind = result.failure or "parked"
            self._parked = StoryParked(story=self.story, kind=kind, reason=result.reason or kind)
        elif result.outcome == "refused":
            self._ended = result.failure
        elif not self._anchored and result.sent:
            self._anchored = True
        elif not self._anchored and result.outcome != "halted" and self._roll.waiting:
            self._ended = "no-anchor"


def is_smart(story: Story) -> bool:
    """Whether the story is anchored and sent in batches, or goes out in one plain call."""
    return story.options.enabled and len(story.recipients) >= story.options.min_recipients


def _with_everyone_in_doubt(checkpoint: Checkpoint, total: int) -> Checkpoint:
    """Nobody knows whom of `total` recipients the other list reached."""
    everyone = Retry(tried=0, unsure=True, apart=False, places=Ranges(range(total)).packed())
    return Checkpoint(
        session_id=checkpoint.session_id, story_id=checkpoint.story_id, next=total, retries=(everyone,)
    )


def _at(order: Sequence[str], places: Sequence[int]) -> Sequence[str]:
    if isinstance(places, range):
        return order[places.start : places.stop]
    return [order[place] for place in places]
