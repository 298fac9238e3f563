"""anchor: sends a story to one contact first, which yields the message id for all the others.

A contact that cannot be reached is failed and the next candidate tried. What is no anchor batch passes through.
"""

from __future__ import annotations

from anyio import TASK_STATUS_IGNORED
from anyio.abc import ObjectReceiveStream, ObjectSendStream, TaskStatus
from msgspec import Struct, structs

from stages.delivery import Sender
from stages.errors import OutcomeUnknown, Unavailable
from stages.flow import Batch, BatchResult, Onward


class AnchorStatistics(Struct, frozen=True):
    """What anchor has done."""

    anchored: int
    """Stories whose anchor was reached."""
    unreachable: int
    """Candidates that were not reached."""


class Anchor:
    """Ends when its inbox is closed, and then closes its outbox."""

    def __init__(
        self, inbox: ObjectReceiveStream[Onward], onward: ObjectSendStream[Onward], *, sender: Sender
    ) -> None:
        self._inbox = inbox
        self._onward = onward
        self._sender = sender
        self._anchored = self._unreachable = 0

    async def __call__(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until the inbox is closed."""
        async with self._inbox, self._onward:
            task_status.started()
            async for item in self._inbox:
                if isinstance(item, Batch) and item.role == "anchor":
                    await self._onward.send(await self._anchor(item))
                else:
                    await self._onward.send(item)

    def statistics(self) -> AnchorStatistics:
        """Counts since the start."""
        return AnchorStatistics(self._anchored, self._unreachable)

    async def _anchor(self, batch: Batch) -> BatchResult:
        """Try one candidate after the other until one has it; the others go back untried."""
        so_far: BatchResult | None = None
        for place, candidate in enumerate(batch.recipients):
            result = await self._sender.send(batch, [candidate], self._onward.send)
            so_far = _joined(so_far, result, untried=len(batch.recipients) - place - 1)
            if result.sent:
                self._anchored += 1
                break
            self._unreachable += 1
            if result.outcome in {"parked", "refused", "halted"}:
                break
        assert so_far is not None, "an anchor batch has at least one candidate"
        return _parked_if_nobody_is_at_fault(so_far)


def _joined(before: BatchResult | None, last: BatchResult, *, untried: int) -> BatchResult:
    """The results of all candidates so far as one."""
    outcome = "failed" if last.outcome == "sent" and not last.sent else last.outcome
    if before is None:
        return structs.replace(last, outcome=outcome, untried=untried)
    return structs.replace(
        last,
        outcome=outcome,
        untried=untried,
        message_ids=[*before.message_ids, *last.message_ids],
        failed={**before.failed, **last.failed},
        unsent=[*before.unsent, *last.unsent],
        unsure=[*before.unsure, *last.unsure],
        elapsed=before.elapsed + last.elapsed,
    )


def _parked_if_nobody_is_at_fault(result: BatchResult) -> BatchResult:
    """Where the last candidate met an engine that gave no answer, the story is for another time, not failed."""
    if (
        result.outcome not in {"parked", "halted"}
        and result.failure in {Unavailable.kind, OutcomeUnknown.kind}
        and not result.sent
    ):
        return structs.replace(result, outcome="parked")
    return result
