"""Stories of many sessions at the same time, and what became of each: the sending of `bench story`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import trio
from msgspec import Struct
from rich.console import Console

from ops.bench.one_story import MAX_PAYLOAD, recipients, report_of, story_to
from ops.bench.profiles import seeded, written
from ops.bench.story_figures import ONE_CALL, Sample
from ops.bench.worker import open_worker
from pipeline.client import Client
from stages.errors import NotFinished
from stages.messages import Report, SendRequest
from transports.bus import Bus, open_bus
from transports.server import open_server
from transports.simulated import RecordedCall, read_record

LEARNING: Final = frozenset({"progressive", "adaptive"})
"""Strategies that do otherwise with a history."""
_STAGGER: Final = 1.0
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


class Setup(Struct, frozen=True, kw_only=True):
    """An engine with a seed, and what is sent with it on a server and a worker of its own; files are in `folder`."""

    engine: str
    seed: int
    plans: Sequence[Plan]
    folder: Path

    @property
    def record(self) -> Path:
        """The file with the calls that the engine got."""
        return self.folder / "record"


class Sent(Struct, frozen=True, kw_only=True):
    """The `place`-th story of a session, from 0 on, what it took, and its report."""

    plan: Plan
    place: int
    seconds: float
    report: Report


def planned(sizes: Sequence[int], ways: Sequence[str], place: int, workers: int) -> list[Plan]:
    """The sessions of the worker at `place`, the longest stories first; workers take turns in starting them."""
    kinds = [(way, size) for size in reversed(sizes) for way in ways]
    return [
        Plan(
            way=way,
            recipients=size,
            stories=2 if way in LEARNING else 1,
            delay=(number * workers + place) * _STAGGER,
        )
        for number, (way, size) in enumerate(kinds)
    ]


async def send_all(setup: Setup, console: Console) -> list[Sent]:
    """Send all stories of `setup`. Raises `NotFinished`, `Unmeasured`, `WorkerFailed`, `TransportError`."""
    setup.folder.mkdir()
    settings = {
        "STORYCAST_PROFILE": str(written(seeded(setup.seed, setup.engine), setup.folder / "profile.toml")),
        "STORYCAST_RECORD": str(setup.record),
        "STORYCAST_GRACE": "0",
    }
    sent = list[Sent]()
    with trio.move_on_after(_PATIENCE):
        async with (
            open_server(max_payload=MAX_PAYLOAD) as server,
            open_worker(server.url, settings, config=_config(setup)),
            open_bus(server.url, name="storycast bench") as bus,
            trio.open_nursery() as nursery,
        ):
            for plan in setup.plans:
                nursery.start_soon(_send, bus, plan, sent, f"{setup.engine}, seed {setup.seed}", console)
        return sent
    raise NotFinished(f"not every story has a report after {_PATIENCE:g} s")


def samples(setup: Setup, sent: Sequence[Sent]) -> Iterator[Sample]:
    """What the stories took and did, by their reports and by the engine's record.

    Reading a long record takes a while: not while other stories are measured.
    """
    calls = read_record(setup.record).calls
    return (_sample(setup, story, calls) for story in sent)


def _config(setup: Setup) -> Path:
    """Settings with which the sessions that send in one call may do so."""
    tables = [
        f"[sessions.{plan.session}]\nmax_batch_size = {plan.recipients}\n"
        for plan in setup.plans
        if plan.way == ONE_CALL
    ]
    path = setup.folder / "storycast.toml"
    path.write_text("".join(tables))
    return path


async def _send(bus: Bus, plan: Plan, sent: list[Sent], where: str, console: Console) -> None:
    await trio.sleep(plan.delay)
    for place in range(plan.stories):
        console.print(f"{where}: {plan.way}, {plan.recipients:,} recipients, story {place + 1}", style="dim")
        began = time.monotonic()
        request = _request(plan, place)
        async with Client(bus).send_and_follow(request, recipients=recipients(plan.recipients)) as events:
            report = await report_of(events)
        sent.append(Sent(plan=plan, place=place, seconds=time.monotonic() - began, report=report))


def _request(plan: Plan, place: int) -> SendRequest:
    if plan.way == ONE_CALL:
        return story_to(plan.session, number=place + 1, useSmartSend=False)
    return story_to(plan.session, number=place + 1, smartSendConfig={"strategy": plan.way})


def _sample(setup: Setup, sent: Sent, calls: Sequence[RecordedCall]) -> Sample:
    plan, report = sent.plan, sent.report
    made = [call for call in calls if call.session == plan.session and call.message_id == report.message_id]
    return Sample(
        engine=setup.engine,
        way=plan.way,
        again=sent.place > 0,
        recipients=plan.recipients,
        seed=setup.seed,
        seconds=sent.seconds,
        delivered=report.sent_successfully,
        calls=len(made),
        failed_calls=sum(call.outcome != "sent" for call in made),
        by_first_call=len(made[0].reached) if made else 0,
        call_seconds=[seconds for call in made if (seconds := _to_all(call, plan)) is not None],
    )


def _to_all(call: RecordedCall, plan: Plan) -> float | None:
    """What a call took that went to all recipients of a story, and went through."""
    if call.ended is None or call.outcome != "sent" or len(call.recipients) < plan.recipients:
        return None
    return call.ended - call.began
