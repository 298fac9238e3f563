"""Who is joined to whom: the six actors of one session.

    deliveries -> ingest => planner -> anchor -> resend -> reporter -> outgoing
                               ^                   |
                               +--- controller <---+
                                       (=> is the line of waiting stories, served by urgency)

Every channel is bounded, so that pressure travels back to where requests come from. Closing `deliveries` drains
the lane from left to right; cancelling it stops it at once, between two instants of any call.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import ObjectReceiveStream, TaskStatus
from anyio.streams.memory import MemoryObjectSendStream
from msgspec import Struct

from stages.anchor import Anchor, AnchorStatistics
from stages.controller import Controller, ControllerStatistics
from stages.delivery import Limits, Sender
from stages.engine import Engine
from stages.flow import BatchResult, Delivery, Feedback, Onward, Outgoing
from stages.history import HistoryStore, Now
from stages.ingest import Ingest, IngestStatistics, ReportStore
from stages.options import SmartSend
from stages.pacing import Pacer, PacerStatistics, Random
from stages.planner import Planner, PlannerStatistics
from stages.reporter import Reporter, ReporterStatistics
from stages.resend import Resend, ResendStatistics
from stages.waiting import StoryReceiver, WaitingStatistics, open_line

WAITING = 1_024
BETWEEN_ACTORS = 16


class Ports(Struct, frozen=True, kw_only=True):
    """What a lane needs from outside."""

    engine: Engine
    histories: HistoryStore
    reports: ReportStore
    now: Now
    random: Random
    suppressed: Container[str] = frozenset()


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

    def statistics(self) -> LaneStatistics:
        """What each of them has done so far."""
        return LaneStatistics(**{name: getattr(self, name).statistics() for name in self.__struct_fields__})


async def run_lane(
    deliveries: ObjectReceiveStream[Sequence[Delivery]],
    outgoing: MemoryObjectSendStream[Outgoing],
    *,
    ports: Ports,
    options: SmartSend,
    limits: Limits,
    task_status: TaskStatus[Lane] = TASK_STATUS_IGNORED,
) -> Lane:
    """Run a lane until `deliveries` is closed and all of it is done, or the session is parked."""
    lane = _joined(deliveries, outgoing, ports=ports, options=options, limits=limits)
    async with anyio.create_task_group() as actors:
        for actor in (lane.controller, lane.resend, lane.anchor, lane.planner, lane.ingest):
            await actors.start(actor)
        task_status.started(lane)
        await lane.reporter()
        # Only a parked session has actors left at this point: those that hold what is not sent.
        actors.cancel_scope.cancel()
    return lane


def _joined(
    deliveries: ObjectReceiveStream[Sequence[Delivery]],
    outgoing: MemoryObjectSendStream[Outgoing],
    *,
    ports: Ports,
    options: SmartSend,
    limits: Limits,
) -> Lane:
    able, now = ports.engine.capabilities, ports.now
    pacer = Pacer(options.max_batches_per_second, random=ports.random)
    sender = Sender(ports.engine, pacer, limits=limits, random=ports.random)

    to_planner, at_planner = open_line(WAITING)
    to_anchor, at_anchor = anyio.create_memory_object_stream[Onward](BETWEEN_ACTORS)
    to_resend, at_resend = anyio.create_memory_object_stream[Onward](BETWEEN_ACTORS)
    to_reporter, at_reporter = anyio.create_memory_object_stream[Onward](BETWEEN_ACTORS)
    to_controller, at_controller = anyio.create_memory_object_stream[BatchResult](BETWEEN_ACTORS)
    back_to_planner, feedback = anyio.create_memory_object_stream[Feedback](BETWEEN_ACTORS)
    rejected, decided, reported = outgoing, outgoing.clone(), outgoing.clone()

    return Lane(
        ingest=Ingest(
            deliveries,
            to_planner,
            rejected,
            defaults=options,
            capabilities=able,
            reports=ports.reports,
            now=now,
            suppressed=ports.suppressed,
        ),
        planner=Planner(at_planner, feedback, to_anchor, capabilities=able),
        anchor=Anchor(at_anchor, to_resend, sender=sender),
        resend=Resend(at_resend, to_reporter, to_controller, sender=sender),
        controller=Controller(
            at_controller, back_to_planner, decided, capabilities=able, histories=ports.histories, now=now
        ),
        reporter=Reporter(at_reporter, reported, now=now),
        pacer=pacer,
        line=at_planner,
    )
