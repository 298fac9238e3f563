"""A scene: a folder with one nats-server or three, some workers on it, and the record of what their engines did."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import TypeVar

import msgspec
import trio
from msgspec import Struct

from stages.messages import Report
from tests.faults.processes import AT_MOST, RARELY, Child, NatsServer, storycast, until
from tests.ops.support import unused_port
from tests.support import people, request
from transports.bus import Bus, Inbound, Outbound, open_bus
from transports.errors import TransportError
from transports.simulated import Record, read_record
from transports.simulated.record import read_ends
from transports.subjects import STREAM_EVENTS, STREAM_SENDS, report_subject, send_subject

T = TypeVar("T")

PROFILE = """
[latency]
a = 0.1
b = 0.00005
noise = 0.2
"""
BATCH = 1_000
RECIPIENTS = 20_000
USUAL = 4.0
"""Seconds that a story to `RECIPIENTS` takes about, from its publication to its report."""
SETTINGS = {
    "SMART_SEND_STRATEGY": "fixed",
    "SMART_SEND_BATCH_SIZE": str(BATCH),
    "SMART_SEND_BATCH_DELAY": "0",
    "SMART_SEND_MAX_BATCHES_PER_SECOND": "1000",
}


class Instant(Struct, frozen=True):
    """When something is killed: after `seconds`, or as soon as so many calls `began` or `ended`."""

    seconds: float = 0.0
    began: int = 0
    ended: int = 0


def draw_instant(random: Random, *, so_far: int = 0, share: float = 1.0) -> Instant:
    """Some instant in a `share` of a story's course, `so_far` calls in: at any time, or where a call begins or ends."""
    calls = so_far + random.randint(1, int(RECIPIENTS // BATCH * share))
    return random.choice(
        [Instant(seconds=random.uniform(0, USUAL * share)), Instant(began=calls), Instant(ended=calls)]
    )


class Scene:
    """What the checks look at, and the levers of what goes wrong. `open_scene` makes one."""

    def __init__(self, home: Path, servers: Sequence[NatsServer], bus: Bus, stack: ExitStack) -> None:
        self.servers = servers
        self.bus = bus
        self.workers: list[Child] = []
        self._commands = 0
        self._home, self._stack = home, stack
        self._path = home / "record"
        (home / "profile.toml").write_text(PROFILE)

    @property
    def nats(self) -> NatsServer:
        """The server, or the first one of the cluster."""
        return self.servers[0]

    @property
    def record(self) -> Record:
        """What the engines of all workers did so far."""
        return read_record(self._path)

    def start_worker(self, **settings: str) -> Child:
        """Start one more worker; it serves a little later."""
        own = {"STORYCAST_RECORD": str(self._path), "STORYCAST_PROFILE": str(self._home / "profile.toml")}
        name = f"worker-{len(self.workers)}"
        arguments = ("worker", "--url", self.nats.url)
        worker = storycast(name, *arguments, home=self._home, settings=SETTINGS | own | settings)
        self.workers.append(self._stack.enter_context(worker))
        return worker

    async def worker(self, **settings: str) -> Child:
        """Start one more worker; returns when it serves."""
        worker = self.start_worker(**settings)
        await worker.until_says("serving requests")
        return worker

    async def command(self, *arguments: str) -> str:
        """Run some other storycast command on the server to its end, which must be a good one; returns its words."""
        self._commands += 1
        name, arguments = f"{arguments[0]}-{self._commands}", (*arguments, "--url", self.nats.url)
        with storycast(name, *arguments, home=self._home, settings={}) as command:

            async def ended() -> bool:
                return not command.is_alive

            await until(ended, lambda: f"{name} ends", every=RARELY)
            assert command.process.returncode == 0, command.out + command.err
            return command.out

    async def publish(self, story: str, recipients: int = RECIPIENTS, *, session: str = "main") -> None:
        """Publish a request, as soon as there is a server that takes it."""
        body = msgspec.json.encode(request(story, people(recipients), sessionId=session))
        await self.ask(lambda: self.bus.store(Outbound(send_subject(session), body)))

    def owner(self, session: str = "main") -> Child | None:
        """The worker that made the last call for `session`."""
        began, _ = read_ends(self._path)
        pids = [line.pid for line in began.values() if line.session == session]
        return next((worker for worker in self.workers if pids and worker.pid == pids[-1]), None)

    async def reach(self, instant: Instant, *, session: str = "main") -> None:
        """Wait for `instant`."""
        await trio.sleep(instant.seconds)  # the one place where time itself is meant
        await self.until_calls(began=instant.began, ended=instant.ended, session=session)

    async def until_calls(self, *, began: int = 0, ended: int = 0, session: str = "main") -> None:
        """Wait until so many calls for `session` have begun and ended."""

        async def there() -> bool:
            first, last = read_ends(self._path)
            its = [call for call, line in first.items() if line.session == session]
            return len(its) >= began and sum(call in last for call in its) >= ended

        await until(there, lambda: f"{began} calls begin and {ended} end\n{self._told()}")

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T:
        """Ask the server, again while it is away."""
        problem: TransportError | None = None
        with trio.move_on_after(AT_MOST):
            while True:
                try:
                    return await question()
                except TransportError as error:
                    problem = error
                    await trio.sleep(RARELY)
        raise AssertionError(f"NATS never answered: {problem}")

    async def until_report(self, story: str, *, session: str = "main") -> Report:
        """Wait for a story's report."""
        subject = report_subject(session, story)

        async def report() -> Inbound | None:
            return await self.ask(lambda: self.bus.last(STREAM_EVENTS, subject))

        found = await until(report, lambda: f"{story} is reported\n{self._told()}", every=RARELY)
        assert found is not None
        return msgspec.json.decode(found.data, type=Report)

    async def until_settled(self) -> None:
        """Wait until nothing is left in the stream of requests: from then on nothing is delivered again."""

        async def nothing_left() -> bool:
            return await self.ask(self.stored) == 0

        await until(nothing_left, lambda: f"no request is left\n{self._told()}", every=RARELY)

    async def end_workers(self) -> None:
        """Ask all workers to end, and wait until they have: what was not done by then is never done."""
        alive = [worker for worker in self.workers if worker.is_alive]
        for worker in alive:
            worker.process.terminate()

        async def all_ended() -> bool:
            return not any(worker.is_alive for worker in alive)

        await until(all_ended, lambda: f"the workers end\n{self._told()}", every=RARELY)
        # One that was asked before it could listen just dies of it.
        assert {worker.process.returncode for worker in alive} <= {0, -signal.SIGTERM}, self._told()

    async def reports(self) -> dict[str, int]:
        """How many reports are stored on each subject of reports."""
        stream = self.bus.jetstream.stream_info
        info = await self.ask(
            lambda: self.bus.call(stream, STREAM_EVENTS, subjects_filter="storycast.report.>")
        )
        return dict(info.state.subjects or {})

    async def stored(self) -> int:
        """How many requests are in their stream."""
        return int((await self.bus.call(self.bus.jetstream.stream_info, STREAM_SENDS)).state.messages)

    def refused_by_nats(self) -> list[str]:
        """What nats-server would not let workers do, in its own words."""
        lines = [line for worker in self.workers for line in worker.out.splitlines()]
        return [line for line in lines if "violation" in line]

    def _told(self) -> str:
        return "\n".join(f"{worker.name}: {worker.out}{worker.err}" for worker in self.workers)


@asynccontextmanager
async def open_scene(home: Path, *, config: str = "") -> AsyncIterator[Scene]:
    """One nats-server that serves, and nobody on it yet."""
    async with _opened(home, [NatsServer(home, unused_port(), config=config)]) as scene:
        yield scene


@asynccontextmanager
async def open_cluster(home: Path) -> AsyncIterator[Scene]:
    """Three nats-servers that are one, and nobody on them yet."""
    routes = [unused_port() for _ in range(3)]
    listed = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in routes)
    nodes = [
        NatsServer(
            home,
            unused_port(),
            name=f"node-{place}",
            config=f'cluster: {{name: "storycast", listen: "127.0.0.1:{port}", routes: [{listed}]}}\n',
        )
        for place, port in enumerate(routes)
    ]
    async with _opened(home, nodes) as scene:
        yield scene


@asynccontextmanager
async def _opened(home: Path, servers: Sequence[NatsServer]) -> AsyncIterator[Scene]:
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(server).launch()
        for server in servers:
            await server.until_greets()
        async with open_bus(servers[0].url) as bus:
            yield Scene(home, servers, bus, stack)
