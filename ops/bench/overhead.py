"""`storycast bench overhead`: how much longer a story takes than its engine calls and its pacing.

A real nats-server, a worker in a process of its own, and a story sent by the public client, with the simulated engine
by the figures of the original system and the settings as they come. The critical path is what cannot be less:

- the engine calls, which go out one after the other: their durations by the engine's own record, not by our events;
- the pacing, which the settings ask for: a call begins no sooner than the delay after the end of the last one, and no
  sooner than 1/rate seconds after its beginning.

All else is the rest. Where it goes follows from times that are there anyway: the client's own, the record's, and when
a listener hears the checkpoints, which are published on NATS. Nothing is measured inside the worker. All processes
have one clock, that of the machine. Work that is done in the shade of the pacing costs nothing, and is not counted;
writing the record is part of the rest.

No call fails here: the waits after a failure are neither the engine's nor ours.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

import trio
from msgspec import Struct

from ops.bench.goals import goals_table
from ops.bench.machine import machine
from ops.bench.one_story import MAX_PAYLOAD, Unmeasured, recipients, report_of, story_to
from ops.bench.output import Wanted, give
from ops.bench.overhead_figures import (
    Overhead,
    Rest,
    Run,
    goals,
    legend,
    median_rest,
    over_calls,
    over_path,
    panels,
    table,
)
from ops.bench.profiles import ORIGINAL, seeded, written
from ops.bench.worker import open_worker
from ops.exits import SUCCESS
from ops.serve import interruptible
from pipeline.client import Client
from stages.errors import NotFinished
from stages.messages import Report
from stages.options import SmartSend
from transports.bus import Bus, Inbound, open_bus
from transports.mailbox import Mailbox
from transports.server import open_server
from transports.simulated import RecordedCall, read_record
from transports.subjects import BUCKET_JOBS, key_subject

MOST_RECIPIENTS: Final = 1_000_000
MOST_RUNS: Final = 50
_FIRST_SEED: Final = 101
_PATIENCE: Final = 60.0
_PATIENCE_PER_RECIPIENT: Final = 0.02
_DEFAULTS: Final = SmartSend()


class Times(Struct, frozen=True, kw_only=True):
    """When things happened, in seconds since 1970."""

    began: float
    stored: float
    reported: float
    checkpoints: Sequence[float]


async def overhead(size: int, runs: int, wanted: Wanted) -> int:
    """Send so many stories to `size` recipients, one after the other, and give what was found."""
    wanted.check()
    console, measured = wanted.console(), list[Run]()
    async with interruptible():
        for number in range(runs):
            console.print(f"run {number + 1} of {runs}: {size:,} recipients", style="dim")
            measured.append(await _run(size, _FIRST_SEED + number))
    found = summed_up(size, measured)
    give(
        "overhead",
        found,
        shown=[table(found), legend(found), goals_table(found.goals)],
        panels=panels(found),
        wanted=wanted,
    )
    return SUCCESS


def summed_up(size: int, runs: Sequence[Run]) -> Overhead:
    """The runs with their medians."""
    return Overhead(
        machine=machine(),
        recipients=size,
        strategy=_DEFAULTS.strategy,
        profile=ORIGINAL,
        delay_ms=_DEFAULTS.batch_delay,
        calls_per_second=_DEFAULTS.max_batches_per_second,
        runs=runs,
        wall=median(run.wall for run in runs),
        calls=median(run.calls for run in runs),
        pacing=median(run.pacing for run in runs),
        rest=median_rest(runs),
        over_calls=median(map(over_calls, runs)),
        over_path=median(map(over_path, runs)),
        goals=goals(runs),
    )


async def _run(size: int, seed: int) -> Run:
    """One story, on a server and a worker of its own. Raises `NotFinished`, `Unmeasured`."""
    with TemporaryDirectory(prefix="storycast-bench-") as folder:
        record = Path(folder) / "record"
        settings = {
            "STORYCAST_PROFILE": str(written(seeded(seed, fails=False), Path(folder) / "profile.toml")),
            "STORYCAST_RECORD": str(record),
            "STORYCAST_GRACE": "0",
        }
        with trio.move_on_after(_PATIENCE + size * _PATIENCE_PER_RECIPIENT):
            async with (
                open_server(max_payload=MAX_PAYLOAD) as server,
                open_worker(server.url, settings),
                open_bus(server.url, name="storycast bench") as bus,
            ):
                times, report = await _sent(bus, size)
                return run_of(times, read_record(record).calls, report)
    raise NotFinished(f"the story to {size:,} recipients has no report in time")


async def _sent(bus: Bus, size: int) -> tuple[Times, Report]:
    checkpoints = list[float]()
    async with (
        bus.subscribe(key_subject(BUCKET_JOBS, ">")) as mailbox,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_note, mailbox, checkpoints)
        began = time.time()
        async with Client(bus).send_and_follow(story_to("bench"), recipients=recipients(size)) as events:
            stored = time.time()
            report = await report_of(events)
            reported = time.time()
        nursery.cancel_scope.cancel()
    return Times(began=began, stored=stored, reported=reported, checkpoints=checkpoints), report


async def _note(mailbox: Mailbox[Inbound], times: list[float]) -> None:
    while True:
        heard = await mailbox.receive()
        times += [time.time()] * len(heard)


def run_of(times: Times, calls: Sequence[RecordedCall], report: Report) -> Run:
    """What a story took, from when things happened and what the engine recorded.

    Raises `Unmeasured` if calls overlap, failed, or have no end: there is no telling the critical path then.
    """
    ends = [call.ended for call in calls if call.ended is not None and call.outcome == "sent"]
    if len(ends) < len(calls) or any(later.began < end for end, later in zip(ends, calls[1:], strict=False)):
        raise Unmeasured("not every call was sent, one after the other")
    gaps = [
        _gap(first, end, second.began, times)
        for (first, second), end in zip(pairwise(calls), ends, strict=False)
    ]
    first = times.checkpoints[0]
    return Run(
        wall=times.reported - times.began,
        calls=sum(end - call.began for call, end in zip(calls, ends, strict=True)),
        pacing=sum(gap.pacing for gap in gaps),
        rest=Rest(
            sending=times.stored - times.began,
            ingest=first - times.stored,
            starting=calls[0].began - first,
            storing=sum(gap.storing for gap in gaps),
            turning=sum(gap.turning for gap in gaps),
            reporting=times.reported - ends[-1],
        ),
        call_count=len(calls),
        checkpoints=len(times.checkpoints),
        result_to_checkpoint=median([gap.to_checkpoint for gap in gaps] or [0.0]),
        recipients=report.total_recipients,
        sent=report.sent_successfully,
    )


class Gap(Struct, frozen=True, kw_only=True):
    """The time between two calls, in seconds: `pacing`, `storing` and `turning` are all of it."""

    pacing: float
    storing: float
    turning: float
    to_checkpoint: float


def _gap(last: RecordedCall, ended: float, next_began: float, times: Times) -> Gap:
    due = max(ended + _DEFAULTS.batch_delay / 1000, last.began + 1 / _DEFAULTS.max_batches_per_second)
    # A timer that goes off a little early is no pacing less.
    due = min(due, next_began)
    stored = max((at for at in times.checkpoints if ended <= at <= next_began), default=ended)
    ready = max(due, stored)
    return Gap(
        pacing=due - ended, storing=ready - due, turning=next_began - ready, to_checkpoint=stored - ended
    )
