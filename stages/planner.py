"""planner: takes one story after the other and issues its batches, one at a time.

It never plans everything up front, for then it could not react: each next batch has the size that the
controller answered to the last one. With `max_concurrent` above 1 as many batches are out at once.
"""

from __future__ import annotations

from anyio import TASK_STATUS_IGNORED, sleep_forever
from anyio.abc import ObjectReceiveStream, ObjectSendStream, TaskStatus
from msgspec import Struct

from stages.course import Course
from stages.engine import Capabilities
from stages.flow import Feedback, Onward, Story, StoryOpened, StoryParked


class PlannerStatistics(Struct, frozen=True):
    """What the planner has done."""

    stories: int
    """Stories taken up."""
    batches: int
    """Batches issued, anchors included."""
    parked: str | None
    """The kind of the failure that stopped the session: no story is taken up any more."""


class Planner:
    """Ends when its inbox is closed and the stories in it are done.

    When the session is parked it closes its outbox at once and issues nothing more; the stories in its inbox
    stay there, unserved, until it is cancelled.
    """

    def __init__(
        self,
        stories: ObjectReceiveStream[Story],
        feedback: ObjectReceiveStream[Feedback],
        onward: ObjectSendStream[Onward],
        *,
        capabilities: Capabilities,
    ) -> None:
        self._stories = stories
        self._feedback = feedback
        self._onward = onward
        self._capabilities = capabilities
        self._taken = self._issued = 0
        self._parked: str | None = None

    async def __call__(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until the inbox is closed, or, parked, until cancelled."""
        async with self._stories, self._feedback:
            async with self._onward:
                task_status.started()
                async for story in self._stories:
                    await self._tell(story)
                    if self._parked:
                        break
            if self._parked:
                await sleep_forever()

    def statistics(self) -> PlannerStatistics:
        """Counts since the start."""
        return PlannerStatistics(self._taken, self._issued, self._parked)

    async def _tell(self, story: Story) -> None:
        self._taken += 1
        course = Course(
            story,
            max_batch=self._capabilities.max_batch,
            reuses_message_id=self._capabilities.reuses_message_id,
        )
        await self._onward.send(StoryOpened(story=story))
        while not course.over:
            while (batch := course.next_batch()) is not None:
                self._issued += 1
                await self._onward.send(batch)
            course.take_in(await self._feedback.receive())
        closing = course.closing()
        self._parked = closing.kind if isinstance(closing, StoryParked) else None
        await self._onward.send(closing)
