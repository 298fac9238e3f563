"""The worker: pulls requests, runs a lane for each session, publishes what comes out, and stops in good order.

Nested nurseries are the lifetimes: the publisher outlives the lanes, the lanes outlive the pulling. At shutdown pulling
ends first, stories under way get `grace` seconds, and whatever is unsettled then is handed to another worker.
"""

from __future__ import annotations

from datetime import UTC, datetime
from random import random as any_number

import anyio
import trio
from msgspec import Struct
from trio import TASK_STATUS_IGNORED, TaskStatus

from pipeline.custody import Custody, CustodyStatistics
from pipeline.engines import engine_opener
from pipeline.lanes import Lanes, OpenEngine, Shared
from pipeline.publisher import Publisher, PublisherStatistics
from pipeline.settings import Settings
from pipeline.suppression import read_suppressed
from pipeline.topology import LaneStatistics
from stages.flow import Outgoing
from stages.history import Now
from stages.messages import Level
from stages.pacing import Random
from transports.bus import Bus
from transports.pull import open_pull
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
    publisher: PublisherStatistics
    lanes: dict[str, LaneStatistics]


class Worker(Struct, frozen=True, kw_only=True):
    """A running worker."""

    custody: Custody
    publisher: Publisher
    lanes: Lanes

    def statistics(self) -> WorkerStatistics:
        """What each of its parts has done so far."""
        return WorkerStatistics(
            self.custody.statistics(), self.publisher.statistics(), self.lanes.statistics()
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
    shared = Shared(
        settings=settings,
        custody=Custody(bus, now=now),
        open_engine=open_engine or engine_opener(settings),
        histories=NatsHistories(bus),
        reports=NatsReports(bus),
        now=now,
        random=random,
        suppressed=read_suppressed(settings.storycast.suppression_file),
    )
    await ensure(bus, history_ttl=settings.smart_send.memory_ttl_hours * 3600)
    try:
        await _serve(bus, shared, shutdown, task_status)
    finally:
        await _hand_over(shared.custody)


async def _serve(bus: Bus, shared: Shared, shutdown: trio.Event, task_status: TaskStatus[Worker]) -> None:
    send, receive = anyio.create_memory_object_stream[Outgoing](OUTGOING)
    publisher = Publisher(receive, bus, shared.custody, reports=shared.reports, random=shared.random)
    async with trio.open_nursery() as publishing:
        publishing.start_soon(publisher)
        async with send, trio.open_nursery() as keeping:
            keeping.start_soon(shared.custody.keep)
            async with trio.open_nursery() as living:
                lanes = Lanes(living, send, shared=shared)
                worker = Worker(custody=shared.custody, publisher=publisher, lanes=lanes)
                await _pull(bus, worker, shutdown, task_status)
                lanes.stop()
                living.cancel_scope.deadline = trio.current_time() + shared.settings.storycast.grace
            keeping.cancel_scope.cancel()
        publishing.cancel_scope.deadline = trio.current_time() + FINAL_WORDS


async def _pull(bus: Bus, worker: Worker, shutdown: trio.Event, task_status: TaskStatus[Worker]) -> None:
    """Pull from the three consumers until `shutdown`."""
    async with trio.open_nursery() as pulling:
        for level, consumer in CONSUMERS.items():
            await pulling.start(_pull_level, bus, worker, level, consumer)
        task_status.started(worker)
        await shutdown.wait()
        pulling.cancel_scope.cancel()


async def _pull_level(
    bus: Bus, worker: Worker, level: Level, consumer: str, *, task_status: TaskStatus[None]
) -> None:
    async with open_pull(bus, STREAM_SENDS, consumer) as mailbox:
        task_status.started()
        while True:
            taken = [worker.custody.take(pulled, level) for pulled in await mailbox.receive()]
            await worker.lanes.offer([delivery for delivery in taken if delivery])


async def _hand_over(custody: Custody) -> None:
    """Whatever is not settled goes to another worker, at once if NATS can still be told."""
    with trio.move_on_after(HAND_OVER, shield=True):
        await custody.hand_back_all()
