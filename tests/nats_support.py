"""What the tests over a real nats-server share: a server with a bus, streams of their own, and an ear on subjects."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trio
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig, StreamState

from stages.messages import Alert, ProgressEvent, Rejection, Report, Scaling
from transports.bus import Bus, Inbound, OnEvent, Outbound, open_bus
from transports.mailbox import Mailbox
from transports.pull import Pulled, open_pull
from transports.server import open_server
from transports.subjects import HEADER_REJECTION, STREAM_EVENTS, STREAM_SENDS

T = TypeVar("T")

AT_MOST = 15.0
"""Seconds of real time after which a wait of a test is given up: it is a failure, never a measure."""

MIB = 1024 * 1024


@asynccontextmanager
async def open_nats(
    store: Path | None = None,
    *,
    port: int | None = None,
    max_payload: int = 8 * MIB,
    on_event: OnEvent | None = None,
) -> AsyncIterator[Bus]:
    """A nats-server of this test's own, and a bus to it."""
    async with (
        open_server(store, port=port, max_payload=max_payload) as server,
        open_bus(server.url, on_event=on_event) as bus,
    ):
        yield bus


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def url_of(bus: Bus) -> str:
    """Where another client of the same server connects."""
    return f"nats://{bus.url}"


# Streams


async def make_stream(bus: Bus, *, ack_wait: float = 30.0, max_ack_pending: int = 100_000) -> None:
    """A work queue `WORK` for the subjects `work.*`, with the durable consumer `workers`."""
    config = StreamConfig(
        name="WORK", subjects=["work.>"], retention=RetentionPolicy.WORK_QUEUE, allow_direct=True
    )
    await bus.call(bus.jetstream.add_stream, config)
    consumer = ConsumerConfig(durable_name="workers", ack_wait=ack_wait, max_ack_pending=max_ack_pending)
    await bus.call(bus.jetstream.add_consumer, "WORK", consumer)


@asynccontextmanager
async def open_work(bus: Bus) -> AsyncIterator[Mailbox[Pulled]]:
    """Pull from the stream of `make_stream`."""
    async with open_pull(bus, "WORK", "workers") as mailbox:
        yield mailbox


async def fill(bus: Bus, count: int, *, first: int = 0) -> None:
    """Store the numbers from `first` on in the stream of `make_stream`."""
    await bus.publish([Outbound("work.item", str(number).encode()) for number in range(first, first + count)])
    await eventually(lambda: stored(bus, "WORK"), lambda state: state.last_seq >= first + count)


async def stored(bus: Bus, stream: str = STREAM_SENDS) -> StreamState:
    """The state of a stream."""
    return (await bus.call(bus.jetstream.stream_info, stream)).state


async def until_empty(bus: Bus, stream: str = STREAM_SENDS) -> None:
    """Wait until nothing is left in a work queue."""
    await eventually(lambda: stored(bus, stream), lambda state: state.messages == 0)


async def reports_stored(bus: Bus) -> int:
    """How many reports are in the stream of events."""
    info = await bus.call(
        bus.jetstream.stream_info, STREAM_EVENTS, subjects_filter="storycast.report.>"
    )
    return sum((info.state.subjects or {}).values())


async def eventually(ask: Callable[[], Awaitable[T]], is_it: Callable[[T], bool]) -> T:
    """Ask the server again and again until the answer is the one that must come."""
    with trio.fail_after(AT_MOST):
        while not is_it(answer := await ask()):
            await trio.lowlevel.checkpoint()
        return answer


async def some(mailbox: Mailbox[T], count: int) -> list[T]:
    """Receive `count` items at least."""
    found: list[T] = []
    with trio.fail_after(AT_MOST):
        while len(found) < count:
            found.extend(await mailbox.receive())
    return found


# An ear


class Ear:
    """Hears what is published on some subjects, and keeps it in order."""

    def __init__(self) -> None:
        self.messages: list[Inbound] = []
        self._lot = trio.lowlevel.ParkingLot()

    async def listen(self, mailbox: Mailbox[Inbound]) -> None:
        """Keep what comes, until cancelled."""
        while True:
            self.messages.extend(await mailbox.receive())
            self._lot.unpark_all()

    async def until(self, is_it: Callable[[], bool]) -> None:
        """Wait until what was heard makes `is_it` true."""
        with trio.fail_after(AT_MOST):
            while not is_it():
                await self._lot.park()

    async def until_reports(self, count: int) -> list[Report]:
        """Wait for `count` reports."""
        await self.until(lambda: len(self.reports) >= count)
        return self.reports

    def on(self, prefix: str) -> list[Inbound]:
        """What was heard on subjects that begin like this."""
        return [message for message in self.messages if message.subject.startswith(prefix)]

    @property
    def reports(self) -> list[Report]:
        """The reports, in order."""
        return self._decoded("storycast.report.", Report)

    @property
    def progress(self) -> list[ProgressEvent]:
        """The progress events, in order."""
        return self._decoded("storycast.progress.", ProgressEvent)

    @property
    def scalings(self) -> list[Scaling]:
        """The controllers' decisions, in order."""
        return self._decoded("storycast.scaling.", Scaling)

    @property
    def alerts(self) -> list[Alert]:
        """The alerts, in order."""
        return self._decoded("storycast.alerts.", Alert)

    @property
    def rejections(self) -> list[Rejection]:
        """Why requests were refused, in order."""
        return [rejection_of(message) for message in self.on("storycast.rejected.")]

    def _decoded(self, prefix: str, kind: type[Any]) -> list[Any]:
        return [msgspec.json.decode(message.data, type=kind) for message in self.on(prefix)]


def rejection_of(message: Inbound) -> Rejection:
    """The reason in the header of a refused request."""
    return msgspec.json.decode(message.headers[HEADER_REJECTION], type=Rejection)


@asynccontextmanager
async def open_ear(bus: Bus, *subjects: str) -> AsyncIterator[Ear]:
    """Listen on `subjects` while the block lasts; without any, to all that storycast publishes."""
    kinds = ("progress", "report", "rejected", "scaling", "alerts")
    chosen = subjects or tuple(f"storycast.{kind}.>" for kind in kinds)
    ear = Ear()
    async with bus.subscribe(*chosen) as mailbox, trio.open_nursery() as nursery:
        nursery.start_soon(ear.listen, mailbox)
        yield ear
        nursery.cancel_scope.cancel()
