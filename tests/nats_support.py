"""What the tests over a real nats-server share: a server with a bus, streams, an ear on subjects, a worker."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trio
from nats.js.api import ConsumerConfig, RetentionPolicy, StreamConfig, StreamState

from pipeline.settings import Infrastructure, Settings
from pipeline.shared import OpenEngine
from pipeline.worker import Worker, run_worker
from stages.engine import Capabilities, Engine, EngineStatus, Receipt
from stages.errors import ContentRefused
from stages.messages import Alert, Content, Level, ProgressEvent, Rejection, Report, Scaling
from stages.options import SmartSend
from tests.support import FULL, request
from transports.bus import Bus, Inbound, OnEvent, Outbound, open_bus
from transports.mailbox import Mailbox
from transports.pull import Pulled, open_pull
from transports.server import open_server
from transports.subjects import HEADER_REJECTION, STREAM_EVENTS, STREAM_SENDS, send_subject

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


class Events:
    """What a bus says of its connection."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._lot = trio.lowlevel.ParkingLot()

    def __call__(self, event: str) -> None:
        self.said.append(event)
        self._lot.unpark_all()

    async def until(self, words: str, times: int = 1) -> None:
        """Wait until it has been said so often."""
        with trio.fail_after(AT_MOST):
            while sum(words in event for event in self.said) < times:
                await self._lot.park()


class Restartable:
    """A server with one port and one store that can be stopped and started again."""

    def __init__(self, nursery: trio.Nursery, store: Path) -> None:
        self._nursery = nursery
        self._store = store
        self._port = free_port()
        self._stop = self._ended = trio.Event()
        self.url = f"nats://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start it; returns when it serves."""
        self._stop, self._ended = trio.Event(), trio.Event()
        await self._nursery.start(self._run)

    async def stop(self) -> None:
        """Stop it; returns when it has ended."""
        self._stop.set()
        await self._ended.wait()

    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        async with open_server(self._store, port=self._port):
            task_status.started()
            await self._stop.wait()
        self._ended.set()


@asynccontextmanager
async def open_restartable(store: Path) -> AsyncIterator[Restartable]:
    """A server that is not started yet, and ends with the block."""
    async with trio.open_nursery() as nursery:
        yield Restartable(nursery, store)
        nursery.cancel_scope.cancel()


# Streams


async def make_stream(bus: Bus, name: str = "WORK", *, ack_wait: float = 30.0) -> None:
    """A work queue, `WORK` for the subjects `work.>`, with the durable consumer `workers`."""
    config = StreamConfig(
        name=name,
        subjects=[f"{name.lower()}.>"],
        retention=RetentionPolicy.WORK_QUEUE,
        allow_direct=True,
    )
    await bus.call(bus.jetstream.add_stream, config)
    consumer = ConsumerConfig(durable_name="workers", ack_wait=ack_wait, max_ack_pending=100_000)
    await bus.call(bus.jetstream.add_consumer, name, consumer)


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
    info = await bus.call(bus.jetstream.stream_info, STREAM_EVENTS, subjects_filter="storycast.report.>")
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
    """Listen on `subjects` while the block lasts; without any, to all of storycast's.

    What comes by one subject is heard in order; between two of them there is none.
    """
    chosen = subjects or ("storycast.>",)
    ear = Ear()
    async with bus.subscribe(*chosen) as mailbox, trio.open_nursery() as nursery:
        nursery.start_soon(ear.listen, mailbox)
        yield ear
        nursery.cancel_scope.cancel()


# A worker


def quick(**infrastructure: Any) -> Settings:
    """Settings that pace nothing, so that a test waits for nothing."""
    options = SmartSend(batch_delay=0, max_batches_per_second=1000)
    return Settings(smart_send=options, storycast=Infrastructure(**infrastructure))


@dataclass
class RunningWorker:
    """A worker under test, with a connection of its own."""

    worker: Worker
    shutdown: trio.Event
    ended: trio.Event
    _scope: trio.CancelScope

    async def stop(self) -> None:
        """Ask it to stop, and wait until it has ended."""
        self.shutdown.set()
        with trio.fail_after(AT_MOST):
            await self.ended.wait()

    async def kill(self) -> None:
        """Cancel it wherever it is."""
        self._scope.cancel()
        with trio.fail_after(AT_MOST):
            await self.ended.wait()


@asynccontextmanager
async def open_worker(
    bus: Bus, open_engine: OpenEngine, settings: Settings | None = None
) -> AsyncIterator[RunningWorker]:
    """Run a worker on the server of `bus`; it is asked to stop at the end of the block."""
    shutdown, ended = trio.Event(), trio.Event()

    async def run(task_status: trio.TaskStatus[Worker]) -> None:
        async with open_bus(url_of(bus)) as own:
            await run_worker(
                own,
                settings or quick(),
                shutdown=shutdown,
                open_engine=open_engine,
                task_status=task_status,
            )

    async def guarded(scope: trio.CancelScope, task_status: trio.TaskStatus[Worker]) -> None:
        try:
            with scope:
                await run(task_status)
        finally:
            ended.set()

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        worker: Worker = await nursery.start(partial(guarded, scope))
        running = RunningWorker(worker, shutdown, ended, scope)
        yield running
        await running.stop()


async def publish(
    bus: Bus, body: Any, *, session: str = "main", level: Level = "normal", **headers: str
) -> None:
    """Publish a send request: bytes as they are, anything else as JSON. Underscores in header names are dashes."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    await bus.store(Outbound(send_subject(session, level), data, named))


async def publish_story(
    bus: Bus,
    story: str,
    recipients: int | Sequence[Any] = 3,
    *,
    session: str = "main",
    level: Level = "normal",
) -> None:
    """Publish a request for a plain text story."""
    await publish(bus, request(story, recipients, sessionId=session), session=session, level=level)


class GatedEngine:
    """An `Engine` whose calls wait for a gate; it keeps the message id and the size of each, in order."""

    def __init__(self, *, is_open: bool = False) -> None:
        self.calls: list[tuple[str, int]] = []
        self.gate = trio.Event()
        self._lot = trio.lowlevel.ParkingLot()
        if is_open:
            self.gate.set()

    @property
    def capabilities(self) -> Capabilities:
        """Everything."""
        return FULL

    @property
    def messages(self) -> list[str]:
        """The message id of each call, in order."""
        return [message_id for message_id, _ in self.calls]

    async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
        """Succeed once the gate is open."""
        self.calls.append((message_id or "", len(recipients)))
        self._lot.unpark_all()
        await self.gate.wait()
        return Receipt(message_id=message_id or "")

    async def status(self) -> EngineStatus:
        """Ready."""
        await trio.lowlevel.checkpoint()
        return EngineStatus(state="ready")

    async def audience(self) -> Sequence[str]:
        """Nobody."""
        raise ContentRefused("it lists no audience")

    async def until_calls(self, count: int) -> None:
        """Wait for the `count`-th call."""
        with trio.fail_after(AT_MOST):
            while len(self.calls) < count:
                await self._lot.park()


def engines(**by_session: Engine) -> OpenEngine:
    """Opens the engine given for a session; a session without one is a `KeyError`, which no test expects."""
    return lambda session: nullcontext(by_session[session])
