"""One story, measured: sent by the public client to a fresh worker on a fresh server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import trio

from ops.bench.memory import forget_peak, peak_rss
from ops.bench.scale_figures import Cost
from ops.bench.worker import open_worker
from ops.stories import request_from
from pipeline.client import Client, Events
from stages.errors import NotFinished, StorycastError
from stages.messages import Alert, BatchEvent, ProgressEvent, Rejection, Report, SendRequest
from transports.bus import Bus, Inbound, open_bus
from transports.mailbox import Mailbox
from transports.server import open_server
from transports.subjects import BUCKET_JOBS

SETTINGS = {
    "STORYCAST_PROFILE": "calm",
    "STORYCAST_SPEED": "1000",
    "SMART_SEND_MAX_BATCHES_PER_SECOND": "1000",
    "SMART_SEND_BATCH_DELAY": "0",
    "STORYCAST_GRACE": "0",
}
"""An engine that answers in a millisecond, and no pacing: what is left is the time of storycast itself."""
MAX_PAYLOAD = 1 << 20
"""That of a server as it comes, in bytes: long lists have to go through the object store."""

_PATIENCE = 60.0
_PATIENCE_PER_RECIPIENT = 1e-3
SPREAD = 10**8
"""So many different recipients there can be."""
_SCATTER = 7_654_321
"""Shares no factor with `SPREAD`: multiplied by it no two numbers meet."""


class Unmeasured(StorycastError):
    """The story did not reach everybody: what it took says nothing."""


async def cost_of(size: int, on_ready: Callable[[], None]) -> Cost:
    """What a story to `size` recipients costs; calls `on_ready` before it is sent.

    Raises `Unmeasured`, `NotFinished`, `WorkerFailed`, `TransportError`.
    """
    with trio.move_on_after(_PATIENCE + size * _PATIENCE_PER_RECIPIENT):
        async with (
            open_server(max_payload=MAX_PAYLOAD) as server,
            open_worker(server.url, SETTINGS) as worker,
            open_bus(server.url, name="storycast bench") as bus,
        ):
            on_ready()
            return await _measured(bus, worker, size)
    raise NotFinished(f"the story to {size:,} recipients has no report in time")


async def _measured(bus: Bus, worker: int, size: int) -> Cost:
    largest = _Largest()
    async with bus.subscribe(f"$KV.{BUCKET_JOBS}.>") as checkpoints, trio.open_nursery() as nursery:
        nursery.start_soon(largest.watch, checkpoints)
        forget_peak(os.getpid())
        began = trio.current_time()
        async with Client(bus).send_and_follow(story_to("bench"), recipients=recipients(size)) as events:
            stored = trio.current_time()
            calls = await _calls(events, size)
            seconds = trio.current_time() - stored
        nursery.cancel_scope.cancel()
    return Cost(
        recipients=size,
        sending_seconds=stored - began,
        seconds=seconds,
        engine_seconds=sum(calls),
        micros_per_recipient=seconds / size * 1e6,
        batches=len(calls),
        worker_peak=peak_rss(worker),
        sender_peak=peak_rss(os.getpid()),
        largest_checkpoint=largest.size,
        checkpoints=await _written(bus),
    )


def recipients(size: int) -> Iterator[str]:
    """So many people, whose numbers lie scattered as in a real list."""
    return (f"62812{number * _SCATTER % SPREAD:08d}@s.whatsapp.net" for number in range(size))


async def _calls(events: Events, size: int) -> list[float]:
    """How long each batch was with the engine, in seconds, once everybody is sent to."""
    calls = []
    async for event in events:
        match event:
            case ProgressEvent(batch=BatchEvent(duration_ms=milliseconds)):
                calls.append(milliseconds / 1000)
            case Report(success=True, sent_successfully=sent) if sent == size:
                return calls
            case Report(state=state, sent_successfully=sent):
                raise Unmeasured(f"{state}: {sent:,} of {size:,} were sent to")
            case Alert(reason=reason) | Rejection(message=reason):
                raise Unmeasured(f"the story to {size:,} recipients was not sent: {reason}")
    raise Unmeasured(f"the story to {size:,} recipients has no report")


async def report_of(events: Events) -> Report:
    """The report of a story, whatever became of it. Raises `Unmeasured` if it was not sent at all."""
    async for event in events:
        match event:
            case Report():
                return event
            case Alert(reason=reason) | Rejection(message=reason):
                raise Unmeasured(f"a story was not sent: {reason}")
    raise Unmeasured("a story has no report")


class _Largest:
    """The largest of the messages that come into a mailbox, in bytes."""

    def __init__(self) -> None:
        self.size = 0

    async def watch(self, mailbox: Mailbox[Inbound]) -> None:
        while True:
            self.size = max(self.size, *(len(message.data) for message in await mailbox.receive()))


async def _written(bus: Bus) -> int:
    """How many checkpoints were stored, that of the end included: the last has the number of all."""
    info = await bus.call(bus.jetstream.stream_info, f"KV_{BUCKET_JOBS}")
    return int(info.state.last_seq)


def story_to(session: str, *, number: int = 1, **fields: object) -> SendRequest:
    """A request for the `number`-th story of a session, with these fields besides, whose list is still to come."""
    return request_from(
        {
            "storyId": f"story-{number}",
            "sessionId": session,
            "content": {"type": "text", "text": "Hello from storycast!"},
            "recipients": ["6281200000000"],  # there has to be one, and the list replaces it
            **fields,
        }
    )
