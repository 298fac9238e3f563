"""Routing: which worker serves a request.

The one that owns its session; and a session that has no owner is taken by whoever gets a request for it.

Any worker may pull a request of any session. If the session is another's, the request is passed on to that worker as
it is, its ack subject for a reply: whoever has that can settle it. Nothing is lost on the way: until somebody takes
it into custody nobody says that it is being worked on, and so it is delivered again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Sequence, Set

import trio
from msgspec import Struct, structs

from pipeline.lanes import Lanes, busy_delay
from pipeline.leases import Lease
from pipeline.presence import Presence
from pipeline.shared import Shared
from pipeline.topology import Outbox
from stages.account import shortened
from stages.errors import BadRequest, StoreFailed
from stages.ingest import refusal
from stages.messages import SESSION_ID, Level
from transports.bus import Bus, Inbound, Outbound
from transports.errors import TransportError
from transports.pull import Pulled, nak, pulled
from transports.subjects import (
    delivered_subject,
    forward_subject,
    forwards_to,
    level_in,
    session_in,
)

ACK_PREFIX = "$JS.ACK."
AGAIN_SOON = 1.0
BELIEVED = 1.0
"""Seconds for which the owner of a session is not asked for again."""
FORWARDED = 256
HAND_BACK = 2.0

log = logging.getLogger("storycast")


class RoutingStatistics(Struct, frozen=True):
    """What became of the requests that were pulled."""

    kept: int
    """Served here."""
    forwarded: int
    """Passed on to the worker that owns their session."""
    handed_back: int
    """Given back, for there was no room, or their owner did not answer."""


class Routing:
    """Decides for each request that came in, and sees to it."""

    def __init__(
        self,
        bus: Bus,
        lanes: Lanes,
        outgoing: Outbox,
        *,
        shared: Shared,
        presence: Presence,
    ) -> None:
        self._bus = bus
        self._lanes = lanes
        self._outgoing = outgoing
        self._shared = shared
        self._presence = presence
        self._elsewhere: dict[str, tuple[str, float]] = {}
        self._kept = self._forwarded = self._handed_back = 0

    def statistics(self) -> RoutingStatistics:
        """Counts since the start."""
        return RoutingStatistics(self._kept, self._forwarded, self._handed_back)

    async def route(self, requests: Sequence[Pulled], level: Level) -> None:
        """See to `requests` that came by the lane of `level`."""
        by_session: dict[str, list[Pulled]] = {}
        for request in requests:
            by_session.setdefault(session_in(request.subject), []).append(request)
        try:
            unknown = await self._find_owners(by_session)
            for session in list(by_session):
                owner = None if session in unknown else await self._owner(session)
                await self._route(session, owner, by_session.pop(session), level)
        finally:
            await self._give_up([request for its in by_session.values() for request in its])

    async def _find_owners(self, sessions: Iterable[str]) -> Set[str]:
        """Ask for the owners of `sessions` side by side, where there is room for them; returns those nobody can tell.

        `_owner` knows them from then on. Beyond the room each has to be asked for when those before it are served.
        """
        unknown = {session for session in sessions if not SESSION_ID.fullmatch(session)}

        async def find(session: str) -> None:
            if await self._owner(session) is None:
                unknown.add(session)

        held = self._shared.leases.held()
        asking = [session for session in sessions if session not in held and session not in unknown]
        if not asking:
            return unknown
        async with trio.open_nursery() as nursery:
            for session in asking[: self._lanes.room]:
                nursery.start_soon(find, session)
        return unknown

    async def _give_up(self, requests: Sequence[Pulled]) -> None:
        """The worker stops: what it did not come to goes to another one at once."""
        if requests:
            with trio.move_on_after(HAND_BACK, shield=True):
                await self._hand_back(requests, [0.0] * len(requests))

    async def receive(self) -> None:
        """Take what other workers pass on to this one. Runs until cancelled."""
        me = self._presence.worker
        async with self._bus.subscribe(forwards_to(me), bound=FORWARDED) as mailbox:
            while True:
                requests = deque(filter(None, map(_forwarded, await mailbox.receive())))
                try:
                    while requests:
                        await self._receive(requests.popleft())
                finally:
                    await self._give_up(requests)

    async def _receive(self, request: Pulled) -> None:
        level = level_in(request.subject)
        if self._shared.custody.room(level, self._shared.settings.storycast.max_held):
            await self.route([request], level)
        else:
            await self._hand_back([request], [busy_delay(request.attempt)])

    async def _route(
        self, session: str, owner: Lease | str | None, requests: Sequence[Pulled], level: Level
    ) -> None:
        if not SESSION_ID.fullmatch(session):
            await self._refuse(requests, level)
        elif isinstance(owner, Lease):
            self._kept += len(requests)
            await self._lanes.offer(owner, requests, level)
        elif owner is not None and self._presence.alive(owner):
            self._forwarded += len(requests)
            await self._tell([_forward(owner, request) for request in requests])
        else:
            # Nobody can take it now: no room here, NATS cannot say, or its owner is gone and its lease not yet.
            soon = owner is not None or self._lanes.has_room_for(session)
            await self._hand_back(
                requests, [AGAIN_SOON if soon else busy_delay(one.attempt) for one in requests]
            )

    async def _hand_back(self, requests: Sequence[Pulled], delays: Sequence[float]) -> None:
        self._handed_back += len(requests)
        await self._tell(
            [Outbound(one.ack_subject, nak(delay)) for one, delay in zip(requests, delays, strict=True)]
        )

    async def _owner(self, session: str) -> Lease | str | None:
        """The lease if the session is ours, now perhaps; its owner's id if it is another's; None if nobody can say."""
        held = self._shared.leases.held().get(session)
        if held is not None and not held.lost.is_set():
            return held
        owner, until = self._elsewhere.get(session, ("", 0.0))
        if until > trio.current_time() and self._presence.alive(owner):
            return owner
        try:
            found = await self._asked(session)
        except StoreFailed as problem:
            log.warning("cannot tell who owns it", extra={"session": session, "problem": str(problem)})
            return None
        self._remember(session, found)
        return found

    async def _asked(self, session: str) -> Lease | str | None:
        if self._lanes.has_room_for(session):
            return await self._shared.leases.acquire(session)
        owner = await self._shared.leases.owner_of(session)
        return None if owner == self._presence.worker else owner

    def _remember(self, session: str, found: Lease | str | None) -> None:
        now = trio.current_time()
        self._elsewhere.pop(session, None)
        if isinstance(found, str):
            self._elsewhere = {name: entry for name, entry in self._elsewhere.items() if entry[1] > now}
            self._elsewhere[session] = (found, now + BELIEVED)

    async def _refuse(self, requests: Sequence[Pulled], level: Level) -> None:
        """The subject's own session token is no session id, so there is no lane to refuse it."""
        for request in requests:
            delivery = self._shared.custody.take(request, level)
            if delivery is None:
                continue
            allowed = "1-64 letters, digits, `_` or `-`"
            why = BadRequest(
                "invalid-session", field="subject", found=shortened(delivery.session), allowed=allowed
            )
            refused = refusal(structs.replace(delivery, session="_"), why, now=self._shared.now)
            await self._outgoing.send(refused)

    async def _tell(self, messages: Sequence[Outbound]) -> None:
        try:
            await self._bus.publish(messages)
        except TransportError as problem:
            # No harm: what is not settled is delivered again.
            log.warning("could not pass on", extra={"requests": len(messages), "problem": str(problem)})


def _forward(owner: str, request: Pulled) -> Outbound:
    # Nothing is added to it, so that whatever fitted in a message still does. nats-server lets nobody name an ack
    # subject for a reply, so it goes without its prefix.
    reply = request.ack_subject.removeprefix(ACK_PREFIX)
    return Outbound(forward_subject(owner, request.subject), request.data, request.headers, reply=reply)


def _forwarded(message: Inbound) -> Pulled | None:
    subject, ack_subject = delivered_subject(message.subject), ACK_PREFIX + message.reply
    try:
        return pulled(structs.replace(message, subject=subject, reply=ack_subject))
    except (IndexError, ValueError):
        log.warning("passed on, but no request", extra={"subject": shortened(message.subject)})
        return None
