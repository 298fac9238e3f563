"""Serving an engine as a NATS service: any worker that finds its subjects can send over it.

It takes calls as they come, many at a time up to a bound, and refuses what is beyond that. When it is to end it takes
no more, lets those under way go on for `grace` seconds, and answers that the outcome of the rest is unknown.
"""

from __future__ import annotations

import logging
import os
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex

import anyio
import trio
from trio import TASK_STATUS_IGNORED, TaskStatus

from stages.engine import Engine
from stages.errors import OutcomeUnknown, RateLimited, Unavailable
from transports.bus import Bus, Inbound, Outbound
from transports.mailbox import Mailbox
from transports.remote import discovery
from transports.remote.alone import Claim, claimed, ensure_alone
from transports.remote.calls import Calls
from transports.remote.discovery import Endpoint, Identity
from transports.remote.replies import publish, publish_answer
from transports.remote.wire import (
    Answer,
    EngineFailed,
    failure_answer,
)
from transports.subjects import engine_audience_subject, engine_send_subject, engine_status_subject

MOST = 64
"""Requests that an endpoint has in hand at the same time; calls beyond that are refused."""
LAST_ANSWERS = 1.0
"""Seconds in which questions are answered that came before nobody could ask any more."""
BUSY = failure_answer(RateLimited(f"{MOST} calls are under way already", retry_after=1.0))
LEAVING = failure_answer(Unavailable("the service is about to end, and takes no more calls"))
CUT = failure_answer(OutcomeUnknown("the service ended in the middle of the call"))
FAULT = failure_answer(OutcomeUnknown("the service met a fault of its own in the call; its log says which"))

Handler = Callable[[bytes], Awaitable[Answer]]

log = logging.getLogger("storycast")


@dataclass
class Desk:
    """An endpoint at work: what it does with a request, and how many it has in hand."""

    bus: Bus
    endpoint: Endpoint
    handler: Handler
    shutdown: trio.Event | None = None
    in_hand: int = 0

    def refusal(self) -> EngineFailed | None:
        """The answer to a request that is not to be begun with."""
        if self.shutdown is not None and self.shutdown.is_set():
            return LEAVING
        return BUSY if self.in_hand >= MOST else None


async def serve_engine(
    bus: Bus,
    session: str,
    engine: Engine,
    *,
    kind: str,
    shutdown: trio.Event,
    grace: float = 10.0,
    task_status: TaskStatus[Identity] = TASK_STATUS_IGNORED,
) -> None:
    """Serve `engine` for `session` until `shutdown`; `kind` is what `nats micro info` and others call it.

    Raises `AlreadyServed` if the session's engine is served by somebody else.
    """
    await ensure_alone(bus, session)
    identity = Identity(
        id=token_hex(8), metadata={"session": session, "engine": kind}, started=datetime.now(UTC)
    )
    served_by = f"{kind} on {socket.gethostname()}, process {os.getpid()}"
    calls = Calls(engine, served_by, shutdown)
    send = Desk(bus, Endpoint("send", engine_send_subject(session)), calls.send, shutdown)
    status = Desk(bus, Endpoint("status", engine_status_subject(session)), calls.status)
    audience = Desk(bus, Endpoint("audience", engine_audience_subject(session)), calls.audience)
    endpoints = [send.endpoint, status.endpoint, audience.endpoint]
    # Until the last call has ended its caller can ask whether it is under way: so `working` is the innermost.
    async with (
        _subscribed(status),
        _subscribed(audience),
        _found(bus, identity, endpoints),
        claimed(bus, session, Claim(id=identity.id, served_by=served_by)),
        trio.open_nursery() as working,
    ):
        async with _taking(send, working):
            task_status.started(identity)
            await shutdown.wait()
        working.cancel_scope.deadline = trio.current_time() + grace


@asynccontextmanager
async def _found(bus: Bus, identity: Identity, endpoints: Sequence[Endpoint]) -> AsyncIterator[None]:
    """Be found by `nats micro` while the block lasts."""
    async with bus.subscribe(*discovery.subjects(identity)) as mailbox, trio.open_nursery() as nursery:
        nursery.start_soon(_be_found, bus, mailbox, identity, endpoints)
        yield
        nursery.cancel_scope.cancel()


async def _be_found(
    bus: Bus, mailbox: Mailbox[Inbound], identity: Identity, endpoints: Sequence[Endpoint]
) -> None:
    while True:
        for message in await mailbox.receive():
            data = discovery.answer(message.subject, identity, endpoints)
            await publish(bus, Outbound(message.reply, data))


@asynccontextmanager
async def _subscribed(desk: Desk) -> AsyncIterator[None]:
    """Answer what is asked while the block lasts."""
    async with trio.open_nursery() as nursery:
        async with _taking(desk, nursery):
            yield
        nursery.cancel_scope.deadline = trio.current_time() + LAST_ANSWERS


@asynccontextmanager
async def _taking(desk: Desk, nursery: trio.Nursery) -> AsyncIterator[None]:
    """Take requests while the block lasts; what comes of them is up to `nursery`."""
    async with desk.bus.take(desk.endpoint.subject, queue=discovery.QUEUE, bound=MOST) as mailbox:
        nursery.start_soon(_take_all, desk, mailbox, nursery)
        yield


async def _take_all(desk: Desk, mailbox: Mailbox[Inbound], nursery: trio.Nursery) -> None:
    """Begin with every request that comes, or refuse it, until the mailbox is closed and empty."""
    with suppress(anyio.EndOfStream):
        while True:
            for message in await mailbox.receive():
                if refusal := desk.refusal():
                    await _answer(desk, message, refusal, 0.0)
                else:
                    desk.in_hand += 1
                    nursery.start_soon(_serve, desk, message)


async def _serve(desk: Desk, message: Inbound) -> None:
    began = trio.current_time()
    answer: Answer = CUT
    try:
        answer = await desk.handler(message.data)
    except Exception as fault:  # whoever asked must hear that the outcome is unknown, and other calls go on
        answer = FAULT
        where = traceback.extract_tb(fault.__traceback__)[-1]
        log.error(
            "a fault in a call",
            extra={"fault": type(fault).__name__, "where": f"{where.filename}:{where.lineno}"},
        )
    finally:
        desk.in_hand -= 1
        with trio.CancelScope(shield=True):
            await _answer(desk, message, answer, trio.current_time() - began)


async def _answer(desk: Desk, message: Inbound, answer: Answer, seconds: float) -> None:
    desk.endpoint.count(
        seconds, f"{answer.kind}: {answer.message}" if isinstance(answer, EngineFailed) else ""
    )
    await publish_answer(desk.bus, message.reply, answer)
