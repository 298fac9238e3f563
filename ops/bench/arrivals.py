"""How long after its request was published a story's first engine call begins: measured from outside, by two clocks.

They are one, that of this machine: the simulated engine writes down when each call begins (`STORYCAST_RECORD`), and the
first call that bears a story's message id is the one to its anchor.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio
from msgspec import Struct

from ops.bench.one_story import SETTINGS, Unmeasured, recipients
from ops.bench.worker import open_worker
from stages.message_id import message_id_of
from stages.messages import Level
from transports.bus import Bus, Inbound, Outbound
from transports.mailbox import Mailbox
from transports.simulated.record import read_ends
from transports.subjects import STREAM_SENDS, report_subject, send_subject

ANCHORED: Final = 100
"""Recipients of a measured story: as many as make it go to one contact first."""
WAITING: Final = 99
"""Recipients of a story that waits: one plain call."""
BUSY_SESSIONS: Final = 10
PROFILE: Final = """
description = "50 ms for a call to 99, and next to nothing for one to an anchor"
seed = 7

[latency]
a = 0.0
b = 0.0005
"""
PAUSE: Final = 0.01
"""Seconds between a story's report and the next request."""
_PATIENCE: Final = 10.0


class Place(Struct, frozen=True):
    """Where stories are measured: a bus to the worker's server, and the record of its engine."""

    bus: Bus
    record: Path


@asynccontextmanager
async def open_place(bus: Bus, url: str, folder: Path) -> AsyncIterator[Place]:
    """Run a worker on the server at `url`, whose engine keeps a record in `folder`."""
    profile, record = folder / "profile.toml", folder / "record"
    profile.write_text(PROFILE)
    settings = {"STORYCAST_PROFILE": str(profile), "STORYCAST_SPEED": "1", "STORYCAST_RECORD": str(record)}
    async with open_worker(url, {**SETTINGS, **settings}):
        yield Place(bus, record)


async def arrivals(place: Place, sessions: Sequence[str], name: str) -> Sequence[float]:
    """The seconds from publish to the anchor's call of one story after the other, one in each of `sessions`.

    Raises `Unmeasured` for a story without a report.
    """
    published = {}
    async with place.bus.subscribe("storycast.report.*.*") as reports:
        for number, session in enumerate(sessions):
            story = f"{name}-{number}"
            request = _request(session, story, ANCHORED)
            published[message_id_of(session, story)] = time.time()
            await place.bus.publish([request])
            await _until_reported(reports, report_subject(session, story))
            await trio.sleep(PAUSE)
    return list(_delays(published, place.record))


@asynccontextmanager
async def backlog(place: Place, waiting: int) -> AsyncIterator[None]:
    """Let `waiting` bulk stories wait in sessions of their own, which are served as fast as their engines let them.

    Raises `Unmeasured` if nothing waits any more at the end of the block.
    """
    numbers = range(waiting)
    async with place.bus.subscribe("storycast.report.busy-0.*") as reports:
        await place.bus.publish(
            [_request(f"busy-{each % BUSY_SESSIONS}", f"bulk-{each}", WAITING, "bulk") for each in numbers]
        )
        await reports.receive()
    yield
    left = (await place.bus.call(place.bus.jetstream.stream_info, STREAM_SENDS)).state.messages
    if left < BUSY_SESSIONS:
        raise Unmeasured("the backlog was over before the last story")


async def _until_reported(reports: Mailbox[Inbound], subject: str) -> None:
    with trio.move_on_after(_PATIENCE):
        while all(report.subject != subject for report in await reports.receive()):
            continue
        return
    raise Unmeasured(f"no report on {subject} within {_PATIENCE:g} s")


def _delays(published: dict[str, float], record: Path) -> Iterator[float]:
    began, _ = read_ends(record)
    first: dict[str, float] = {}
    for call in began.values():
        first.setdefault(call.message_id, call.at)
    return (first[message_id] - at for message_id, at in published.items())


def _request(session: str, story: str, size: int, level: Level = "normal") -> Outbound:
    request = {
        "storyId": story,
        "sessionId": session,
        "content": {"type": "text", "text": "Hello from storycast!"},
        "recipients": list(recipients(size)),
    }
    return Outbound(send_subject(session, level), msgspec.json.encode(request))
