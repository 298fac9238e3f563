"""Lanes: one per session, opened by its first request. A slow or failing session never delays another."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from functools import partial

import anyio
import trio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from msgspec import Struct, structs

from pipeline.custody import Custody
from pipeline.settings import Settings
from pipeline.topology import WAITING, Lane, LaneStatistics, Ports, run_lane
from stages.account import shortened
from stages.engine import Engine
from stages.errors import BadRequest
from stages.flow import Delivery, Outgoing
from stages.history import HistoryStore, Now
from stages.ingest import ReportStore, refusal
from stages.messages import SESSION_ID, Alert
from stages.pacing import Random

HELD_PER_LEVEL = WAITING // 3
HELD_BYTES = 32 << 20
"""A session that holds more bytes of requests than this gets no further ones for now."""
FOR_A_PERSON = frozenset({"account-restricted", "session-lost"})
"""What a session is stopped by until a person has acted; after anything else it is tried again."""
BUSY_DELAY = 5.0
PARKED_DELAY = 60.0
FAILED_DELAY = 30.0

log = logging.getLogger("storycast")


OpenEngine = Callable[[str], Engine]
"""Opens the engine of a session. Raises `StorycastError` if it cannot."""


class Shared(Struct, frozen=True, kw_only=True):
    """What all lanes of a worker share."""

    settings: Settings
    custody: Custody
    open_engine: OpenEngine
    histories: HistoryStore
    reports: ReportStore
    now: Now
    random: Random
    suppressed: frozenset[str] = frozenset()


class _Open(Struct, eq=False):
    inbox: MemoryObjectSendStream[Sequence[Delivery]]
    lane: Lane | None = None


class Lanes:
    """The lanes of one worker, run in `nursery`."""

    def __init__(
        self, nursery: trio.Nursery, outgoing: MemoryObjectSendStream[Outgoing], *, shared: Shared
    ) -> None:
        self._nursery = nursery
        self._outgoing = outgoing
        self._shared = shared
        self._open: dict[str, _Open] = {}
        self._parked: set[str] = set()
        self._resting: dict[str, float] = {}
        self._stopping = False

    def statistics(self) -> dict[str, LaneStatistics]:
        """The statistics of each open lane."""
        return {name: each.lane.statistics() for name, each in self._open.items() if each.lane}

    async def offer(self, deliveries: Sequence[Delivery]) -> None:
        """Give each delivery to its session's lane, or back to the stream while the lane cannot take it."""
        by_session: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            by_session.setdefault(delivery.session, []).append(delivery)
        for session, its in by_session.items():
            await self._offer(session, its)

    def stop(self) -> None:
        """Take no more: stories under way go on, those that wait are left to be handed back."""
        self._stopping = True
        for each in self._open.values():
            each.inbox.close()
            if each.lane is not None:
                each.lane.line.discard()

    async def _offer(self, session: str, deliveries: Sequence[Delivery]) -> None:
        custody = self._shared.custody
        if not SESSION_ID.fullmatch(session):
            await self._refuse(deliveries)
        elif session in self._parked:
            await custody.hand_back(_keys(deliveries), delay=PARKED_DELAY)
        elif (rest := self._rest(session)) > 0:
            await custody.hand_back(_keys(deliveries), delay=rest)
        else:
            taken = self._take(session, deliveries)
            await custody.hand_back(_keys(deliveries[taken:]), delay=BUSY_DELAY)

    def _rest(self, session: str) -> float:
        """Seconds for which the session is left alone after it stopped or failed."""
        rest = self._resting.get(session, 0.0) - trio.current_time()
        if rest <= 0:
            self._resting.pop(session, None)
        return rest

    def _take(self, session: str, deliveries: Sequence[Delivery]) -> int:
        """Put as many of `deliveries` into the session's lane as there is room for; returns how many."""
        room = self._room(session, deliveries)
        opened = self._opened(session) if room else None
        if opened is None:
            return 0
        try:
            opened.inbox.send_nowait(deliveries[:room])
        except (anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return 0
        return room

    def _room(self, session: str, deliveries: Sequence[Delivery]) -> int:
        """How many of `deliveries`, which are in custody already, the session may hold."""
        custody, new = self._shared.custody, len(deliveries)
        held_before = custody.size(session) - sum(len(each.data) for each in deliveries)
        if held_before > HELD_BYTES:
            return 0
        return max(0, min(new, HELD_PER_LEVEL - custody.count(session, deliveries[0].level) + new))

    def _opened(self, session: str) -> _Open | None:
        if session not in self._open:
            if len(self._open) >= self._shared.settings.storycast.max_sessions and not self._close_idle():
                return None
            send, receive = anyio.create_memory_object_stream[Sequence[Delivery]](WAITING)
            self._open[session] = _Open(send)
            self._nursery.start_soon(self._run, session, self._open[session], receive)
        return self._open[session]

    def _close_idle(self) -> bool:
        """Close the lane that has nothing to do and was opened longest ago, if there is one."""
        idle = next((name for name in self._open if not self._shared.custody.holds(name)), None)
        if idle is None:
            return False
        self._open.pop(idle).inbox.close()
        return True

    async def _run(
        self, session: str, opened: _Open, inbox: MemoryObjectReceiveStream[Sequence[Delivery]]
    ) -> None:
        try:
            with inbox, opened.inbox:
                await self._live(session, opened, inbox)
        except Exception as error:  # whatever it is, it must not reach the other sessions
            log.exception("lane failed", extra={"session": session})
            await self._alert(session, error)
            await self._end(session, opened, delay=FAILED_DELAY)
            return
        kind = opened.lane.planner.statistics().parked if opened.lane else None
        if kind in FOR_A_PERSON:
            self._parked.add(session)
        if kind is not None:
            await self._end(session, opened, delay=PARKED_DELAY)
        # Else it drained: what is held now is with the publisher, or for the end of the worker to hand over.

    async def _live(
        self, session: str, opened: _Open, inbox: MemoryObjectReceiveStream[Sequence[Delivery]]
    ) -> None:
        shared = self._shared
        ports = Ports(
            engine=shared.open_engine(session),
            histories=shared.histories,
            reports=shared.reports,
            now=shared.now,
            random=shared.random,
            suppressed=shared.suppressed,
        )
        lane = partial(
            run_lane,
            inbox,
            self._outgoing.clone(),
            ports=ports,
            options=shared.settings.for_session(session),
            limits=shared.settings.limits(),
        )
        async with trio.open_nursery() as nursery:
            opened.lane = await nursery.start(lane)
            if self._stopping:
                opened.lane.line.discard()

    async def _end(self, session: str, opened: _Open, *, delay: float) -> None:
        """The lane is gone: what it held goes back to the stream, and its session rests for `delay` seconds."""
        if self._open.get(session) is opened:
            del self._open[session]
            self._resting[session] = trio.current_time() + delay
            await self._shared.custody.hand_back_session(session, delay=delay)

    async def _alert(self, session: str, error: Exception) -> None:
        cause: BaseException = error
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        reason = f"{type(cause).__name__}: {cause}"
        alert = Alert(session_id=session, kind="lane-failed", reason=reason, at=self._shared.now())
        await self._outgoing.send(alert)

    async def _refuse(self, deliveries: Sequence[Delivery]) -> None:
        """The subject's own session token is no session id, so there is no lane to refuse it."""
        for delivery in deliveries:
            found = shortened(delivery.session)
            why = BadRequest(
                "invalid-session", field="subject", found=found, allowed="1-64 letters, digits, `_` or `-`"
            )
            await self._outgoing.send(
                refusal(structs.replace(delivery, session="_"), why, now=self._shared.now)
            )


def _keys(deliveries: Sequence[Delivery]) -> list[Hashable]:
    return [delivery.key for delivery in deliveries]
