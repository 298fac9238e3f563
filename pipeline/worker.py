"""The worker: pulls requests, runs a lane for each session it owns, publishes what comes out, stops in good order.

Nested nurseries are the lifetimes: the publisher outlives the lanes, the lanes outlive the pulling, and leases are
renewed until the last lane has ended. At shutdown pulling ends first; the calls under way get `grace` seconds, and
every story is left at its checkpoint; then the leases are given up, and what is unsettled goes to other workers at
once.
"""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from functools import partial
from random import random as any_number
from uuid import uuid4

import trio
from msgspec import Struct
from trio import TASK_STATUS_IGNORED, TaskStatus

from pipeline.control import ControlDesk
from pipeline.custody import Custody, CustodyStatistics
from pipeline.engines import engine_opener
from pipeline.lanes import Lanes
from pipeline.leases import Lease, Leases
from pipeline.presence import Presence
from pipeline.publisher import Publisher, PublisherStatistics
from pipeline.routing import Routing, RoutingStatistics
from pipeline.settings import Settings
from pipeline.shared import OpenEngine, Shared
from pipeline.suppression import read_suppressed
from pipeline.topology import LaneStatistics
from stages.channel import ReceiveEnd, SendEnd, open_channel
from stages.flow import Outgoing
from stages.history import Now
from stages.messages import Level, SessionInfo, WorkerInfo
from stages.turns import Random
from transports.bus import Bus
from transports.jobs import NatsJobs
from transports.lists import NatsLists
from transports.pull import Room, open_pull
from transports.stores import NatsHistories, NatsReports
from transports.streams import ensure
from transports.subjects import CONSUMERS, STREAM_SENDS

OUTGOING = 1_024
HAND_OVER = 2.0
FINAL_WORDS = 3.0
"""Seconds that the last reports get to be stored once all lanes have ended."""


class WorkerStatistics(Struct, frozen=True):
    """What a worker does at present."""

    custody: CustodyStatistics
    routing: RoutingStatistics
    publisher: PublisherStatistics
    lanes: dict[str, LaneStatistics]


class Worker(Struct, frozen=True, kw_only=True):
    """A running worker. `id` is a new one at each start."""

    id: str
    custody: Custody
    publisher: Publisher
    lanes: Lanes
    leases: Leases
    routing: Routing
    presence: Presence
    since: datetime

    def statistics(self) -> WorkerStatistics:
        """What each of its parts has done so far."""
        return WorkerStatistics(
            self.custody.statistics(),
            self.routing.statistics(),
            self.publisher.statistics(),
            self.lanes.statistics(),
        )


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


async def run_worker(
    bus: Bus,
    settings: Settings,
    *,
    shutdown: trio.Event,
    open_engine: OpenEngine | None = None,
    now: Now = utc_now,
    random: Random = any_number,
    task_status: TaskStatus[Worker] = TASK_STATUS_IGNORED,
) -> None:
    """Serve requests until `shutdown` is set, then finish or hand over what is in hand.

    Creates streams that are missing. Raises `StreamMismatch` or `SettingsError` before it takes anything.
    """
    own = settings.storycast
    shared = Shared(
        settings=settings,
        custody=Custody(bus, now=now),
        leases=Leases(bus, owner=uuid4().hex[:12]),
        open_engine=open_engine or engine_opener(settings, bus),
        histories=NatsHistories(bus),
        jobs=NatsJobs(bus),
        lists=NatsLists(bus),
        now=now,
        random=random,
        suppressed=read_suppressed(own.suppression_file),
    )
    await ensure(bus, history_ttl=settings.smart_send.memory_ttl_hours * 3600, replicas=own.replicas)
    try:
        await _serve(bus, shared, shutdown, task_status)
    finally:
        await _hand_over(shared)


