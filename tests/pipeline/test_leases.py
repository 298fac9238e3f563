"""Of all workers one serves a session; one that may have lost it knows so, and one that only lost NATS goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pipeline.leases import Lease, Leases
from stages.errors import StoreFailed
from tests.nats_support import AT_MOST, Events, eventually, open_nats, open_restartable
from tests.transports.faults import lossy
from transports import bus as bus_module
from transports.bus import Bus, Outbound, Stored, open_bus
from transports.leases import claimed
from transports.streams import ensure
from transports.subjects import BUCKET_LEASES

SHORT = 1.0
LONG = 600.0


@asynccontextmanager
async def open_bucket() -> AsyncIterator[Bus]:
    """A server with its buckets."""
    async with open_nats() as bus:
        await ensure(bus)
        yield bus


@asynccontextmanager
async def kept(leases: Leases) -> AsyncIterator[None]:
    """Renew them while the block lasts."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leases.keep)
        yield
        nursery.cancel_scope.cancel()


async def acquired(leases: Leases, session: str = "main") -> Lease:
    lease = await leases.acquire(session)
    assert isinstance(lease, Lease)
    return lease


async def until(is_it: Callable[[], bool]) -> None:
    """Wait for something that the clock alone brings about."""
    with trio.fail_after(AT_MOST):
        while not is_it():
            await trio.lowlevel.checkpoint()


def none_valid(leases: Leases) -> bool:
    return not any(lease.valid() for lease in leases.held().values())


async def until_free(bus: Bus, session: str = "main") -> None:
    """Wait until the server has forgotten a claim that nobody renews."""
    await eventually(lambda: claimed(bus, session), lambda found: found.claim is None)


async def until_holding(lease: Lease) -> None:
    with trio.fail_after(AT_MOST):
        await lease.hold()


# One at a time


@pytest.mark.trio
async def test_of_two_workers_one_gets_the_session_and_the_other_is_told_whose_it_is() -> None:
    async with open_bucket() as bus:
        one, other = Leases(bus, owner="one", ttl=LONG), Leases(bus, owner="other", ttl=LONG)
        lease = await acquired(one)
        assert await other.acquire("main") == "one"
        assert (lease.valid(), dict(one.held()), dict(other.held())) == (True, {"main": lease}, {})
        await acquired(other, "another")


@pytest.mark.trio
async def test_two_workers_of_one_name_are_still_two() -> None:
    async with open_bucket() as bus:
        await acquired(Leases(bus, owner="worker", ttl=LONG))
        assert await Leases(bus, owner="worker", ttl=LONG).acquire("main") == "worker"


@pytest.mark.trio
async def test_all_that_ask_one_worker_for_a_session_get_the_same_lease() -> None:
    async with open_bucket() as bus:
        leases = Leases(bus, owner="one", ttl=LONG)
        got: list[Lease | str] = []

        async def ask() -> None:
            got.append(await leases.acquire("main"))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask)
        assert got == [await leases.acquire("main")] * 10


@pytest.mark.trio
async def test_a_released_session_is_free_at_once_and_its_next_revision_is_larger() -> None:
    async with open_bucket() as bus:
        one, other = Leases(bus, owner="one", ttl=LONG), Leases(bus, owner="other", ttl=LONG)
        revision = 0
        for leases in (one, other, one):
            lease = await acquired(leases)
            assert lease.revision > revision
            revision = lease.revision
            await leases.release("main")
            assert not lease.valid()
            assert leases.held() == {}


@pytest.mark.trio
async def test_all_are_released_together() -> None:
    async with open_bucket() as bus:
        one, other = Leases(bus, owner="one", ttl=LONG), Leases(bus, owner="other", ttl=LONG)
        for number in range(20):
            await acquired(one, f"session-{number}")
        await one.release_all()
        for number in range(20):
            await acquired(other, f"session-{number}")


@pytest.mark.trio
async def test_a_session_asked_for_again_while_it_is_being_released_is_ours_or_free() -> None:
    async with open_bucket() as bus:
        one, other = Leases(bus, owner="one", ttl=LONG), Leases(bus, owner="other", ttl=LONG)
        await acquired(one)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.release, "main")
            lease = await acquired(one)
        if lease.valid():
            assert await other.acquire("main") == "one"
        else:
            assert isinstance(await other.acquire("main"), Lease)


@pytest.mark.trio
async def test_a_lease_of_less_than_a_second_is_refused() -> None:
    async with open_bucket() as bus:
        with pytest.raises(ValueError, match="less than a second"):
            Leases(bus, owner="one", ttl=0.5)


