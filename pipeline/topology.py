"""Who is joined to whom: the six actors of one session.

    deliveries -> ingest => planner -> anchor -> resend -> reporter -> outgoing
                               ^                   |
                               +--- controller <---+
                                       (=> is the line of waiting stories, served by urgency)

Only anchors go by way of anchor: other batches go from planner to resend, and what the world is told to reporter.

Every channel is bounded, so that pressure travels back to where requests come from. Closing `deliveries` drains
the lane from left to right; cancelling it stops it at once, between two instants of any call.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from contextlib import ExitStack
from typing import TypeAlias, TypeVar

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import ObjectReceiveStream, TaskStatus
from anyio.streams.memory import MemoryObjectSendStream
from msgspec import Struct

from stages.anchor import Anchor, AnchorStatistics
from stages.channel import ReceiveEnd, SendEnd, open_channel
from stages.checkpoint import JobStore
from stages.control import Control
from stages.controller import Controller, ControllerStatistics
from stages.course import MAX_STARTS
from stages.delivery import Fence, IsOpen, Limits, Sender, never_sure, unfenced
from stages.engine import Engine
from stages.flow import BatchResult, Delivery, Feedback, Onward, Outgoing
from stages.history import HistoryStore, Now
from stages.ingest import Ingest, IngestStatistics, InHand
from stages.lists import RecipientLists
from stages.options import SmartSend
from stages.pacing import Pacer, PacerStatistics
from stages.planner import Planner, PlannerStatistics
from stages.reporter import Reporter, ReporterStatistics
from stages.resend import Resend, ResendStatistics
from stages.turns import Random
from stages.waiting import StoryReceiver, StorySender, WaitingStatistics, open_line

T = TypeVar("T")
_Pair: TypeAlias = tuple[SendEnd[T], ReceiveEnd[T]]
Outbox: TypeAlias = MemoryObjectSendStream[Outgoing] | SendEnd[Outgoing]
"""An end of what all lanes of a worker send by."""

WAITING = 1_024
BETWEEN_ACTORS = 16


class Ports(Struct, frozen=True, kw_only=True):
    """What a lane needs from outside."""

    engine: Engine
    histories: HistoryStore
    jobs: JobStore
    lists: RecipientLists
    now: Now
    random: Random
    fence: Fence = unfenced
    is_open: IsOpen = never_sure
    suppressed: Container[str] = frozenset()
    max_starts: int = MAX_STARTS


class LaneStatistics(Struct, frozen=True, kw_only=True):
    """The statistics of each actor of a lane, of its pacer and of its line of waiting stories."""

    ingest: IngestStatistics
    planner: PlannerStatistics
    anchor: AnchorStatistics
    resend: ResendStatistics
    controller: ControllerStatistics
    reporter: ReporterStatistics
    pacer: PacerStatistics
    line: WaitingStatistics


class Lane(Struct, frozen=True, kw_only=True):
    """The actors of a running lane, its pacer and its line of waiting stories."""

    ingest: Ingest
    planner: Planner
    anchor: Anchor
    resend: Resend
    controller: Controller
    reporter: Reporter
    pacer: Pacer
    line: StoryReceiver
    control: Control

    def leave(self) -> None:
        """Stop after the calls that are under way: every story is left where it stands, for another lane to go on."""
        self.line.discard()
        self.control.leave()

    def statistics(self) -> LaneStatistics:
        """What each of them has done so far."""
        return LaneStatistics(
            **{name: getattr(self, name).statistics() for name in LaneStatistics.__struct_fields__}
        )


async def run_lane(
    deliveries: ObjectReceiveStream[Sequence[Delivery]],
    outgoing: Outbox,
    *,
    ports: Ports,
    options: SmartSend,
    limits: Limits,
    task_status: TaskStatus[Lane] = TASK_STATUS_IGNORED,
) -> Lane:
    """Run a lane until `deliveries` is closed and all of it is done, or the session is parked."""
    ends = ExitStack()
    lane = _joined(deliveries, outgoing, ends, ports=ports, options=options, limits=limits)
    # Actors close their own ends; `ends` is for those that a cancellation keeps from ever starting.
    with ends:
        await _run(lane, task_status)
    return lane


async def _run(lane: Lane, task_status: TaskStatus[Lane]) -> None:
    async with anyio.create_task_group() as actors:
        for actor in (lane.controller, lane.resend, lane.anchor, lane.planner, lane.ingest):
            await actors.start(actor)
        task_status.started(lane)
        await lane.reporter()
        # Only a parked session has actors left at this point: those that hold what is not sent.
        actors.cancel_scope.cancel()


def _joined(
    deliveries: ObjectReceiveStream[Sequence[Delivery]],
    outgoing: Outbox,
    ends: ExitStack,
    *,
    ports: Ports,
    options: SmartSend,
    limits: Limits,
) -> Lane:
    able, now = ports.engine.capabilities, ports.now
    pacer = Pacer(options.max_batches_per_second, random=ports.random)
    control, seen = Control(), InHand(now)
    sender = Sender(
        ports.engine,
        pacer,
        limits=limits,
        random=ports.random,
        control=control,
        fence=ports.fence,
        is_open=ports.is_open,
    )

    to_planner, at_planner = open_line(WAITING)
    to_anchor, at_anchor = _onward(ends)
    to_resend, at_resend = _onward(ends)
    to_reporter, at_reporter = _onward(ends)
    shortcuts = to_resend.clone(), to_reporter.clone()
    for end in shortcuts:
        ends.callback(end.close)
    results: _Pair[BatchResult] = _held(ends, open_channel(BETWEEN_ACTORS))
    answers: _Pair[Feedback] = _held(ends, open_channel(BETWEEN_ACTORS))
    (to_controller, at_controller), (back_to_planner, feedback) = results, answers
    rejected, reported = outgoing, outgoing.clone()
    ends.callback(rejected.close)
    ends.callback(reported.close)

    return Lane(
        ingest=_ingest(deliveries, to_planner, rejected, ports=ports, options=options, seen=seen),
        planner=_planner(at_planner, feedback, to_anchor, shortcuts, ports=ports, control=control, seen=seen),
        anchor=Anchor(at_anchor, to_resend, sender=sender),
        resend=Resend(at_resend, to_reporter, to_controller, sender=sender),
        controller=Controller(
            at_controller, back_to_planner, capabilities=able, histories=ports.histories, now=now
        ),
        reporter=Reporter(at_reporter, reported, now=now),
        pacer=pacer,
        line=at_planner,
        control=control,
    )


def _ingest(
    deliveries: ObjectReceiveStream[Sequence[Delivery]],
    to_planner: StorySender,
    rejected: Outbox,
    *,
    ports: Ports,
    options: SmartSend,
    seen: InHand,
) -> Ingest:
    return Ingest(
        deliveries,
        to_planner,
        rejected,
        defaults=options,
        capabilities=ports.engine.capabilities,
        jobs=ports.jobs,
        lists=ports.lists,
        audience=ports.engine.audience,
        now=ports.now,
        seen=seen,
        suppressed=ports.suppressed,
    )


def _planner(
    stories: StoryReceiver,
    feedback: ReceiveEnd[Feedback],
    to_anchor: SendEnd[Onward],
    shortcuts: tuple[SendEnd[Onward], SendEnd[Onward]],
    *,
    ports: Ports,
    control: Control,
    seen: InHand,
) -> Planner:
    return Planner(
        stories,
        feedback,
        to_anchor,
        capabilities=ports.engine.capabilities,
        jobs=ports.jobs,
        now=ports.now,
        random=ports.random,
        control=control,
        seen=seen,
        max_starts=ports.max_starts,
        resend=shortcuts[0],
        reporter=shortcuts[1],
    )


def _onward(ends: ExitStack) -> _Pair[Onward]:
    return _held(ends, open_channel(BETWEEN_ACTORS))


def _held(ends: ExitStack, pair: _Pair[T]) -> _Pair[T]:
    for end in pair:
        ends.callback(end.close)
    return pair
