"""`storycast bench story`: whole stories in every way of sending them, against one call to all.

The engine is the simulated one with the profile `original`, which takes the original system at its word: what one call
takes, what its batches take, how often large calls fail. What is measured is the time until the client has the report,
through a real nats-server and a worker in a process of its own, with the settings as they come.

**The ways.** *One call*: smart send off, in a session that may put everybody into one call. If the call fails,
storycast makes it again, as it does with everything; what the first call alone brought stands beside it. Then each
strategy; and for those that learn a second story of the same session, which has a history then.

**Cheap batches.** The original system's claims for whole stories do not follow from what it said of single calls: they
need batches that cost a sixth of that for each recipient. So the strategies are measured with such an engine as well
(profile `calm`). Whether a real one is like that is another question, which docs/explanation.md answers.

**The clock runs as it does.** A faster one (`STORYCAST_SPEED`) would have to scale the pauses between calls as well,
and our own time would count many times over. Sessions do not wait for each other, though: a server and a worker for
each seed are at work at the same time, each with a session for every size and way. They start one after the other, so
that no story's list is sorted out while another one's is; later on they do next to nothing but wait.

**The seeds** are those of the engine: what goes wrong differs from one to the next. Ratios compare ways with the same
seed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final, get_args

import trio
from msgspec import Struct
from rich.console import Console

from ops.bench.goals import goals_table
from ops.bench.machine import machine
from ops.bench.numbers import numbers_in
from ops.bench.one_story import MAX_PAYLOAD, recipients, report_of, story_to
from ops.bench.output import Wanted, give
from ops.bench.profiles import CHEAP, ORIGINAL, seeded, written
from ops.bench.story_figures import (
    CLAIMED_ONE_CALL,
    ONE_CALL,
    OneCall,
    Sample,
    Story,
    cells,
    claims,
    legend,
    panels,
    table,
)
from ops.bench.worker import open_worker
from ops.exits import SUCCESS
from ops.serve import interruptible
from pipeline.client import Client
from stages.errors import BadRequest, NotFinished
from stages.messages import Report, SendRequest
from stages.options import Strategy
from transports.bus import Bus, open_bus
from transports.server import open_server
from transports.simulated import RecordedCall, read_record

MOST_RECIPIENTS: Final = 59_000
"""More do not fit into one call of the profile."""
MOST_SEEDS: Final = 50
KNOWN: Final = [
    strategy for strategy in ("tiered", "progressive", "adaptive") if strategy in get_args(Strategy)
]
_LEARNING: Final = frozenset({"progressive", "adaptive"})
_FIRST_SEED: Final = 201
_STAGGER: Final = 0.5
"""Seconds between the starts of two sessions."""
_PATIENCE: Final = 1_800.0


class Plan(Struct, frozen=True, kw_only=True):
    """A session: a way to so many recipients, and how many stories in a row."""

    way: str
    recipients: int
    stories: int
    delay: float
    """Seconds after which it starts."""

    @property
    def session(self) -> str:
        """Its id."""
        return f"{self.way.replace(' ', '-')}-{self.recipients}"


async def story(sizes: Sequence[int], strategies: Sequence[str], seeds: int, wanted: Wanted) -> int:
    """Send stories of all `sizes` in one call and by all `strategies`, for so many seeds, and give what was found."""
    wanted.check()
    console, began = wanted.console(), time.monotonic()
    samples, one_calls = list[Sample](), list[RecordedCall]()
    numbers = range(_FIRST_SEED, _FIRST_SEED + seeds)
    async with interruptible(), trio.open_nursery() as nursery:
        for place, (engine, seed) in enumerate(product((ORIGINAL, CHEAP), numbers)):
            ways = [ONE_CALL, *strategies] if engine == ORIGINAL else strategies
            plans = planned(sizes, ways, place, 2 * seeds)
            nursery.start_soon(_measure, engine, seed, plans, samples, one_calls, console)
    ordered = _ordered(samples, strategies)
    summed_up = cells(ordered)
    found = Story(
        machine=machine(),
        seeds=list(numbers),
        cells=summed_up,
        calibration=[_calibration(size, one_calls) for size in sizes if size in CLAIMED_ONE_CALL],
        claims=claims(summed_up),
        claims_if_cheap=claims(summed_up, CHEAP),
        seconds=time.monotonic() - began,
    )
    give(
        "story",
        found,
        shown=[
            table(found),
            legend(found),
            goals_table(found.claims),
            f"and with engine {CHEAP}:",
            goals_table(found.claims_if_cheap),
        ],
        panels=panels(found),
        wanted=wanted,
    )
    return SUCCESS


def sizes_in(text: str) -> list[int]:
    """The sizes in `text`, the smallest first. Raises `BadRequest`."""
    return numbers_in(text, MOST_RECIPIENTS, "--sizes")


def strategies_in(text: str) -> list[str]:
    """The strategies in `text`. Raises `BadRequest`."""
    given = list(dict.fromkeys(part.strip() for part in text.split(",")))
    if strange := [name for name in given if name not in KNOWN]:
        raise BadRequest(
            "out-of-range", field="--strategies", found=repr(strange[0]), allowed=", ".join(KNOWN)
        )
    return given


def planned(sizes: Sequence[int], ways: Sequence[str], place: int, workers: int) -> list[Plan]:
    """The sessions of the worker at `place`, the longest stories first; workers take turns in starting them."""
    kinds = [(way, size) for size in reversed(sizes) for way in ways]
    return [
        Plan(
            way=way,
            recipients=size,
            stories=2 if way in _LEARNING else 1,
            delay=(number * workers + place) * _STAGGER,
        )
        for number, (way, size) in enumerate(kinds)
    ]


async def _measure(
    engine: str,
    seed: int,
    plans: Sequence[Plan],
    samples: list[Sample],
    one_calls: list[RecordedCall],
    console: Console,
) -> None:
    """All sessions with one engine and one seed, on a server and a worker of their own."""
    with TemporaryDirectory(prefix="storycast-bench-") as name:
        folder = Path(name)
        record = folder / "record"
        settings = {
            "STORYCAST_PROFILE": str(written(seeded(seed, engine), folder / "profile.toml")),
            "STORYCAST_RECORD": str(record),
            "STORYCAST_GRACE": "0",
        }
        async with (
            open_server(max_payload=MAX_PAYLOAD) as server,
            open_worker(server.url, settings, config=_config(plans, folder)),
            open_bus(server.url, name="storycast bench") as bus,
        ):
            reports = await _send_all(bus, plans, console)
            calls = read_record(record).calls
    samples += [_sample(engine, seed, story, calls) for story in reports]
    in_one = {plan.session for plan in plans if plan.way == ONE_CALL}
    one_calls += [call for call in calls if call.session in in_one]


def _config(plans: Sequence[Plan], folder: Path) -> Path:
    """Settings with which the sessions that send in one call may do so."""
    tables = [
        f"[sessions.{plan.session}]\nmax_batch_size = {plan.recipients}\n"
        for plan in plans
        if plan.way == ONE_CALL
    ]
    path = folder / "storycast.toml"
    path.write_text("".join(tables))
    return path


class Sent(Struct, frozen=True, kw_only=True):
    """The `place`-th story of a session, from 0 on, what it took, and its report."""

    plan: Plan
    place: int
    seconds: float
    report: Report


async def _send_all(bus: Bus, plans: Sequence[Plan], console: Console) -> list[Sent]:
    sent = list[Sent]()
    with trio.move_on_after(_PATIENCE):
        async with trio.open_nursery() as nursery:
            for plan in plans:
                nursery.start_soon(_send, bus, plan, sent, console)
        return sent
    raise NotFinished(f"not every story has a report after {_PATIENCE:g} s")


async def _send(bus: Bus, plan: Plan, sent: list[Sent], console: Console) -> None:
    await trio.sleep(plan.delay)
    for place in range(plan.stories):
        console.print(f"{plan.way}, {plan.recipients:,} recipients, story {place + 1}", style="dim")
        began = time.monotonic()
        request = _request(plan, place)
        async with Client(bus).send_and_follow(request, recipients=recipients(plan.recipients)) as events:
            report = await report_of(events)
        sent.append(Sent(plan=plan, place=place, seconds=time.monotonic() - began, report=report))


def _request(plan: Plan, place: int) -> SendRequest:
    if plan.way == ONE_CALL:
        return story_to(plan.session, number=place + 1, useSmartSend=False)
    return story_to(plan.session, number=place + 1, smartSendConfig={"strategy": plan.way})


def _sample(engine: str, seed: int, sent: Sent, calls: Sequence[RecordedCall]) -> Sample:
    plan, report = sent.plan, sent.report
    made = [call for call in calls if call.session == plan.session and call.message_id == report.message_id]
    return Sample(
        engine=engine,
        way=plan.way,
        again=sent.place > 0,
        recipients=plan.recipients,
        seed=seed,
        seconds=sent.seconds,
        delivered=report.sent_successfully,
        calls=len(made),
        failed_calls=sum(call.outcome != "sent" for call in made),
        engine_seconds=sum(call.ended - call.began for call in made if call.ended is not None),
        by_first_call=len(made[0].reached) if made else 0,
    )


def _calibration(size: int, calls: Sequence[RecordedCall]) -> OneCall:
    low, high = CLAIMED_ONE_CALL[size]
    took = [
        call.ended - call.began
        for call in calls
        if len(call.recipients) == size and call.outcome == "sent" and call.ended is not None
    ]
    return OneCall(recipients=size, said_low=low, said_high=high, measured=median(took) if took else None)


def _ordered(samples: Sequence[Sample], strategies: Sequence[str]) -> list[Sample]:
    engines, ways = [ORIGINAL, CHEAP], [ONE_CALL, *strategies]

    def place(sample: Sample) -> tuple[int, int, int, bool, int]:
        engine, way = engines.index(sample.engine), ways.index(sample.way)
        return sample.recipients, engine, way, sample.again, sample.seed

    return sorted(samples, key=place)