# Time


@pytest.mark.trio
async def test_the_session_of_a_worker_that_died_is_free_after_a_while_and_its_lease_is_invalid_before() -> (
    None
):
    async with open_bucket() as bus:
        dead, other = Leases(bus, owner="dead", ttl=SHORT), Leases(bus, owner="other", ttl=SHORT)
        lease = await acquired(dead)
        await until(lambda: not lease.valid())
        assert (await claimed(bus, "main")).claim is not None
        await until_free(bus)
        assert (await acquired(other)).revision > lease.revision


@pytest.mark.trio
async def test_a_lease_that_is_kept_outlasts_its_time() -> None:
    async with open_bucket() as bus:
        one, other = Leases(bus, owner="one", ttl=SHORT), Leases(bus, owner="other", ttl=SHORT)
        lease = await acquired(one)
        first, begun = lease.revision, trio.current_time()
        async with kept(one):
            while trio.current_time() < begun + 2 * SHORT:
                assert await other.acquire("main") == "one"
                assert lease.valid()
        assert lease.revision > first


@pytest.mark.trio
async def test_a_process_that_was_frozen_finds_its_lease_invalid_before_anything_else_runs() -> None:
    async with open_bucket() as bus:
        leases = Leases(bus, owner="one", ttl=SHORT)
        async with kept(leases):
            lease = await acquired(leases)
            assert lease.valid()
            time.sleep(SHORT)  # noqa: ASYNC251 # nothing runs meanwhile, as after SIGSTOP
            assert not lease.valid()
            await until_holding(lease)


class LateBus(Bus):
    """Hears only after a while that the first thing is stored: nothing else runs meanwhile."""

    late = True

    async def store(self, message: Outbound) -> Stored:
        """Store it, and freeze once."""
        stored = await super().store(message)
        if self.late:
            self.late = False
            time.sleep(SHORT)  # noqa: ASYNC251 # as above
        return stored


@pytest.mark.trio
async def test_a_lease_counts_from_when_it_was_asked_for_not_from_when_the_answer_came() -> None:
    async with open_bucket() as bus:
        leases = Leases(LateBus(bus.bridge, bus.client, bus.asker), owner="one", ttl=SHORT)
        assert not (await acquired(leases)).valid()


# Holding


@pytest.mark.trio
async def test_while_a_lease_is_valid_nothing_comes_between_the_look_and_the_return() -> None:
    async with open_bucket() as bus:
        lease = await acquired(Leases(bus, owner="one", ttl=LONG))
        with trio.CancelScope() as scope:
            scope.cancel()
            await lease.hold()
            held = True
        assert held


@pytest.mark.trio
async def test_a_lease_that_expired_is_held_again_once_it_is_renewed_if_nobody_had_it_in_between() -> None:
    async with open_bucket() as bus:
        leases = Leases(bus, owner="one", ttl=SHORT)
        lease = await acquired(leases)
        revision = lease.revision
        await until_free(bus)
        async with kept(leases):
            await until_holding(lease)
        assert not lease.lost.is_set()
        assert leases.held() == {"main": lease}
        assert lease.revision > revision


@pytest.mark.trio
@pytest.mark.parametrize("released", [False, True], ids=["and has it", "and gave it up"])
async def test_a_lease_that_another_worker_took_is_lost_and_never_held_again(released: bool) -> None:
    async with open_bucket() as bus:
        one, other = Leases(bus, owner="one", ttl=SHORT), Leases(bus, owner="other", ttl=LONG)
        lease = await acquired(one)
        await until_free(bus)
        await acquired(other)
        if released:
            await other.release("main")
        went_on = False

        async def hold() -> None:
            nonlocal went_on
            await lease.hold()
            went_on = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold)
            nursery.start_soon(one.keep)
            with trio.fail_after(AT_MOST):
                await lease.lost.wait()
            await wait_all_tasks_blocked()
            assert not went_on
            nursery.cancel_scope.cancel()
        assert not lease.valid()
        assert one.held() == {}
        if released:
            await until_free(bus)
            assert (await acquired(one)) is not lease
        else:
            assert await one.acquire("main") == "other"


@pytest.mark.trio
async def test_a_claim_that_a_person_deleted_is_made_again() -> None:
    async with open_bucket() as bus:
        leases = Leases(bus, owner="one", ttl=SHORT)
        lease = await acquired(leases)
        bucket = await bus.call(bus.jetstream.key_value, BUCKET_LEASES)
        await bus.call(bucket.delete, "main")
        async with kept(leases):
            await eventually(lambda: claimed(bus, "main"), lambda found: found.claim == lease.claim)
        assert not lease.lost.is_set()


