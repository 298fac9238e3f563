"""controller: hears how every batch went, keeps what the session has learned, and decides the next size.

It is the one loop of the pipeline: exactly one `Feedback` to the planner for each result, with the decision and its
reason for everyone who watches, who hear it after the result that it follows from.
"""

from __future__ import annotations

from datetime import timedelta

from anyio import TASK_STATUS_IGNORED
from anyio.abc import ObjectReceiveStream, ObjectSendStream, TaskStatus
from msgspec import Struct, structs

from stages.engine import Capabilities
from stages.errors import StoreFailed
from stages.flow import BatchResult, Feedback, Story
from stages.history import VERSION, History, HistoryStore, Now, fresh, stamped
from stages.messages import Scaling, SessionLearning
from stages.policies import policy_for
from stages.policy import Decision, Sample


class ControllerStatistics(Struct, frozen=True):
    """What the controller has decided."""

    decisions: int
    """Sizes decided."""
    proven: int
    """The proven size of the session, 0 for none."""
    store_failures: int
    """Times the history could not be read or kept; the session went on with what it had in memory."""


class Controller:
    """Ends when its inbox is closed, and then closes its outboxes."""

    def __init__(
        self,
        results: ObjectReceiveStream[BatchResult],
        feedback: ObjectSendStream[Feedback],
        *,
        capabilities: Capabilities,
        histories: HistoryStore,
        now: Now,
    ) -> None:
        self._results = results
        self._feedback = feedback
        self._capabilities = capabilities
        self._histories = histories
        self._now = now
        self._history = History()
        self._kept: History | None = None
        self._recalled_once = False
        self._used_history = False
        self._story: Story | None = None
        self._decisions = self._store_failures = 0

    async def __call__(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until the inbox is closed."""
        async with self._results, self._feedback:
            task_status.started()
            async for result in self._results:
                await self._hear(result)

    def statistics(self) -> ControllerStatistics:
        """Counts since the start."""
        return ControllerStatistics(self._decisions, self._history.proven, self._store_failures)

    async def _hear(self, result: BatchResult) -> None:
        decision, learned = await self._decide(result)
        batch = result.batch
        largest = self._largest(batch.story, self._history)
        size = min(largest, batch.planned if decision is None else decision.size)
        self._decisions += decision is not None
        await self._feedback.send(
            Feedback(
                result=result,
                size=size,
                planned=size if decision is None else decision.size,
                width=None if decision is None else decision.width,
                tries=batch.tries if decision is None else decision.tries,
                pace=result.pace if self._history.belief is None else self._history.belief.pace,
                learning=self._learning(batch.story),
                scaling=None if decision is None else self._scaling(result, decision, size),
                history=self._history,
            )
        )
        if learned:  # nobody waits for it
            await self._keep(batch.story)

    async def _decide(self, result: BatchResult) -> tuple[Decision | None, bool]:
        """What the policy says to `result`, None where there is nothing to decide; and if something was learned."""
        batch, story = result.batch, result.batch.story
        if story is not self._story:
            self._story = story
            self._used_history = story.checkpoint is not None and story.checkpoint.used_history
            self._history = await self._begun_with(story)
        history = with_ceiling(self._history, result)
        policy = policy_for(story.options, largest=self._largest(story, history))
        if batch.role == "anchor" and result.sent:
            self._used_history = history.proven > 0
            decision = policy.first(len(story.recipients), history)
        elif batch.role == "batch" and result.outcome not in {"refused", "parked", "halted"}:
            decision = policy.next(batch.planned, sample_of(result), history)
        else:
            return None, False
        learned = decision.learned or result.ceiling > 0
        self._history = stamped(decision.history, now=self._now()) if learned else decision.history
        return decision, learned

    async def _begun_with(self, story: Story) -> History:
        """What a story goes by at first: as it was when it was left, or what the session remembers."""
        history = None if story.checkpoint is None else story.checkpoint.history
        if history is None or history.version != VERSION:
            return await self._recalled(story)
        if history.at is None:
            return history  # it has learned nothing that it could forget
        return fresh(history, now=self._now(), ttl=timedelta(hours=story.options.memory_ttl_hours))

    async def _recalled(self, story: Story) -> History:
        if not story.options.enable_learning:
            return History()
        if not self._recalled_once:
            await self._recall(story.session_id)
        return fresh(self._kept, now=self._now(), ttl=timedelta(hours=story.options.memory_ttl_hours))

    async def _recall(self, session: str) -> None:
        # Once, for as long as this lane lives nobody else teaches the session anything.
        try:
            self._kept = await self._histories.load(session)
            self._recalled_once = True
        except StoreFailed:
            self._store_failures += 1
            self._kept = self._history

    async def _keep(self, story: Story) -> None:
        """Store the history, if it is to be."""
        if not story.options.enable_learning:
            return
        self._kept = self._history
        try:
            await self._histories.save(story.session_id, self._history)
        except StoreFailed:
            self._store_failures += 1

    def _largest(self, story: Story, history: History) -> int:
        """No batch is larger, by what the operator, the engine and the frame allow."""
        limits = (self._capabilities.max_batch, history.ceiling)
        return min([story.options.max_batch_size, *(limit for limit in limits if limit)])

    def _scaling(self, result: BatchResult, decision: Decision, size: int) -> Scaling:
        story = result.batch.story
        cut = f" (at most {size:,} a batch)" if size < decision.size else ""
        gap = max(result.gap, story.options.batch_delay / 1000)
        return Scaling(
            session_id=story.session_id,
            story_id=story.story_id,
            size=size,
            gap_ms=round(gap * 1000),
            reason=decision.reason + cut,
            at=self._now(),
        )

    def _learning(self, story: Story) -> SessionLearning:
        proven = self._history.proven
        return SessionLearning(
            max_proven_batch_size=proven,
            used_historical_data=self._used_history,
            will_skip_ramping_next_time=story.options.enable_learning
            and proven > story.options.progressive_sequence[0],
        )


def with_ceiling(history: History, result: BatchResult) -> History:
    """`history`, knowing the size that `result` showed not to fit in a frame, if it did."""
    if not result.ceiling:
        return history
    return structs.replace(history, ceiling=min(history.ceiling or result.ceiling, result.ceiling))


def sample_of(result: BatchResult) -> Sample:
    """What a policy needs to know of `result`."""
    batch = result.batch
    return Sample(
        outcome=result.outcome,
        size=len(batch.recipients),
        share=len(result.sent) / len(batch.recipients),
        duration=result.duration,
        whole=result.whole,
        attempt=batch.attempt,
        waiting=batch.waiting + len(result.unsent) + len(result.unsure),
        beside=result.beside,
        pace=result.pace,
    )
