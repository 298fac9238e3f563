"""resend: sends a story's batches with the anchor's message id, and tells the controller how they went.

How many batches are out at once is the planner's decision; `width` only bounds it. What is neither a batch nor a result
passes through, to the reporter.
"""

from __future__ import annotations

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import ObjectReceiveStream, ObjectSendStream, TaskStatus
from msgspec import Struct

from stages.delivery import Sender
from stages.flow import Batch, BatchResult, Onward

WIDTH = 16


class ResendStatistics(Struct, frozen=True):
    """What resend has done."""

    batches: int
    """Batches that came back."""
    sent: int
    """Recipients sent to, anchors not counted."""
    in_flight: int
    """Batches out at present."""


class Resend:
    """Ends when its inbox is closed and no batch is out, and then closes its outboxes."""

    def __init__(
        self,
        inbox: ObjectReceiveStream[Onward],
        reporter: ObjectSendStream[Onward],
        controller: ObjectSendStream[BatchResult],
        *,
        sender: Sender,
        width: int = WIDTH,
    ) -> None:
        self._inbox = inbox
        self._reporter = reporter
        self._controller = controller
        self._sender = sender
        self._room = anyio.Semaphore(width)
        self._batches = self._sent = self._in_flight = 0

    async def __call__(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until the inbox is closed."""
        async with self._inbox, self._reporter, self._controller, anyio.create_task_group() as sending:
            task_status.started()
            async for item in self._inbox:
                if not isinstance(item, Batch):
                    await self._pass_on(item)
                elif item.story.options.max_concurrent == 1:
                    await self._send(
                        item
                    )  # nothing comes before its result: a task of its own were for nothing
                else:
                    await self._room.acquire()
                    sending.start_soon(self._send_beside, item)

    def statistics(self) -> ResendStatistics:
        """Counts since the start."""
        return ResendStatistics(self._batches, self._sent, self._in_flight)

    async def _send_beside(self, batch: Batch) -> None:
        try:
            await self._send(batch)
        finally:
            self._room.release()

    async def _send(self, batch: Batch) -> None:
        self._in_flight += 1
        try:
            result = await self._sender.send(batch, batch.recipients, self._reporter.send)
        finally:
            self._in_flight -= 1
        self._batches += 1
        self._sent += len(result.sent)
        await self._pass_on(result)

    async def _pass_on(self, item: Onward) -> None:
        if isinstance(item, BatchResult):
            await self._controller.send(item)
        else:
            await self._reporter.send(item)
