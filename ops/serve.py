"""Running a worker: on a server that is there (`worker`), or with one of its own (`up`)."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import trio
from trio import TASK_STATUS_IGNORED, TaskStatus

from ops.collection import collect_seldom
from ops.exits import SUCCESS, Interrupted
from ops.logs import log_to_stderr
from pipeline.settings import Settings
from pipeline.worker import run_worker
from stages.masking import without_user
from transports.bus import OnEvent, open_bus
from transports.server import open_server

log = logging.getLogger("storycast")

Say = Callable[[str], None]
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def sayer(*, json: bool) -> Say:
    """Prints a line for people on stdout, or nothing with --json."""
    return _silent if json else _say


def _say(text: str) -> None:
    # A worker goes on serving when nobody reads its words any more.
    with suppress(BrokenPipeError):
        print(text, flush=True)


def _silent(text: str) -> None: ...


def noter(say: Say) -> OnEvent:
    """Says what happens to the connection, and puts it into the log beside what it is the cause of."""

    def note(event: str) -> None:
        say(event)
        log.warning("NATS", extra={"happened": event})

    return note


async def worker(settings: Settings, say: Say) -> int:
    """Serve requests from the server in the settings until SIGINT or SIGTERM."""
    log_to_stderr()
    collect_seldom()
    url = settings.storycast.url
    async with open_bus(url, on_event=noter(say)) as bus:
        await serve_until_signal(
            lambda **kw: run_worker(bus, settings, **kw), say, f"serving requests from {without_user(url)}"
        )
    return SUCCESS


async def up(settings: Settings, say: Say, *, data: Path, port: int) -> int:
    """Start a server of our own on `port`, its data kept in `data`, and a worker on it."""
    log_to_stderr()
    collect_seldom()
    async with (
        open_server(data, port=port or None) as server,
        open_bus(server.url, on_event=noter(say)) as bus,
    ):
        ready = f"nats-server on {server.url}, data in {data}; serving requests"
        await serve_until_signal(lambda **kw: run_worker(bus, settings, **kw), say, ready)
    return SUCCESS


@asynccontextmanager
async def interruptible() -> AsyncIterator[None]:
    """End the block with `Interrupted` on SIGINT or SIGTERM."""
    async with trio.open_nursery() as nursery:
        await nursery.start(_raise_on_signal)
        yield
        nursery.cancel_scope.cancel()


async def serve_until_signal(serve: Callable[..., Awaitable[None]], say: Say, ready: str) -> None:
    """The first signal ends what is served in good order, a second one at once; `ready` says what it is."""
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(_on_signals, shutdown, nursery, say))
        async with trio.open_nursery() as working:
            await working.start(partial(serve, shutdown=shutdown))
            say(f"storycast: {ready}. Ctrl-C ends it.")
        nursery.cancel_scope.cancel()


async def _on_signals(
    shutdown: trio.Event,
    nursery: trio.Nursery,
    say: Say,
    *,
    task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
) -> None:
    with trio.open_signal_receiver(*SIGNALS) as signals:
        task_status.started()
        async for _ in signals:
            if shutdown.is_set():
                nursery.cancel_scope.cancel()
            say(
                "storycast: ending; calls under way get to finish, stories go on later. Once more ends at once."
            )
            shutdown.set()


async def _raise_on_signal(*, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
    with trio.open_signal_receiver(*SIGNALS) as signals:
        task_status.started()
        async for _ in signals:
            raise Interrupted("interrupted")
