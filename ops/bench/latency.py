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
from rich.console import Console, RenderableType
from rich.table import Table

from ops.bench.arrivals import BUSY_SESSIONS, arrivals, backlog, open_place
from ops.bench.charts import Bars, GoalLine, Panel
from ops.bench.goals import Goal, at_most, goals_table
from ops.bench.machine import in_words, machine
from ops.bench.output import Result, Wanted, give
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
    """The delays of one situation."""

    situation: str
    samples: int
    p50_seconds: float
    p99_seconds: float
    p50_round_trips: float
    p99_round_trips: float


class Latency(Result, frozen=True, kw_only=True, rename="camel"):
    """All situations; `round_trip_seconds` is the median of plain requests with nats-py on the same server."""

    round_trip_seconds: float
    situations: Sequence[Delays]
    waiting: int
    goals: Sequence[Goal]


async def latency(samples: int, waiting: int, wanted: Wanted) -> int:
    """Measure `samples` stories in each situation, the last beside `waiting` others, and give what was found."""
    wanted.check()
    async with interruptible():
        figures = await measured(samples, waiting, wanted.console())
    shown: list[RenderableType] = [table(figures), legend(figures), goals_table(figures.goals)]
    give("latency", figures, shown=shown, panels=panels(figures), wanted=wanted)
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
    situations = [_delays(name, found, trip) for name, found in seconds.items()]
    return Latency(
        round_trip_seconds=trip,
        situations=situations,
        waiting=waiting,
        goals=[goal for each in situations if each.situation != "cold" for goal in _goals(each)],
        machine=machine(),
    )


def _goals(delays: Delays) -> list[Goal]:
    name = f"publish to the anchor's call, {delays.situation}"
    return [
        at_most(f"{name}, p50", GOAL_P50, delays.p50_round_trips, "round trips"),
        at_most(f"{name}, p99", GOAL_P99, delays.p99_round_trips, "round trips"),
    ]


def _delays(situation: str, found: Sequence[float], trip: float) -> Delays:
    p50, p99 = percentile(found, 50), percentile(found, 99)
    return Delays(
        situation=situation,
        samples=len(found),
        p50_seconds=p50,
        p99_seconds=p99,
        p50_round_trips=p50 / trip,
        p99_round_trips=p99 / trip,
    )


def percentile(found: Sequence[float], share: int) -> float:
    """The smallest of `found` that `share` percent of them do not exceed."""
    return sorted(found)[ceil(len(found) * share / 100) - 1]


def panels(found: Latency) -> list[Panel]:
    """The chart: p50 and p99 of each situation."""
    delays = Bars(
        title="From publish to the anchor's call",
        y_label="NATS round trips",
        groups=[each.situation for each in found.situations],
        series={
            "p50": [each.p50_round_trips for each in found.situations],
            "p99": [each.p99_round_trips for each in found.situations],
        },
        form="{:.1f}",
        goal=GoalLine(value=GOAL_P50, label=f"p50 at most {GOAL_P50:g}"),
    )
    return [delays]


def table(found: Latency) -> Table:
    """One row for each situation."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("situation", "samples", "p50", "p99", "p50 in round trips", "p99 in round trips"):
        shown.add_column(head, justify="left" if head == "situation" else "right", no_wrap=True)
    for each in found.situations:
        shown.add_row(
            each.situation,
            f"{each.samples:,}",
            f"{each.p50_seconds * 1000:.2f} ms",
            f"{each.p99_seconds * 1000:.2f} ms",
            f"{each.p50_round_trips:.1f}",
            f"{each.p99_round_trips:.1f}",
        )
    return shown


def legend(found: Latency) -> str:
    """What was measured."""
    return (
        "from the publish of a request to the engine call for its anchor.\n"
        f"A round trip, a request and its answer with nats-py: {found.round_trip_seconds * 1e6:.0f} µs (median).\n"
        "idle: one story after the other in a session that is open; cold: each in one that is opened for it;\n"
        f"backlog: as idle, while {found.waiting:,} bulk stories wait in {BUSY_SESSIONS} other sessions. "
        f"({in_words(found.machine)})"
    )
