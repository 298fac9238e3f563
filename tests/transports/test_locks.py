"""One lock for each key, and none that nobody needs."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from transports.locks import Locks


@pytest.mark.trio
async def test_of_one_key_one_at_a_time_and_keys_do_not_wait_for_each_other() -> None:
    locks, inside = Locks(), list[str]()

    async def visit(key: str, leave: trio.Event) -> None:
        async with locks.of(key):
            inside.append(key)
            await leave.wait()
            inside.remove(key)

    leave = trio.Event()
    async with trio.open_nursery() as nursery:
        for key in ("a", "a", "b"):
            nursery.start_soon(visit, key, leave)
        await wait_all_tasks_blocked()
        assert sorted(inside) == ["a", "b"]
        leave.set()
    assert len(locks) == 0


@pytest.mark.trio
async def test_a_lock_that_others_wait_for_stays_theirs_when_one_of_them_is_cancelled() -> None:
    locks = Locks()

    async def wait() -> None:
        async with locks.of("a"):
            pass

    async with trio.open_nursery() as nursery:
        async with locks.of("a"), trio.open_nursery() as cancelled:
            nursery.start_soon(wait)
            cancelled.start_soon(wait)
            await wait_all_tasks_blocked()
            cancelled.cancel_scope.cancel()
        assert len(locks) == 1
    assert len(locks) == 0
