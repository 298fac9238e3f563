"""The control desk: pause, resume, cancel and status of single stories, as a request/reply service.

Any worker takes a request; the one that owns the story's session carries it out. An order is stored in the story's
checkpoint before it is answered, so that it outlives whoever took it; if nobody owns the session that is all there is
to do: who takes the story up finds it.
"""

from __future__ import annotations

import logging

import msgspec
import trio
from msgspec import structs
from trio import TASK_STATUS_IGNORED, TaskStatus

from pipeline.lanes import Lanes
from pipeline.presence import Presence
from pipeline.shared import Shared
from stages.checkpoint import Checkpoint, JobState
from stages.control import Order
from stages.errors import StoreFailed, Superseded
from stages.messages import (
    SESSION_ID,
    STORY_ID,
    Action,
    ControlError,
    ControlRequest,
    Standstill,
    StoryStatus,
)
from stages.ranges import Ranges
from transports.bus import Bus, Inbound, Outbound
from transports.errors import TransportError
from transports.locks import Locks
from transports.mailbox import Mailbox
from transports.subjects import CONTROL, control_of, controls_to, is_for_answers, ordered_in

DESK = "storycast-control"
"""The queue group of all workers: one of them takes each request."""
WAITING = 64

_ALLOWED = "pause, resume, cancel, status"
_STATES: dict[Action, JobState] = {"pause": "paused", "cancel": "cancelled", "resume": "open"}
_ORDERS: dict[JobState, Order] = {"paused": "pause", "cancelled": "cancel"}

_BAD_NAMES = ControlError(code="invalid-subject", message=f"allowed: {CONTROL[:-1]}<session>.<story>")

log = logging.getLogger("storycast")

Answer = StoryStatus | ControlError