# Answers that get lost


@pytest.mark.trio
async def test_renewals_whose_answers_are_lost_lose_nothing() -> None:
    async with open_bucket() as plain:
        bus = lossy(plain)
        leases = Leases(bus, owner="one", ttl=SHORT)
        lease = await acquired(leases)
        first, begun = lease.revision, trio.current_time()
        bus.lose = 2
        async with kept(leases):
            await until(lambda: lease.revision > first)
            await until(lambda: trio.current_time() > begun + SHORT)
            assert lease.valid()
        assert not lease.lost.is_set()


@pytest.mark.trio
@pytest.mark.parametrize("lost", [1, 2])
async def test_a_session_whose_claim_lost_its_answer_can_be_had_by_asking_again(lost: int) -> None:
    async with open_bucket() as plain:
        bus = lossy(plain)
        leases, other = Leases(bus, owner="one", ttl=LONG), Leases(plain, owner="other", ttl=LONG)
        bus.lose = lost
        for _ in range(lost):
            with pytest.raises(StoreFailed, match="session main cannot be claimed: "):
                await leases.acquire("main")
            assert leases.held() == {}
            assert await other.acquire("main") == "one"
        assert (await acquired(leases)).valid()


# A server that is away


@pytest.mark.trio
async def test_while_the_server_is_gone_leases_are_invalid_but_not_lost_and_then_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bus_module, "CALL_TIMEOUT", 0.1)
    events = Events()
    async with open_restartable(tmp_path) as server:
        await server.start()
        async with open_bus(server.url, on_event=events) as bus:
            await ensure(bus)
            leases = Leases(bus, owner="one", ttl=SHORT)
            lease = await acquired(leases)
            await acquired(leases, "released-meanwhile")
            async with kept(leases):
                await server.stop()
                await events.until("is lost")
                with pytest.raises(StoreFailed):
                    await leases.acquire("other")
                await leases.release("released-meanwhile")
                assert "a lease expires by itself" in caplog.text
                await until(lambda: "leases cannot be renewed" in caplog.text)
                assert not lease.valid()
                with caplog.at_level(logging.INFO, logger="storycast"):
                    await server.start()
                    await until_holding(lease)
                    await until(lambda: "all leases are valid again" in caplog.text)
            assert not lease.lost.is_set()
            assert caplog.text.count("leases cannot be renewed") == 1
            assert await Leases(bus, owner="other", ttl=SHORT).acquire("main") == "one"


# Races


class Racer:
    """A worker that takes sessions, gives them up, and freezes with some in hand: for good, or to go on with them."""

    def __init__(self, bus: Bus, everybody: list[Leases], random: Random) -> None:
        self._bus = bus
        self._everybody = everybody
        self._random = random
        self.taken = 0

    async def run(self) -> None:
        """Three stretches of being alive; the second one begins with a thaw, the third one with a death."""
        leases = self._born()
        for stretch in range(3):
            if stretch == 1:
                await until(partial(none_valid, leases))
            if stretch == 2:
                leases = self._born()
            async with kept(leases):
                for _ in range(7):
                    await self._turn(leases)
                    await leases.release_all()
                await self._turn(leases)
        await leases.release_all()

    def _born(self) -> Leases:
        self._everybody.append(Leases(self._bus, owner=f"racer-{len(self._everybody)}", ttl=SHORT))
        return self._everybody[-1]

    async def _turn(self, leases: Leases) -> None:
        """Take a session, however long that takes, and have it for a while."""
        session = self._random.choice(("one", "two"))
        while not (isinstance(lease := await leases.acquire(session), Lease) and lease.valid()):
            self._look()
            if isinstance(lease, str):  # who waits gives up what it has, lest two wait for each other
                await leases.release_all()
        self.taken += 1
        for _ in range(self._random.randrange(30)):
            await trio.lowlevel.checkpoint()
            self._look()

    def _look(self) -> None:
        for session in ("one", "two"):
            leases = [its.held()[session] for its in self._everybody if session in its.held()]
            assert sum(lease.valid() for lease in leases) <= 1, session


@pytest.mark.trio
async def test_however_workers_race_and_freeze_no_two_have_a_valid_lease_of_one_session() -> None:
    random, everybody = Random(7), list[Leases]()
    async with open_bucket() as bus:
        racers = [Racer(bus, everybody, random) for _ in range(3)]
        async with trio.open_nursery() as nursery:
            for racer in racers:
                nursery.start_soon(racer.run)
    assert [racer.taken for racer in racers] == [24] * 3
