"""Lanes: one per session that this worker owns, opened by its first request.

A slow or failing session never delays another. A session that another worker owns is served there: its requests are
passed on to that one. A lane is open as long as its session's lease is held; when the lease is lost it ends at once.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby

import anyio
import trio
from msgspec import Struct

from pipeline.leases import Lease
from pipeline.shared import Shared
from pipeline.stopping import FOR_A_PERSON, check_account, gravest
from pipeline.topology import WAITING, Lane, LaneStatistics, Outbox, Ports, run_lane
from stages.channel import ReceiveEnd, SendEnd, open_channel
from stages.engine import Engine
from stages.errors import EngineFailure, Superseded
from stages.flow import HANDED_OVER, Delivery, SessionLeft
from stages.messages import Alert, Level
from transports.pull import Pulled

HELD_PER_LEVEL = WAITING // 3
HELD_BYTES = 32 << 20
"""A session that holds more bytes of requests than this gets no further ones for now."""
BUSY_DELAY = 5.0
PARKED_DELAY = 60.0
FAILED_DELAY = 30.0
AWAY_DELAY = 10.0
"""Seconds after which an engine that could not be opened is tried again."""
MOVED_DELAY = 1.0
IDLE_AFTER = 30.0
"""Seconds without any request after which a session is given up, for any worker to serve."""
SWEEP = 5.0

log = logging.getLogger("storycast")


class _Open(Struct, eq=False):
    lease: Lease
    inbox: SendEnd[Sequence[Delivery]]
    used: float
    lane: Lane | None = None


class Lanes:
    """The lanes of one worker, run in `nursery`."""

    def __init__(self, nursery: trio.Nursery, outgoing: Outbox, *, shared: Shared) -> None:
        self._nursery = nursery
        self._outgoing = outgoing
        self._shared = shared
        self._open: dict[str, _Open] = {}
        self._running: set[str] = set()
        self._resting: dict[str, float] = {}
        self._told: dict[str, str] = {}
        self._stopping = False

    def statistics(self) -> dict[str, LaneStatistics]:
        """The statistics of each open lane."""
        return {name: lane.statistics() for name, lane in self.lanes().items()}

    def lanes(self) -> Mapping[str, Lane]:
        """The open lanes by session."""
        return {name: each.lane for name, each in self._open.items() if each.lane}

    def has_room_for(self, session: str) -> bool:
        """Whether the session could be served here, if need be instead of an idle one."""
        return session in self._open or not self._is_full() or bool(self._idle(0.0))

    @property
    def room(self) -> int:
        """How many further sessions could be served here without closing the lane of an idle one."""
        return max(0, self._shared.settings.storycast.max_sessions - len(self._open))

    async def offer(self, lease: Lease, pulled: Sequence[Pulled], level: Level) -> None:
        """Give requests of one session, whose lease is held, to its lane; or back while the lane cannot take them."""
        custody, session = self._shared.custody, lease.session
        deliveries = [delivery for each in pulled if (delivery := custody.take(each, level))]
        if not deliveries:
            return
        if lease.parked is not None:
            await custody.hand_back(_keys(deliveries), delay=PARKED_DELAY)
        elif (rest := self._rest(session)) > 0:
            await custody.hand_back(_keys(deliveries), delay=rest)
        else:
            taken = self._take(lease, deliveries)
            for attempt, group in groupby(deliveries[taken:], key=lambda delivery: delivery.attempt):
                await custody.hand_back(_keys(group), delay=busy_delay(attempt))

    def wake(self, session: str) -> None:
        """The session need not rest any longer."""
        self._resting.pop(session, None)
        self._told.pop(session, None)

    def stop(self) -> None:
        """Take no more, and leave every story where it stands, once the calls that are under way have ended."""
        self._stopping = True
        for each in self._open.values():
            each.inbox.close()
            if each.lane is not None:
                each.lane.leave()

    async def sweep(self) -> None:
        """Give up sessions that have had nothing to do for a while. Runs until cancelled."""
        while True:
            await trio.sleep(SWEEP)
            while self._close_idle(IDLE_AFTER):
                pass
            for session in list(self._shared.leases.held()):
                if self._is_unused(session):
                    await self._shared.leases.release(session)

    def _is_unused(self, session: str) -> bool:
        kept = self._rest(session) > 0 or self._shared.custody.holds(session)
        return not kept and session not in self._open and session not in self._running

    def _rest(self, session: str) -> float:
        """Seconds for which the session is left alone after it stopped or failed."""
        rest = self._resting.get(session, 0.0) - trio.current_time()
        if rest <= 0:
            self._resting.pop(session, None)
        return rest

    def _take(self, lease: Lease, deliveries: Sequence[Delivery]) -> int:
        """Put as many of `deliveries` into the session's lane as there is room for; returns how many."""
        room = self._room(lease.session, deliveries)
        opened = self._opened(lease) if room and not self._stopping else None
        if opened is None:
            return 0
        try:
            opened.inbox.send_nowait(deliveries[:room])
        except (anyio.WouldBlock, anyio.BrokenResourceError, anyio.ClosedResourceError):
            return 0
        opened.used = trio.current_time()
        return room

    def _room(self, session: str, deliveries: Sequence[Delivery]) -> int:
        """How many of `deliveries`, which are in custody already, the session may hold."""
        custody, new = self._shared.custody, len(deliveries)
        held_before = custody.size(session) - sum(len(each.data) for each in deliveries)
        if held_before > HELD_BYTES:
            return 0
        return max(0, min(new, HELD_PER_LEVEL - custody.count(session, deliveries[0].level) + new))

    def _opened(self, lease: Lease) -> _Open | None:
        session = lease.session
        if session not in self._open:
            # The engine of its last lane may still be closing: two of one session would be in each other's way.
            if session in self._running:
                return None
            if self._is_full() and not self._close_idle(0.0):
                return None
            channel: tuple[SendEnd[Sequence[Delivery]], ReceiveEnd[Sequence[Delivery]]] = open_channel(
                WAITING
            )
            send, receive = channel
            self._open[session] = _Open(lease, send, trio.current_time())
            self._running.add(session)
            self._nursery.start_soon(self._run, session, self._open[session], receive)
        return self._open[session]

    def _is_full(self) -> bool:
        return len(self._open) >= self._shared.settings.storycast.max_sessions

    def _idle(self, after: float) -> Sequence[str]:
        """The sessions that have had nothing to do for `after` seconds at least; what is paused is nothing to do."""
        before, waiting = trio.current_time() - after, self._shared.custody.waiting
        return [name for name, each in self._open.items() if each.used <= before and not waiting(name)]

    def _close_idle(self, after: float) -> bool:
        """Close the lane that has had nothing to do for longest, and for `after` seconds at least, if there is one."""
        idle = self._idle(after)
        if idle:
            self._open.pop(min(idle, key=lambda name: self._open[name].used)).inbox.close()
        return bool(idle)

    async def _run(self, session: str, opened: _Open, inbox: ReceiveEnd[Sequence[Delivery]]) -> None:
        try:
            with inbox, opened.inbox:
                await self._live(session, opened, inbox)
        except* Superseded as problem:
            log.warning("lane taken over", extra={"session": session, "problem": str(problem.exceptions[0])})
            await self._moved(session, opened)
        except* EngineFailure as problem:
            await self._engine_failed(session, opened, gravest(problem))
        except* Exception as error:  # whatever it is, it must not reach the other sessions
            log.exception("lane failed", extra={"session": session})
            cause = gravest(error)
            why = f"{type(cause).__name__}: {cause}"
            await self._outgoing.send(self._alert(session, "lane-failed", why))
            await self._end(session, opened, delay=FAILED_DELAY)
        else:
            await self._after(session, opened)
        finally:
            self._running.discard(session)
            self._shared.jobs.forget(session)

    async def _after(self, session: str, opened: _Open) -> None:
        """The lane has ended by itself."""
        if opened.lease.lost.is_set():
            await self._moved(session, opened)
        elif stop := self._stop_of(session, opened):
            await self._park(opened, stop, delay=PARKED_DELAY)
        # Else it drained: what is held now is with the publisher, or for the end of the worker to hand over.

    async def _moved(self, session: str, opened: _Open) -> None:
        """Another worker has the session, or may have it."""
        stop = self._stop_of(session, opened)
        if stop is not None and stop.kind in FOR_A_PERSON:
            await self._shared.leases.park(opened.lease, stop)  # which holds for whoever has it
        await self._end(session, opened, delay=MOVED_DELAY, rest=0.0)

    def _stop_of(self, session: str, opened: _Open) -> Alert | None:
        """What stopped the session, if anything did."""
        found = opened.lane.planner.statistics() if opened.lane else None
        if found is None or found.parked is None or found.parked == HANDED_OVER:
            return None
        return self._alert(session, found.parked, found.reason or found.parked)

    async def _engine_failed(self, session: str, opened: _Open, failure: BaseException) -> None:
        """The engine could not be opened, or said at once that the account is lost."""
        assert isinstance(failure, EngineFailure)
        log.warning("the engine cannot serve", extra={"session": session, "problem": str(failure)})
        alert = self._alert(session, failure.kind, str(failure))
        # Tried again every few seconds, it is told once, and again when it says something else or had been open.
        if alert.kind in FOR_A_PERSON or self._told.get(session) != alert.reason:
            self._told[session] = alert.reason
            await self._outgoing.send(alert)
        await self._park(opened, alert, delay=AWAY_DELAY)

    async def _park(self, opened: _Open, alert: Alert, *, delay: float) -> None:
        """Leave the session of `alert` alone for a while, or until a person has acted."""
        if alert.kind in FOR_A_PERSON:
            await self._shared.leases.park(opened.lease, alert)
            delay = PARKED_DELAY
        await self._end(alert.session_id, opened, delay=delay)

    async def _live(self, session: str, opened: _Open, inbox: ReceiveEnd[Sequence[Delivery]]) -> None:
        async with trio.open_nursery() as guarded:
            guarded.start_soon(_cancel_when_lost, opened.lease, guarded.cancel_scope)
            async with self._shared.open_engine(session) as engine, trio.open_nursery() as nursery:
                await check_account(engine)
                self._told.pop(session, None)
                opened.lane = await nursery.start(self._lane(session, opened, inbox, engine))
                if self._stopping:
                    opened.lane.leave()
            guarded.cancel_scope.cancel()

    def _lane(
        self,
        session: str,
        opened: _Open,
        inbox: ReceiveEnd[Sequence[Delivery]],
        engine: Engine,
    ) -> Callable[..., Awaitable[Lane]]:
        shared = self._shared
        ports = Ports(
            engine=engine,
            histories=shared.histories,
            jobs=shared.jobs,
            lists=shared.lists,
            now=shared.now,
            random=shared.random,
            fence=opened.lease.hold,
            is_open=opened.lease.valid,
            suppressed=shared.suppressed,
            max_starts=shared.settings.storycast.max_starts,
        )
        return partial(
            run_lane,
            inbox,
            self._outgoing.clone(),
            ports=ports,
            options=shared.settings.of_session(session).smart_send,
            limits=shared.settings.limits(),
        )

    async def _end(self, session: str, opened: _Open, *, delay: float, rest: float | None = None) -> None:
        """The lane is gone: what it held goes back to the stream, and its session rests for a while."""
        if self._open.get(session) is opened:
            # While it is still known here no other lane can begin, whose stories this would be taken to mean.
            await self._outgoing.send(SessionLeft(session_id=session))
        if self._open.get(session) is opened:
            del self._open[session]
            self._resting[session] = trio.current_time() + (delay if rest is None else rest)
            await self._shared.custody.hand_back_session(session, delay=delay)

    def _alert(self, session: str, kind: str, reason: str) -> Alert:
        return Alert(session_id=session, kind=kind, reason=reason, at=self._shared.now())


async def _cancel_when_lost(lease: Lease, scope: trio.CancelScope) -> None:
    await lease.lost.wait()
    scope.cancel()


def busy_delay(attempt: int) -> float:
    """Seconds after which a session that has no room is tried again: soon at first, for many are settled at once."""
    return float(min(BUSY_DELAY, 2.0 ** min(attempt - 1, 10) / 4))


def _keys(deliveries: Iterable[Delivery]) -> list[Hashable]:
    return [delivery.key for delivery in deliveries]
