"""One service for one session: two would be two writers for one account.

Who is there already answers for the session's status. Those that start at the same moment settle it between them: each
listens for claims first and then makes its own, so of any two at least one hears the other, and answers with its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import trio
from msgspec import Struct

from stages.errors import StorycastError
from transports.bus import Bus, Inbound, Outbound
from transports.errors import Unreachable
from transports.mailbox import Mailbox
from transports.remote.wire import EngineReport, Undecodable, answer_in, heard
from transports.subjects import engine_claim_subject, engine_status_subject

ALONE = 2.0
"""Seconds in which another service of the same session says that it is there."""
SETTLE = 0.3
"""Seconds in which those that start at the same moment hear of each other."""


class AlreadyServed(StorycastError):
    """Another service serves the engine of this session: two would be two writers for one account."""


class Claim(Struct, frozen=True, kw_only=True):
    """A service says that it is there: `id` is its own, or empty once it serves. The lowest one stays."""

    id: str
    served_by: str = ""


async def ensure_alone(bus: Bus, session: str) -> None:
    """Raise `AlreadyServed`, naming who it is, if anybody serves the engine of `session`."""
    try:
        reply = await bus.request(Outbound(engine_status_subject(session)), timeout=ALONE)
    except Unreachable:
        return  # nobody is there, or only somebody who listens to everything and serves nothing
    try:
        found = answer_in(reply.data, EngineReport).served_by
    except (StorycastError, Undecodable):
        found = ""
    raise _already(session, found)


@asynccontextmanager
async def claimed(bus: Bus, session: str, claim: Claim) -> AsyncIterator[None]:
    """Be the only service of `session` while the block lasts. Raises `AlreadyServed` where another one comes first."""
    subject = engine_claim_subject(session)
    async with bus.subscribe(subject) as mailbox:
        await _publish(bus, subject, claim)
        with trio.move_on_after(SETTLE):
            await _settle(bus, session, claim, mailbox)
        serving = Claim(id="", served_by=claim.served_by)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stay, bus, subject, claim, serving, mailbox)
            yield
            nursery.cancel_scope.cancel()


async def _settle(bus: Bus, session: str, own: Claim, mailbox: Mailbox[Inbound]) -> None:
    while True:
        for other in map(_claim_in, await mailbox.receive()):
            if other is not None and other.id < own.id:
                raise _already(session, other.served_by)
            if other is not None and other.id > own.id:
                await _publish(bus, engine_claim_subject(session), own)


async def _stay(bus: Bus, subject: str, own: Claim, serving: Claim, mailbox: Mailbox[Inbound]) -> None:
    """Tell whoever comes that this one serves."""
    while True:
        for other in map(_claim_in, await mailbox.receive()):
            if other is not None and other.id not in {own.id, serving.id}:
                await _publish(bus, subject, serving)


async def _publish(bus: Bus, subject: str, claim: Claim) -> None:
    await bus.publish([Outbound(subject, msgspec.json.encode(claim))])


def _claim_in(message: Inbound) -> Claim | None:
    try:
        return msgspec.json.decode(message.data, type=Claim)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _already(session: str, served_by: str) -> AlreadyServed:
    who = heard(served_by) or "another gateway"
    return AlreadyServed(f"session {session!r} is served already by {who}: end that one first")
