"""A claim on a session is one worker's alone; it goes by itself, or is taken away, and leaves nothing in the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from tests.nats_support import eventually, open_nats
from tests.transports.faults import lossy
from transports.bus import Bus, Outbound
from transports.errors import Unreachable
from transports.leases import UNKNOWN, Claim, Claimed, begin_term, claimed, give_up, renew_term, stake
from transports.streams import ensure
from transports.subjects import BUCKET_LEASES, key_subject

ONE = Claim(worker="one", since="2026-11-21T09:30:00+00:00", nonce="a", term="a1")
OTHER = msgspec.structs.replace(ONE, worker="other", nonce="b", term="b1")
LONG = 600


@asynccontextmanager
async def open_bucket() -> AsyncIterator[Bus]:
    """A server with its buckets."""
    async with open_nats() as bus:
        await ensure(bus)
        yield bus


async def staked(bus: Bus, claim: Claim, *, after: int = 0, ttl: int = LONG) -> int:
    revision = await stake(bus, "main", claim, after=after, ttl=ttl)
    assert revision is not None
    return revision


@pytest.mark.trio
async def test_a_session_that_is_claimed_can_be_claimed_by_nobody_else() -> None:
    async with open_bucket() as bus:
        assert await claimed(bus, "main") == Claimed(0, None)
        revision = await staked(bus, ONE)
        assert await stake(bus, "main", OTHER, after=0, ttl=LONG) is None
        assert await claimed(bus, "main") == Claimed(revision, ONE)
        assert await stake(bus, "other", OTHER, after=0, ttl=LONG) is not None


@pytest.mark.trio
async def test_a_renewal_needs_the_last_revision() -> None:
    async with open_bucket() as bus:
        first = await staked(bus, ONE)
        second = await staked(bus, ONE, after=first)
        assert second > first
        assert await stake(bus, "main", ONE, after=first, ttl=LONG) is None


@pytest.mark.trio
async def test_a_claim_that_is_not_renewed_goes_by_itself_and_the_next_revision_is_larger() -> None:
    async with open_bucket() as bus:
        first = await staked(bus, ONE, ttl=1)
        await eventually(lambda: claimed(bus, "main"), lambda found: found == Claimed(0, None))
        assert await staked(bus, OTHER) > first


@pytest.mark.trio
async def test_a_claim_that_is_given_up_is_free_at_once_and_the_next_revision_is_larger() -> None:
    async with open_bucket() as bus:
        first = await staked(bus, ONE)
        await give_up(bus, "main", ONE)
        assert await claimed(bus, "main") == Claimed(0, None)
        assert await staked(bus, OTHER) > first


@pytest.mark.trio
async def test_nobody_gives_up_what_is_anothers_by_now() -> None:
    async with open_bucket() as bus:
        revision = await staked(bus, OTHER)
        await give_up(bus, "main", ONE)
        await give_up(bus, "never-claimed", ONE)
        assert await claimed(bus, "main") == Claimed(revision, OTHER)


@pytest.mark.trio
async def test_what_a_person_deleted_is_free() -> None:
    async with open_bucket() as bus:
        await staked(bus, ONE)
        bucket = await bus.call(bus.jetstream.key_value, BUCKET_LEASES)
        await bus.call(bucket.delete, "main")
        found = await claimed(bus, "main")
        assert found.claim is None
        await staked(bus, OTHER, after=found.revision)


@pytest.mark.trio
@pytest.mark.parametrize("value", [b"", b"not JSON", b"{}"])
async def test_a_claim_that_cannot_be_read_is_somebodys(value: bytes) -> None:
    async with open_bucket() as bus:
        stored = await bus.store(Outbound(key_subject(BUCKET_LEASES, "main"), value))
        assert await claimed(bus, "main") == Claimed(stored.sequence, UNKNOWN)


@pytest.mark.trio
async def test_a_term_lasts_until_another_begins() -> None:
    async with open_bucket() as bus:
        first = await begin_term(bus, "main", ONE)
        renewed = await renew_term(bus, "main", ONE, after=first)
        assert renewed is not None
        await begin_term(bus, "other", OTHER)
        assert await renew_term(bus, "main", ONE, after=renewed) is not None
        await begin_term(bus, "main", OTHER)
        assert await renew_term(bus, "main", ONE, after=renewed) is None


@pytest.mark.trio
async def test_a_term_whose_renewal_lost_its_answer_goes_on() -> None:
    async with open_bucket() as plain:
        bus = lossy(plain)
        first = await begin_term(bus, "main", ONE)
        bus.lose = 1
        with pytest.raises(Unreachable):
            await renew_term(bus, "main", ONE, after=first)
        assert await renew_term(bus, "main", ONE, after=first) is not None
