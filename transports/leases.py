"""Claims on sessions, kept in the key-value bucket `storycast_leases`: one that is not renewed disappears by itself.

Beside a session's claim is its term: the last acquisition there was, kept for ever. Where a claim expired and nobody
has one now, only the term tells whether another worker had the session in between.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from transports.bus import Bus, Outbound
from transports.entries import erase, read, replace, replacement, revision_in
from transports.errors import TransportError
from transports.subjects import BUCKET_LEASES, key_subject


class Claim(Struct, frozen=True, kw_only=True):
    """Who has a session: `worker` is for people, `nonce` is one run of one worker, `term` one acquisition by it."""

    worker: str
    since: str
    nonce: str
    term: str


class Claimed(Struct, frozen=True):
    """What is known of a session: `claim` is None if nobody has it. A renewal must name `revision`."""

    revision: int
    claim: Claim | None


UNKNOWN = Claim(worker="unknown", since="", nonce="", term="")
"""A claim that cannot be read: somebody's it is."""


async def claimed(bus: Bus, session: str) -> Claimed:
    """Who has `session` now. Raises `TransportError`."""
    entry = await read(bus, BUCKET_LEASES, session)
    if entry.value is None:
        return Claimed(entry.revision, None)
    try:
        return Claimed(entry.revision, msgspec.json.decode(entry.value, type=Claim))
    except msgspec.MsgspecError:
        return Claimed(entry.revision, UNKNOWN)


async def stake(bus: Bus, session: str, claim: Claim, *, after: int, ttl: int) -> int | None:
    """Claim `session`, or renew a claim, for `ttl` whole seconds, if `after` is still its revision: 0 for none at all.

    Returns the claim's revision, or None if somebody has written since. Raises `TransportError`: then it may be claimed
    all the same.
    """
    return await replace(bus, BUCKET_LEASES, session, msgspec.json.encode(claim), after=after, ttl=ttl)


async def stake_all(
    bus: Bus, renewals: Sequence[tuple[str, Claim, int]], *, ttl: int
) -> Sequence[int | TransportError | None]:
    """As `stake` for each session, claim and `after` in `renewals`, all at once; the errors are returned."""
    messages = [
        replacement(BUCKET_LEASES, session, msgspec.json.encode(claim), after=after, ttl=ttl)
        for session, claim, after in renewals
    ]
    return [revision_in(found) for found in await bus.store_all(messages)]


async def give_up(bus: Bus, session: str, claim: Claim) -> None:
    """Take the claim of this term away, so that another worker can have one at once. Raises `TransportError`."""
    found = await claimed(bus, session)
    if found.claim is not None and found.claim.term == claim.term:
        await erase(bus, BUCKET_LEASES, session, revision=found.revision)


async def begin_term(bus: Bus, session: str, claim: Claim) -> int:
    """Note that `session` was acquired anew: whoever had it before has lost it for good. Raises `TransportError`."""
    return (
        await bus.store(Outbound(key_subject(BUCKET_LEASES, _term(session)), claim.term.encode()))
    ).sequence


async def renew_term(bus: Bus, session: str, claim: Claim, *, after: int) -> int | None:
    """Make sure that nobody has acquired `session` since `claim` did; None if somebody has. Raises `TransportError`.

    It is a write, because a cluster's majority agrees on writes only. `after` is what this, or `begin_term`, returned.
    """
    key, value = _term(session), claim.term.encode()
    if revision := await replace(bus, BUCKET_LEASES, key, value, after=after):
        return revision
    found = await read(bus, BUCKET_LEASES, key)
    if found.value != value:
        return None
    return await replace(bus, BUCKET_LEASES, key, value, after=found.revision)


def _term(session: str) -> str:
    return f"{session}.term"
