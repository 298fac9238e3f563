"""The mailbox hands items from asyncio to Trio in lists, bounded, and loses none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import anyio
import nats
import pytest
import trio
import trio.testing
from nats.aio.msg import Msg

from transports.bridge import Bridge, open_bridge
from transports.mailbox import Mailbox
from transports.server import open_server


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    async with open_bridge() as opened:
        yield opened


async def put_all(mailbox: Mailbox[int], items: Iterable[int]) -> None:
    for item in items:
        await mailbox.put(item)


@pytest.mark.trio
async def test_a_burst_comes_as_one_list_in_order(bridge: Bridge) -> None:
    mailbox = Mailbox[int](bridge, bound=100)
    await bridge.call(put_all, mailbox, range(50))
    assert await mailbox.receive() == list(range(50))


@pytest.mark.trio
async def test_receive_waits_for_the_first_item(bridge: Bridge) -> None:
    mailbox = Mailbox[int](bridge, bound=100)
    got: list[list[int]] = []

    async def reader() -> None:
        got.append(await mailbox.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        assert got == []
        await bridge.call(put_all, mailbox, [1, 2])
    assert got == [[1, 2]]


@pytest.mark.trio
async def test_put_waits_at_the_bound_until_the_list_is_taken(bridge: Bridge) -> None:
    mailbox = Mailbox[int](bridge, bound=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge.call, put_all, mailbox, range(25))
        await trio.testing.wait_all_tasks_blocked()
        assert (mailbox.statistics().waiting, mailbox.statistics().putters) == (10, 1)
        lists = []
        for _ in range(3):
            lists.append(await mailbox.receive())
            await trio.testing.wait_all_tasks_blocked()
    assert lists == [list(range(10)), list(range(10, 20)), list(range(20, 25))]
    statistics = mailbox.statistics()
    assert (statistics.most, statistics.items, statistics.lists, statistics.putters) == (10, 25, 3, 0)


@pytest.mark.trio
async def test_with_many_putters_each_adds_at_most_one_to_the_bound(bridge: Bridge) -> None:
    mailbox = Mailbox[int](bridge, bound=10)
    got: list[int] = []
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(bridge.call, put_all, mailbox, range(20))
        while len(got) < 8 * 20:
            await trio.testing.wait_all_tasks_blocked()
            got += await mailbox.receive()
    assert sorted(got) == sorted(list(range(20)) * 8)
    assert 10 <= mailbox.statistics().most <= 10 + 7


@pytest.mark.trio
async def test_a_put_cancelled_while_it_waits_keeps_its_item_and_disturbs_no_other(bridge: Bridge) -> None:
    mailbox = Mailbox[int](bridge, bound=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge.call, mailbox.put, 1)
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await bridge.call(mailbox.put, 0)  # cancelled before it began: never handed over
        async with trio.open_nursery() as inner:
            inner.start_soon(bridge.call, mailbox.put, 2)
            await trio.testing.wait_all_tasks_blocked()
            inner.cancel_scope.cancel()
        assert mailbox.statistics().putters == 1
        assert await mailbox.receive() == [1, 2]


@pytest.mark.trio
async def test_cancelling_receive_at_any_moment_loses_no_item(bridge: Bridge) -> None:
    mailbox = Mailbox[int](bridge, bound=3)
    got: list[int] = []
    cancelled = 0

    async def trickle() -> None:
        for item in range(500):
            for _ in range(item % 29):
                await asyncio.sleep(0)
            await mailbox.put(item)

    async def cancel_after(turns: int, scope: trio.CancelScope) -> None:
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bridge.call, trickle)
        for attempt in range(100_000):
            if len(got) == 500:
                break
            with trio.CancelScope() as scope:
                nursery.start_soon(cancel_after, attempt % 5, scope)
                got += await mailbox.receive()
            cancelled += scope.cancelled_caught
    assert got == list(range(500))
    assert cancelled > 50


@pytest.mark.trio
async def test_two_readers_get_each_item_once(bridge: Bridge) -> None:
    mailbox = Mailbox[int](bridge, bound=5)
    got: list[int] = []

    async def read() -> None:
        while True:
            got.extend(await mailbox.receive())

    async def reader() -> None:
        with pytest.raises(anyio.EndOfStream):
            await read()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        nursery.start_soon(reader)
        await bridge.call(put_all, mailbox, range(200))
        mailbox.close()
    assert sorted(got) == list(range(200))


@pytest.mark.trio
async def test_after_close_what_waits_is_received_and_then_the_channel_ends(bridge: Bridge) -> None:
    mailbox = Mailbox[int](bridge, bound=10)
    await bridge.call(put_all, mailbox, [1, 2])
    mailbox.close()
    mailbox.close()
    assert await mailbox.receive() == [1, 2]
    for _ in range(2):
        with pytest.raises(anyio.EndOfStream):
            await mailbox.receive()


@pytest.mark.trio
async def test_close_wakes_whoever_waits_on_either_side(bridge: Bridge) -> None:
    full, empty = Mailbox[int](bridge, bound=1), Mailbox[int](bridge, bound=1)

    async def reader() -> None:
        with pytest.raises(anyio.EndOfStream):
            await empty.receive()

    async def close_both() -> None:
        full.close()
        empty.close()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.call, full.put, 1)
            nursery.start_soon(reader)
            await trio.testing.wait_all_tasks_blocked()
            await bridge.call(close_both)
    assert await full.receive() == [1]


@pytest.mark.trio
async def test_put_after_close_is_refused(bridge: Bridge) -> None:
    mailbox = Mailbox[int](bridge, bound=1)
    mailbox.close()
    with pytest.raises(anyio.ClosedResourceError):
        await bridge.call(mailbox.put, 1)


@pytest.mark.trio
async def test_receive_is_a_checkpoint_also_when_items_wait(bridge: Bridge) -> None:
    mailbox = Mailbox[int](bridge, bound=10)
    await bridge.call(mailbox.put, 1)
    with trio.testing.assert_checkpoints():
        assert await mailbox.receive() == [1]


@pytest.mark.trio
async def test_a_bound_below_one_is_refused(bridge: Bridge) -> None:
    with pytest.raises(ValueError, match="found 0, allowed: at least 1"):
        Mailbox[int](bridge, bound=0)


@pytest.mark.trio
async def test_a_nats_subscription_comes_in_lists_and_a_slow_reader_bounds_the_memory(bridge: Bridge) -> None:
    total = 5000
    async with open_server() as server:
        nc = await bridge.call(nats.connect, server.url)
        mailbox = Mailbox[Msg](bridge, bound=64)
        subscription = await bridge.call(nc.subscribe, "numbers", cb=mailbox.put)

        async def publish() -> None:
            for n in range(total):
                await nc.publish("numbers", b"%d" % n)
            await nc.flush()

        await bridge.call(publish)
        got: list[int] = []
        with trio.fail_after(20):
            while len(got) < total:
                await trio.testing.wait_all_tasks_blocked()
                assert subscription.pending_msgs <= total
                got += [int(msg.data) for msg in await mailbox.receive()]
        await bridge.call(nc.close)
    assert got == list(range(total))
    statistics = mailbox.statistics()
    assert statistics.most <= 64
    assert statistics.lists <= total / 32


@pytest.mark.trio
async def test_once_its_bound_is_lifted_nobody_waits_to_put_something_in() -> None:
    async with open_bridge() as bridge:
        mailbox = Mailbox[int](bridge, bound=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bridge.call, mailbox.put, 1)
            while not mailbox.statistics().putters:
                await trio.lowlevel.checkpoint()
            mailbox.lift_bound()
        await bridge.call(mailbox.put, 2)
        assert await mailbox.receive() == [1, 2]
