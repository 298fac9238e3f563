"""Services of engines in the test's own process, and clients of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from stages.engine import Engine
from tests.nats_support import AT_MOST, url_of
from transports.bus import Bus, Inbound, Outbound, open_bus
from transports.remote import serve_engine
from transports.remote.discovery import Identity
from transports.subjects import engine_send_subject, engine_status_subject

OFTEN = 0.05
"""Seconds between two looks of an engine under test at its calls."""


@dataclass
class Service:
    """A service of an engine, with a connection of its own."""

    identity: Identity
    shutdown: trio.Event
    ended: trio.Event
    _scope: trio.CancelScope

    async def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self.shutdown.set()
        with trio.fail_after(AT_MOST):
            await self.ended.wait()

    async def kill(self) -> None:
        """Cancel it wherever it is."""
        self._scope.cancel()
        with trio.fail_after(AT_MOST):
            await self.ended.wait()


@asynccontextmanager
async def open_service(
    bus: Bus, engine: Engine, *, session: str = "main", kind: str = "scripted", grace: float = AT_MOST
) -> AsyncIterator[Service]:
    """Serve `engine` on the server of `bus`; it is asked to end at the end of the block."""
    shutdown, ended, scope = trio.Event(), trio.Event(), trio.CancelScope()

    async def run(task_status: trio.TaskStatus[Identity]) -> None:
        try:
            with scope:
                async with open_bus(url_of(bus)) as own:
                    await serve_engine(
                        own,
                        session,
                        engine,
                        kind=kind,
                        shutdown=shutdown,
                        grace=grace,
                        task_status=task_status,
                    )
        finally:
            ended.set()

    async with trio.open_nursery() as nursery:
        service = Service(await nursery.start(run), shutdown, ended, scope)
        yield service
        await service.stop()


Reply = Callable[[Inbound], Awaitable[Outbound | None]]


@asynccontextmanager
async def open_gateway(
    bus: Bus, *, status: Outbound, send: Outbound | None = None, session: str = "main"
) -> AsyncIterator[None]:
    """Somebody else's gateway: it answers every status and every call with the same, or a call not at all."""
    answers = {engine_status_subject(session): status, engine_send_subject(session): send}
    async with bus.subscribe(*answers) as mailbox, trio.open_nursery() as nursery:

        async def answer() -> None:
            while True:
                for message in await mailbox.receive():
                    if found := answers[message.subject]:
                        await bus.publish([Outbound(message.reply, found.data, found.headers)])

        nursery.start_soon(answer)
        yield
        nursery.cancel_scope.cancel()
