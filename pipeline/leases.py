"""Leases: of all workers one serves a session, and one that may have lost it knows so before its next call.

A lease counts from the moment its renewal was sent, by this machine's monotonic clock: that goes on while the process
is frozen or its event loop is blocked, so whoever wakes up late finds its leases not valid.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import ceil, inf
from secrets import token_hex
from types import MappingProxyType
from typing import TypeVar

import trio

from stages.errors import StoreFailed
from stages.messages import Alert
from transports.bus import Bus
from transports.errors import TransportError
from transports.leases import (
    Claim,
    begin_term,
    claimed,
    give_up,
    renew_term,
    stake,
    stake_all,
)
from transports.locks import Locks
from transports.parking import park, parked, unpark

T = TypeVar("T")

TTL = 8.0
MARGIN = 1 / 8
"""This part of a lease's time is not used: for clocks that run unlike, and for what was begun just before its end."""
RENEWALS = 4
"""So many times a lease is renewed in its time."""
AT_ONCE = 256
GIVE_UP = 1.0
TRIES = 3

log = logging.getLogger("storycast")


class Lease:
    """One session, held by this worker.

    `revision` grows with every renewal and every change of owner: of two revisions the larger is the later owner's.
    `lost` is set once another worker has the session, or had it in between. `parked` is the kind of the failure for
    which it waits for a person.
    """

    def __init__(self, session: str, claim: Claim, *, revision: int, term: int, until: float) -> None:
        self.session = session
        self.claim = claim
        self.revision = revision
        self.term = term
        self.lost = trio.Event()
        self.parked: str | None = None
        self._until = until
        self._waiting = trio.lowlevel.ParkingLot()

    def valid(self) -> bool:
        """Whether no other worker can have the session now."""
        return trio.current_time() < self._until

    async def hold(self) -> bool:
        """Return while the lease is valid: at once, or when it is again. Never returns once it is lost or released.

        There is no checkpoint between the look at the clock and the return. Returns whether it had to wait.
        """
        waited = False
        while not self.valid():
            waited = True
            await self._waiting.park()
        return waited

    def renewed(self, revision: int, until: float) -> None:
        """It is valid until then, and whoever waits for that goes on."""
        self.revision = revision
        self._until = until
        self._waiting.unpark_all()

    def end(self) -> None:
        """It is not valid from now on, and will not be again."""
        self._until = -inf