async def _serve(bus: Bus, shared: Shared, shutdown: trio.Event, task_status: TaskStatus[Worker]) -> None:
    channel: tuple[SendEnd[Outgoing], ReceiveEnd[Outgoing]] = open_channel(OUTGOING)
    send, receive = channel
    publisher = Publisher(
        receive,
        bus,
        shared.custody,
        reports=NatsReports(bus),
        jobs=shared.jobs,
        now=shared.now,
        random=shared.random,
    )
    async with trio.open_nursery() as publishing:
        publishing.start_soon(publisher)
        async with send, trio.open_nursery() as keeping:
            keeping.start_soon(shared.custody.keep)
            keeping.start_soon(shared.leases.keep)
            async with trio.open_nursery() as living:
                worker = _worker(bus, living, send, shared, publisher)
                # To the end, for what others passed on before they knew that it stops.
                keeping.start_soon(worker.routing.receive)
                await _take_requests(bus, worker, shared, shutdown, task_status)
                living.cancel_scope.deadline = trio.current_time() + shared.settings.storycast.grace
            keeping.cancel_scope.cancel()
        publishing.cancel_scope.deadline = trio.current_time() + FINAL_WORDS


def _worker(
    bus: Bus,
    living: trio.Nursery,
    outgoing: SendEnd[Outgoing],
    shared: Shared,
    publisher: Publisher,
) -> Worker:
    lanes, since = Lanes(living, outgoing, shared=shared), shared.now()
    presence = Presence(bus, shared.leases.owner, lambda: describe(shared, lanes, shared.leases.owner, since))
    return Worker(
        id=shared.leases.owner,
        custody=shared.custody,
        publisher=publisher,
        lanes=lanes,
        leases=shared.leases,
        routing=Routing(bus, lanes, outgoing, shared=shared, presence=presence),
        presence=presence,
        since=since,
    )


async def _take_requests(
    bus: Bus, worker: Worker, shared: Shared, shutdown: trio.Event, task_status: TaskStatus[Worker]
) -> None:
    """Take requests, and orders, until `shutdown`."""
    async with trio.open_nursery() as taking:
        taking.start_soon(worker.presence.keep)
        taking.start_soon(worker.lanes.sweep)
        desk = ControlDesk(bus, worker.lanes, shared=shared, presence=worker.presence)
        await taking.start(desk.serve)
        for level, consumer in CONSUMERS.items():
            room = partial(shared.custody.room, level, shared.settings.storycast.max_held)
            await taking.start(_pull_level, bus, worker.routing, level, consumer, room)
        task_status.started(worker)
        await shutdown.wait()
        worker.lanes.stop()  # first of all: taking leave of the stream is a round trip, in which calls could begin
        taking.cancel_scope.cancel()


async def _pull_level(
    bus: Bus, routing: Routing, level: Level, consumer: str, room: Room, *, task_status: TaskStatus[None]
) -> None:
    async with open_pull(bus, STREAM_SENDS, consumer, room=room) as mailbox:
        task_status.started()
        while True:
            await routing.route(await mailbox.receive(), level)


async def _hand_over(shared: Shared) -> None:
    """Give up the sessions, then whatever is not settled: others take both, at once if NATS can be told."""
    with trio.move_on_after(HAND_OVER, shield=True):
        await shared.leases.release_all()
        await shared.custody.hand_back_all()


def describe(shared: Shared, lanes: Lanes, worker: str, since: datetime) -> WorkerInfo:
    """What `worker` serves now."""
    sessions = [_session(shared, lanes, lease) for _, lease in sorted(shared.leases.held().items())]
    return WorkerInfo(
        worker=worker, host=socket.gethostname(), pid=os.getpid(), since=since, sessions=sessions
    )


def _session(shared: Shared, lanes: Lanes, lease: Lease) -> SessionInfo:
    lane, custody = lanes.lanes().get(lease.session), shared.custody
    story = None if lane is None else lane.planner.statistics().story
    return SessionInfo(
        session_id=lease.session,
        story_id=story,
        waiting=custody.waiting(lease.session) - (story is not None),
        paused=list(custody.paused(lease.session)),
        parked=lease.parked,
    )
