"""One round of `bench throughput`: requests wait on a fresh server, and one contestant serves them all.

What is measured is the same for each: from the first claim of a session to the last acknowledgement, with all reports
stored by then. What it has stored is counted on the server.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal

import msgspec
import trio
from msgspec import Struct

from ops.bench.one_story import SETTINGS, Unmeasured
from ops.bench.worker import open_program, open_worker
from stages.errors import NotFinished
from transports.bus import Bus, Outbound, open_bus
from transports.server import open_server
from transports.streams import ensure
from transports.subjects import (
    BUCKET_JOBS,
    BUCKET_LEASES,
    REPORTS,
    STREAM_EVENTS,
    STREAM_SENDS,
    bucket_stream,
    key_subject,
    send_subject,
)

Contestant = Literal["storycast", "nats-py", "faststream"]

INSTANT: Final = {**SETTINGS, "STORYCAST_PROFILE": "instant", "STORYCAST_SPEED": "1"}
"""An engine that takes no time at all, and no pacing."""
_PEERS: Final[Mapping[Contestant, str]] = {
    "nats-py": "ops.bench.peers.plain",
    "faststream": "ops.bench.peers.streaming",
}
_LOOK_EVERY: Final = 0.02
_PATIENCE: Final = 60.0
_PATIENCE_PER_STORY: Final = 0.02
_PUBLISHED_AT_ONCE: Final = 500


class Round(Struct, frozen=True, kw_only=True, rename="camel"):
    """What one contestant did in one round. `stored` counts the messages that it stored, by stream."""

    contestant: Contestant
    stories: int
    seconds: float
    stored: dict[str, int]

    @property
    def rate(self) -> float:
        """Stories per second."""
        return self.stories / self.seconds


def contestants() -> Sequence[Contestant]:
    """Those that can run here: FastStream only where it is installed."""
    found: list[Contestant] = ["storycast", "nats-py"]
    if importlib.util.find_spec("faststream"):
        found.append("faststream")
    return found


async def round_of(contestant: Contestant, *, stories: int, sessions: int) -> Round:
    """Have `contestant` serve so many stories of one recipient each.

    Raises `Unmeasured` if not every story has its report, `NotFinished`, `WorkerFailed`, `TransportError`.
    """
    with trio.move_on_after(_PATIENCE + stories * _PATIENCE_PER_STORY):
        async with open_server() as server, open_bus(server.url, name="storycast bench") as bus:
            await ensure(bus)
            await _publish(bus, stories, sessions)
            async with (
                bus.subscribe(key_subject(BUCKET_LEASES, "*"), bound=1 << 20) as claims,
                _open(contestant, server.url),
            ):
                await claims.receive()
                began = trio.current_time()
                await _until_waiting(bus, 0)
                seconds = trio.current_time() - began
            return Round(
                contestant=contestant, stories=stories, seconds=seconds, stored=await _stored(bus, stories)
            )
    raise NotFinished(f"{contestant} did not serve {stories:,} stories in time")


def _open(contestant: Contestant, url: str) -> AbstractAsyncContextManager[int]:
    if contestant == "storycast":
        return open_worker(url, INSTANT)
    return open_program((_PEERS[contestant], url), {})


async def _publish(bus: Bus, stories: int, sessions: int) -> None:
    """Let all requests wait in the stream, those of each session spread among the others."""
    for first in range(0, stories, _PUBLISHED_AT_ONCE):
        numbers = range(first, min(first + _PUBLISHED_AT_ONCE, stories))
        await bus.publish([_request(number, number % sessions) for number in numbers])
    await _until_waiting(bus, stories)


def _request(number: int, session: int) -> Outbound:
    request = {
        "storyId": f"bench-{number}",
        "sessionId": f"session-{session}",
        "content": {"type": "text", "text": "Hello from storycast!"},
        "recipients": [f"62812{number:08d}@s.whatsapp.net"],
    }
    return Outbound(send_subject(f"session-{session}"), msgspec.json.encode(request))


async def _until_waiting(bus: Bus, stories: int) -> None:
    """Return once so many requests are in the stream: those that were acknowledged are not."""
    while True:
        if (await _state(bus, STREAM_SENDS)).messages == stories:
            return
        await trio.sleep(_LOOK_EVERY)


async def _stored(bus: Bus, stories: int) -> dict[str, int]:
    info = await bus.call(bus.jetstream.stream_info, STREAM_EVENTS, subjects_filter=REPORTS)
    reports = sum((info.state.subjects or {}).values())
    if reports != stories:
        raise Unmeasured(f"{stories:,} stories, and {reports:,} reports")
    streams = {
        "events": STREAM_EVENTS,
        "checkpoints": bucket_stream(BUCKET_JOBS),
        "leases": bucket_stream(BUCKET_LEASES),
    }
    return {name: int((await _state(bus, stream)).last_seq) for name, stream in streams.items()}


async def _state(bus: Bus, stream: str):  # type: ignore[no-untyped-def] # nats-py's own
    return (await bus.call(bus.jetstream.stream_info, stream)).state
