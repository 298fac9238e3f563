"""`storycast bench latency`: from a request's publish to the anchor's engine call, in NATS round trips of the run."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
import trio
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from ops.bench.arrivals import BUSY_SESSIONS, arrivals, backlog, open_place
from ops.bench.figures import machine
from ops.bench.worker import ROOT, open_program
from ops.exits import SUCCESS
from ops.serve import interruptible
from transports.bus import open_bus
from transports.server import open_server
from transports.streams import ensure

MOST_SAMPLES: Final = 10_000
GOAL_P50: Final = 6.0
GOAL_P99: Final = 25.0
"""Round trips."""
MOST_WAITING: Final = 100_000
_ROUND_TRIPS: Final = 500


class Delays(Struct, frozen=True, kw_only=True, rename="camel"):
    """The delays of one situation; `judged` if there is a goal for it."""

    situation: str
    samples: int
    p50_seconds: float
    p99_seconds: float
    p50_round_trips: float
    p99_round_trips: float
    judged: bool


class Latency(Struct, frozen=True, kw_only=True, rename="camel"):
    """All situations; `round_trip_seconds` is the median of plain requests with nats-py on the same server."""

    round_trip_seconds: float
    situations: Sequence[Delays]
    goal_p50: float = GOAL_P50
    goal_p99: float = GOAL_P99
    waiting: int
    machine: str


async def latency(samples: int, waiting: int, *, json: bool) -> int:
    """Measure `samples` stories in each situation, the last beside `waiting` others, and print what was found."""
    console = Console(stderr=json, highlight=False, soft_wrap=True)
    async with interruptible():
        figures = await measured(samples, waiting, console)
    if json:
        print(msgspec.json.format(msgspec.json.encode(figures)).decode())
    else:
        console.print(table(figures))
        console.print(legend(figures), style="dim")
    return SUCCESS


async def measured(samples: int, waiting: int, console: Console) -> Latency:
    """Every situation on one server with one worker. Raises `Unmeasured`, `WorkerFailed`, `TransportError`."""
    seconds: dict[str, Sequence[float]] = {}
    with tempfile.TemporaryDirectory(prefix="storycast-bench-") as folder:
        async with open_server() as server, open_bus(server.url, name="storycast bench") as bus:
            await ensure(bus)
            trips = await round_trips(server.url)
            async with open_place(bus, server.url, Path(folder)) as place:
                console.print("one story after the other, nothing else to do", style="dim")
                await arrivals(place, ["open"], "first")
                seconds["idle"] = await arrivals(place, ["open"] * samples, "idle")
                console.print("each in a session that has to be opened", style="dim")
                seconds["cold"] = await arrivals(place, [f"cold-{each}" for each in range(samples)], "cold")
                console.print(f"{waiting:,} bulk stories wait in {BUSY_SESSIONS} other sessions", style="dim")
                async with backlog(place, waiting):
                    seconds["backlog"] = await arrivals(place, ["open"] * samples, "backlog")
            trips = [*trips, *await round_trips(server.url)]
    return summary(seconds, trips, waiting=waiting)


async def round_trips(url: str) -> list[float]:
    """Seconds of plain requests, one after the other, from one process to another."""
    async with open_program(("ops.bench.peers.echo", url), {}):
        asking = [sys.executable, "-m", "ops.bench.peers.roundtrips", url, str(_ROUND_TRIPS)]
        ended = await trio.run_process(asking, capture_stdout=True, cwd=ROOT)
    return msgspec.json.decode(ended.stdout, type=list[float])


def summary(seconds: dict[str, Sequence[float]], trips: Sequence[float], *, waiting: int) -> Latency:
    """What the delays of each situation amount to, in round trips; `cold` has no goal."""
    trip = median(trips)
    return Latency(
        round_trip_seconds=trip,
        situations=[_delays(name, found, trip) for name, found in seconds.items()],
        waiting=waiting,
        machine=machine(),
    )


def _delays(situation: str, found: Sequence[float], trip: float) -> Delays:
    p50, p99 = percentile(found, 50), percentile(found, 99)
    return Delays(
        situation=situation,
        samples=len(found),
        p50_seconds=p50,
        p99_seconds=p99,
        p50_round_trips=p50 / trip,
        p99_round_trips=p99 / trip,
        judged=situation != "cold",
    )


def percentile(found: Sequence[float], share: int) -> float:
    """The smallest of `found` that `share` percent of them do not exceed."""
    return sorted(found)[ceil(len(found) * share / 100) - 1]


def table(found: Latency) -> Table:
    """One row for each situation."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("situation", "samples", "p50", "p99", "p50 in round trips", "p99 in round trips"):
        shown.add_column(head, justify="left" if head == "situation" else "right", no_wrap=True)
    for each in found.situations:
        goals = (f" (<= {found.goal_p50:g})", f" (<= {found.goal_p99:g})") if each.judged else ("", "")
        shown.add_row(
            each.situation,
            f"{each.samples:,}",
            f"{each.p50_seconds * 1000:.2f} ms",
            f"{each.p99_seconds * 1000:.2f} ms",
            f"{each.p50_round_trips:.1f}{goals[0]}",
            f"{each.p99_round_trips:.1f}{goals[1]}",
        )
    return shown


def legend(found: Latency) -> str:
    """What was measured."""
    return (
        "from the publish of a request to the engine call for its anchor.\n"
        f"A round trip, a request and its answer with nats-py: {found.round_trip_seconds * 1e6:.0f} µs (median).\n"
        "idle: one story after the other in a session that is open; cold: each in one that is opened for it;\n"
        f"backlog: as idle, while {found.waiting:,} bulk stories wait in {BUSY_SESSIONS} other sessions. "
        f"({found.machine})"
    )
