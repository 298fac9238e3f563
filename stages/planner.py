"""planner: takes one story after the other and issues its batches, one at a time.

It never plans everything up front, for then it could not react: each next batch has the size that the
controller answered to the last one. With `max_concurrent` above 1 as many batches are out at once.

Before a batch counts, and before the next one goes out, the story's checkpoint is stored. Who takes a story up finds
where it stands, and goes on from there.
"""

from __future__ import annotations

import anyio
from anyio import TASK_STATUS_IGNORED, sleep_forever
from anyio.abc import ObjectReceiveStream, ObjectSendStream, TaskStatus
from msgspec import Struct

from stages.checkpoint import JobStore
from stages.control import Control
from stages.course import MAX_STARTS, Course
from stages.engine import Capabilities
from stages.errors import StoreFailed
from stages.flow import PAUSED, BatchSettled, Feedback, Onward, Story, StoryOpened, StoryParked
from stages.history import Now
from stages.ingest import InHand
from stages.turns import Random, backoff

STILL_SERVED = frozenset({PAUSED})
"""Ways of leaving a story that do not end the serving of the others."""


class PlannerStatistics(Struct, frozen=True):
    """What the planner has done."""

    stories: int
    """Stories taken up."""
    batches: int
    """Batches issued, anchors included."""
    parked: str | None
    """The kind of the failure that stopped the session: no story is taken up any more."""
    checkpoints: int
    """Checkpoints stored."""
    store_failures: int
    """Times a checkpoint could not be stored, and was tried again."""
    story: str | None
    """The story under way."""
    reason: str | None
    """What stopped the session, in words."""


class Planner:
    """Ends when its inbox is closed and the stories in it are done.

    All goes `onward`, to whoever anchors. Where what follows is joined as in a lane there are shorter ways, which keep
    the order: batches that are no anchors go to `resend`, what the reporter alone is told to `reporter`. For whatever a
    batch brings about is with the reporter before its feedback is here.

    When the session is parked it closes its outbox at once and issues nothing more; the stories in its inbox
    stay there, unserved, until it is cancelled. Raises `Superseded` when another worker has taken a story over.
    """

    def __init__(
        self,
        stories: ObjectReceiveStream[Story],
        feedback: ObjectReceiveStream[Feedback],
        onward: ObjectSendStream[Onward],
        *,
        capabilities: Capabilities,
        jobs: JobStore,
        now: Now,
        random: Random,
        control: Control | None = None,
        seen: InHand | None = None,
        max_starts: int = MAX_STARTS,
        resend: ObjectSendStream[Onward] | None = None,
        reporter: ObjectSendStream[Onward] | None = None,
    ) -> None:
        self._stories = stories
        self._feedback = feedback
        self._onward = onward
        self._resend = resend or onward
        self._reporter = reporter or onward
        self._capabilities = capabilities
        self._jobs = jobs
        self._now = now
        self._random = random
        self._control = control or Control()
        self._seen = seen or InHand(now)
        self._max_starts = max_starts
        self._taken = self._issued = self._stored = self._store_failures = 0
        self._parked: str | None = None
        self._reason: str | None = None
        self._story: str | None = None

    async def __call__(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until the inbox is closed, or, parked, until cancelled."""
        async with self._stories, self._feedback:
            async with self._onward, self._resend, self._reporter:
                task_status.started()
                async for story in self._stories:
                    await self._serve(story)
                    if self._parked:
                        break
            if self._parked:
                await sleep_forever()

    def statistics(self) -> PlannerStatistics:
        """Counts since the start."""
        return PlannerStatistics(
            self._taken,
            self._issued,
            self._parked,
            self._stored,
            self._store_failures,
            self._story,
            self._reason,
        )

    async def _serve(self, story: Story) -> None:
        self._taken += 1
        self._story = story.story_id
        if story.checkpoint is not None and story.checkpoint.state == "cancelled":
            self._control.give(story.story_id, "cancel")
        course = Course(story, capabilities=self._capabilities, now=self._now(), max_starts=self._max_starts)
        opened = StoryOpened(
            story=story,
            standing=course.standing,
            anchoring=course.anchoring,
            reason=course.anew_because,
        )
        await self._reporter.send(opened)
        await self._see_through(course)
        closing = course.closing()
        if not story.dry_run:
            self._control.take_back(story.story_id)
        self._story = None
        if isinstance(closing, StoryParked):
            self._seen.forget(story.story_id)
            if closing.kind not in STILL_SERVED:
                self._parked, self._reason = closing.kind, closing.reason
        await self._reporter.send(closing)

    async def _see_through(self, course: Course) -> None:
        """Issue batches and take in how they went, until the story is over."""
        settled: BatchSettled | None = None
        while True:
            course.heed(self._control.order_for(course.story.story_id))
            batches = list(iter(course.next_batch, None))
            if course.dirty and not course.report_will_do:
                await self._store(course)
            if settled is not None:
                await self._reporter.send(settled)
            if course.over:
                return
            for batch in batches:
                self._issued += 1
                await (self._onward if batch.role == "anchor" else self._resend).send(batch)
            settled = course.take_in(await self._feedback.receive())

    async def _store(self, course: Course) -> None:
        """Store the checkpoint, however long it takes: nothing counts before."""
        attempt = 0
        while True:
            course.heed(
                self._control.order_for(course.story.story_id)
            )  # one may have come while it was tried
            try:
                await self._jobs.save(course.checkpoint())
            except StoreFailed:
                attempt += 1
                self._store_failures += 1
                await anyio.sleep(backoff(attempt, self._random))
            else:
                self._stored += 1
                return