class ControlDesk:
    """Takes orders for any story, and carries out those for sessions that this worker owns."""

    def __init__(self, bus: Bus, lanes: Lanes, *, shared: Shared, presence: Presence) -> None:
        self._bus = bus
        self._lanes = lanes
        self._shared = shared
        self._presence = presence
        self._locks = Locks()

    async def serve(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Answer requests until cancelled."""
        passed_on = controls_to(self._presence.worker)
        async with (
            self._bus.subscribe(CONTROL, queue=DESK, bound=WAITING) as mailbox,
            self._bus.subscribe(passed_on, bound=WAITING) as own,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self._answer_all, own)
            task_status.started()
            await self._answer_all(mailbox)

    async def _answer_all(self, mailbox: Mailbox[Inbound]) -> None:
        while True:
            for message in await mailbox.receive():
                await self._answer(message)

    async def _answer(self, message: Inbound) -> None:
        session, story = ordered_in(message.subject)
        is_valid = SESSION_ID.fullmatch(session) and (story is None or STORY_ID.fullmatch(story))
        owner = await self._owner_elsewhere(session) if is_valid else None
        if owner is not None and message.subject.startswith("storycast.control."):
            onward = control_of(owner, message.subject)
            await self._publish(Outbound(onward, message.data, message.headers, reply=message.reply))
            return
        answer = await self._carry_out(message.data, session, story) if is_valid else _BAD_NAMES
        if is_for_answers(message.reply):
            await self._publish(Outbound(message.reply, msgspec.json.encode(answer)))

    async def _owner_elsewhere(self, session: str) -> str | None:
        """The worker that owns `session`, if it is another one, and alive."""
        if session in self._shared.leases.held():
            return None
        try:
            owner = await self._shared.leases.owner_of(session)
        except StoreFailed:
            return None
        return owner if owner is not None and self._presence.alive(owner) else None

    async def _publish(self, message: Outbound) -> None:
        try:
            await self._bus.publish([message])
        except TransportError as problem:
            log.warning("an answer is lost", extra={"subject": message.subject, "problem": str(problem)})

    async def _carry_out(self, data: bytes, session: str, story: str | None) -> Answer:
        try:
            action = msgspec.json.decode(data, type=ControlRequest).action
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
            return ControlError(code="invalid-request", message=f"{problem}; allowed: {_ALLOWED}")
        try:
            if story is None:
                return await self._serve_again(session, action)
            return await self._order(session, story, action)
        except StoreFailed as problem:
            return ControlError(code="store-failed", message=f"{problem}; try again")
        except Superseded as problem:
            return ControlError(code="moved", message=f"{problem}; try again")

    async def _serve_again(self, session: str, action: Action) -> Answer:
        if action != "resume":
            return ControlError(code="invalid-request", message=f"{action} needs a story; a session: resume")
        was = await self._shared.leases.unpark(session)
        self._lanes.wake(session)
        reason = "its requests are delivered again within a minute" if was else "it was not stopped"
        owner = self._presence.worker if session in self._shared.leases.held() else None
        return StoryStatus(session_id=session, story_id=None, state="waiting", worker=owner, reason=reason)

    async def _order(self, session: str, story: str, action: Action) -> Answer:
        async with self._locks.of(f"{session}.{story}"):
            checkpoint = await self._shared.jobs.peek(session, story)
            if action == "status" or _is_over(checkpoint):
                return self._status(session, story, checkpoint)
            if action != "cancel" and checkpoint is not None and checkpoint.state == "cancelled":
                return ControlError(code="cancelled", message="it is cancelled, and will not go on")
            self._tell(session, story, _STATES[action])
            if action == "resume" and checkpoint is None:
                return self._status(session, story, None)
            return self._status(session, story, await self._mark(session, story, action))

    async def _mark(self, session: str, story: str, action: Action) -> Checkpoint:
        """Store the order, and see to it that whoever is at the story, or holds its request, knows."""
        jobs, custody = self._shared.jobs, self._shared.custody
        checkpoint = await jobs.amend(session, story, lambda found: _marked(found, session, story, action))
        # Once more: a lane that was opened meanwhile may have read the checkpoint before it was written.
        self._tell(session, story, checkpoint.state)
        if checkpoint.state != "paused":
            await custody.resume(session, story)
        return checkpoint

    def _tell(self, session: str, story: str, state: JobState) -> None:
        """Have the session's lane, if there is one, do what the checkpoint says."""
        lane = self._lanes.lanes().get(session)
        if lane is None:
            return
        if order := _ORDERS.get(state):
            lane.control.give(story, order)
        else:
            lane.control.take_back(story)

    def _status(self, session: str, story: str, checkpoint: Checkpoint | None) -> StoryStatus:
        found, lane = (
            checkpoint or Checkpoint(session_id=session, story_id=story),
            self._lanes.lanes().get(session),
        )
        under_way = lane is not None and lane.planner.statistics().story == story
        return StoryStatus(
            session_id=session,
            story_id=story,
            state=_state(checkpoint, under_way=under_way),
            worker=self._presence.worker if session in self._shared.leases.held() else None,
            message_id=found.message_id,
            total=found.total,
            sent=len(Ranges.unpacked(found.sent)),
            failed=sum(len(Ranges.unpacked(places)) for places in found.failed.values()),
            unknown=len(Ranges.unpacked(found.unknown)),
            reason=found.reason,
        )


def _is_over(checkpoint: Checkpoint | None) -> bool:
    return checkpoint is not None and checkpoint.state == "finished"


def _marked(found: Checkpoint | None, session: str, story: str, action: Action) -> Checkpoint:
    """The checkpoint with the order in it; one that is over, or cancelled, stays so."""
    checkpoint = found or Checkpoint(session_id=session, story_id=story)
    if checkpoint.state in {"finished", "cancelled"}:
        return checkpoint
    return structs.replace(checkpoint, state=_STATES[action], starts=0)


def _state(checkpoint: Checkpoint | None, *, under_way: bool) -> Standstill:
    if checkpoint is None:
        return "under way" if under_way else "unknown"
    match checkpoint.state:
        case "open":
            return "under way" if under_way else "waiting"
        case "paused":
            return "pausing" if under_way else "paused"
        case "cancelled":
            return "cancelling"
    return "finished"