class Leases:
    """The sessions that this worker holds; `keep` must run for as long as any shall stay valid.

    `owner` is the worker's name for people; two workers of one name are still two. `ttl` is in seconds, 1 at least: for
    so long nobody else gets the session of a worker that has died.
    """

    def __init__(self, bus: Bus, *, owner: str, ttl: float = TTL) -> None:
        if ttl < 1:
            raise ValueError("a lease of less than a second: NATS counts whole ones")
        self._bus = bus
        self._owner = owner
        self._nonce = token_hex(8)
        self._ttl = ceil(ttl)
        self._usable = ttl * (1 - MARGIN)
        self._every = ttl / RENEWALS
        self._held: dict[str, Lease] = {}
        self._locks = Locks()
        self._failing = False

    @property
    def owner(self) -> str:
        """The name of this worker."""
        return self._owner

    async def owner_of(self, session: str) -> str | None:
        """The name of the worker that has `session` now, None if nobody has. Raises `StoreFailed`."""
        try:
            claim = (await claimed(self._bus, session)).claim
        except TransportError as error:
            raise StoreFailed(f"the owner of session {session} cannot be asked for: {error}") from error
        return None if claim is None else claim.worker

    def held(self) -> Mapping[str, Lease]:
        """The leases that are neither lost nor released, by session."""
        return MappingProxyType(self._held)

    async def acquire(self, session: str) -> Lease | str:
        """The lease of `session`, the same one for all that ask for it; or the name of the worker that has it.

        Raises `StoreFailed` if NATS cannot say.
        """
        await trio.lowlevel.checkpoint()  # whoever asks again and again must let others have their turn
        async with self._locks.of(session):
            try:
                return self._held.get(session) or await self._acquire(session)
            except TransportError as error:
                raise StoreFailed(f"session {session} cannot be claimed: {error}") from error

    async def park(self, lease: Lease, alert: Alert) -> None:
        """Nobody is to serve its session until a person has acted, whoever holds the lease."""
        lease.parked = alert.kind
        try:
            await park(self._bus, alert)
        except TransportError as error:
            log.warning("only this worker knows that a session is stopped", extra={"problem": str(error)})

    async def unpark(self, session: str) -> bool:
        """A person has acted: the session may be served again. False if it was not parked. Raises `StoreFailed`."""
        lease = self._held.get(session)
        was = lease is not None and lease.parked is not None
        try:
            was = was or await parked(self._bus, session) is not None
            await unpark(self._bus, session)
        except TransportError as error:
            raise StoreFailed(f"session {session} cannot be resumed now: {error}") from error
        if lease is not None:
            lease.parked = None
        return was

    async def release(self, session: str) -> None:
        """Give it up, so that another worker can take it at once. If NATS is away it expires by itself."""
        lease = self._held.pop(session, None)
        if lease is None:
            return
        lease.end()
        async with self._locks.of(session):
            await self._give_up(session, lease.claim)

    async def _give_up(self, session: str, claim: Claim) -> None:
        try:
            await give_up(self._bus, session, claim)
        except TransportError as error:
            log.warning("a lease expires by itself", extra={"session": session, "problem": str(error)})

    async def release_all(self) -> None:
        """Give up all of them."""
        await _each(self.release, list(self._held))

    async def keep(self) -> None:
        """Renew all leases, again and again, until cancelled."""
        while True:
            following = trio.current_time() + self._every
            await _each(self._renew_together, _parts(list(self._held.values()), AT_ONCE))
            self._tell()
            await trio.sleep_until(following)

    async def _acquire(self, session: str) -> Lease | str:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        claim = Claim(worker=self._owner, since=since, nonce=self._nonce, term=token_hex(8))
        try:
            return await self._claim(session, claim)
        except trio.Cancelled:
            # What is claimed and not held would keep everybody out until it expires.
            with trio.move_on_after(GIVE_UP, shield=True):
                await self._give_up(session, claim)
            raise

    async def _claim(self, session: str, claim: Claim) -> Lease | str:
        after = 0
        for _ in range(TRIES):
            until = trio.current_time() + self._usable
            if revision := await stake(self._bus, session, claim, after=after, ttl=self._ttl):
                term = await begin_term(self._bus, session, claim)
                lease = Lease(session, claim, revision=revision, term=term, until=until)
                stopped = await parked(self._bus, session)
                lease.parked = None if stopped is None else stopped.kind
                self._held[session] = lease
                return lease
            found = await claimed(self._bus, session)
            if found.claim is not None and found.claim.nonce != self._nonce:
                return found.claim.worker
            after = found.revision
        raise StoreFailed(f"session {session} is being claimed by several workers just now")

    async def _renew_together(self, leases: Sequence[Lease]) -> None:
        """One attempt for all `leases` in one go; those that it does not suffice for get one of their own."""
        free, left = list[Lease](), list[Lease]()
        for lease in leases:
            (free if self._locks.take(lease.session) else left).append(lease)
        until = trio.current_time() + self._usable
        try:
            with trio.move_on_after(self._every):
                left += await self._staked_together(free, until)
        except TransportError as error:
            log.debug("not renewed", extra={"sessions": len(free), "problem": str(error)})
        finally:
            for lease in free:
                self._locks.give_back(lease.session)
        await _each(self._renew, left)

    async def _staked_together(self, leases: Sequence[Lease], until: float) -> Sequence[Lease]:
        """Returns those whose claims have not the revision that they should have."""
        renewals = [(lease.session, lease.claim, lease.revision) for lease in leases]
        overtaken = []
        for lease, found in zip(leases, await stake_all(self._bus, renewals, ttl=self._ttl), strict=True):
            if isinstance(found, TransportError):
                log.debug("not renewed", extra={"session": lease.session, "problem": str(found)})
            elif found is None:
                overtaken.append(lease)
            elif self._held.get(lease.session) is lease:
                lease.renewed(found, until)
        return overtaken

    async def _renew(self, lease: Lease) -> None:
        """One attempt; an answer that takes longer is not waited for, as there may be time for another one."""
        with trio.move_on_after(self._every):
            try:
                async with self._locks.of(lease.session):
                    if self._held.get(lease.session) is lease:
                        await self._renew_in_turn(lease)
            except TransportError as error:
                log.debug("not renewed", extra={"session": lease.session, "problem": str(error)})

    async def _renew_in_turn(self, lease: Lease) -> None:
        until = trio.current_time() + self._usable
        revision = await stake(self._bus, lease.session, lease.claim, after=lease.revision, ttl=self._ttl)
        if revision is None:
            await self._regain(lease)
        elif self._held.get(lease.session) is lease:
            lease.renewed(revision, until)

    async def _regain(self, lease: Lease) -> None:
        """The claim has not our revision: it has expired, or it is our own by a renewal whose answer was lost."""
        found = await claimed(self._bus, lease.session)
        if found.claim is not None and found.claim.term != lease.claim.term:
            self._lose(lease, found.claim.worker)
            return
        until = trio.current_time() + self._usable
        revision = await stake(self._bus, lease.session, lease.claim, after=found.revision, ttl=self._ttl)
        if revision is None:
            return  # somebody was faster: who, the next attempt will tell
        term = await renew_term(self._bus, lease.session, lease.claim, after=lease.term)
        if term is None:
            self._lose(lease, "another worker, for a while")
            await give_up(self._bus, lease.session, lease.claim)
        elif self._held.get(lease.session) is lease:
            lease.term = term
            lease.renewed(revision, until)

    def _lose(self, lease: Lease, to: str) -> None:
        lease.end()
        lease.lost.set()
        if self._held.get(lease.session) is lease:
            del self._held[lease.session]
        log.warning("a lease is lost", extra={"session": lease.session, "to": to})

    def _tell(self) -> None:
        waiting = sum(not lease.valid() for lease in self._held.values())
        if waiting and not self._failing:
            log.warning(
                "leases cannot be renewed over NATS: their sessions wait", extra={"sessions": waiting}
            )
        elif self._failing and not waiting:
            log.info("all leases are valid again")
        self._failing = waiting > 0


def _parts(leases: Sequence[Lease], size: int) -> Sequence[Sequence[Lease]]:
    return [leases[first : first + size] for first in range(0, len(leases), size)]


async def _each(act: Callable[[T], Awaitable[None]], items: Sequence[T]) -> None:
    room = trio.Semaphore(AT_ONCE)

    async def one(item: T) -> None:
        async with room:
            await act(item)

    async with trio.open_nursery() as nursery:
        for item in items:
            nursery.start_soon(one, item)
