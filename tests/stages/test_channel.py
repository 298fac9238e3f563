"""Channels keep order and bound, end with their senders, lose nothing, and wait only where they must."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint

from stages.channel import ReceiveEnd, SendEnd, open_channel

pytestmark = pytest.mark.anyio


def numbers(bound: int) -> tuple[SendEnd[int], ReceiveEnd[int]]:
    return open_channel(bound)


async def test_what_goes_in_comes_out_in_order_and_then_it_ends() -> None:
    send, receive = numbers(2)

    async def put() -> None:
        async with send:
            for number in range(10):
                await send.send(number)

    async with anyio.create_task_group() as group:
        group.start_soon(put)
        assert [each async for each in receive] == list(range(10))


async def test_it_ends_with_the_last_of_its_senders() -> None:
    send, receive = numbers(4)
    with send.clone() as other:
        send.close()
        await other.send(1)
    assert [each async for each in receive] == [1]
    with pytest.raises(anyio.ClosedResourceError):
        await other.send(2)


async def test_a_full_one_takes_no_more_until_there_is_room() -> None:
    send, receive = numbers(1)
    await send.send(1)
    with pytest.raises(anyio.WouldBlock):
        send.send_nowait(2)
    async with anyio.create_task_group() as group:
        group.start_soon(send.send, 2)
        await anyio.wait_all_tasks_blocked()
        assert await receive.receive() == 1
        assert await receive.receive() == 2
    with pytest.raises(anyio.WouldBlock):
        receive.receive_nowait()


async def test_neither_end_gives_up_its_turn_where_there_is_nothing_to_wait_for() -> None:
    send, receive = numbers(3)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(count)
        await checkpoint()
        before = turns
        for number in range(100):
            await send.send(number)
            await receive.receive()
        assert turns == before
        group.cancel_scope.cancel()


async def test_a_cancelled_reader_takes_nothing_and_the_next_one_gets_it() -> None:
    send, receive = numbers(1)
    with anyio.move_on_after(0.01):
        await receive.receive()
    await send.send(1)
    assert await receive.receive() == 1


async def test_a_cancelled_sender_puts_nothing_in() -> None:
    send, receive = numbers(1)
    await send.send(1)
    with anyio.move_on_after(0.01):
        await send.send(2)
    send.close()
    assert [each async for each in receive] == [1]


async def test_whoever_waits_to_send_hears_that_nobody_receives_any_more() -> None:
    send, receive = numbers(1)
    await send.send(1)
    failed = []

    async def put() -> None:
        try:
            await send.send(2)
        except anyio.BrokenResourceError:
            failed.append(2)

    async with anyio.create_task_group() as group:
        group.start_soon(put)
        await anyio.wait_all_tasks_blocked()
        await receive.aclose()
    assert failed == [2]
    with pytest.raises(anyio.BrokenResourceError):
        await send.send(3)
    with pytest.raises(anyio.ClosedResourceError):
        await receive.receive()


async def test_it_is_for_one_reader_at_a_time() -> None:
    _, receive = numbers(1)
    async with anyio.create_task_group() as group:
        group.start_soon(receive.receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(anyio.BusyResourceError):
            await receive.receive()
        group.cancel_scope.cancel()


async def test_an_end_that_was_closed_as_all_were_cancelled_is_no_failure() -> None:
    send, receive = numbers(1)
    with anyio.CancelScope() as scope:
        scope.cancel()
        receive.close()
        await send.send(1)
    assert scope.cancelled_caught
    other, ended = numbers(1)
    with anyio.CancelScope() as scope:
        scope.cancel()
        other.close()
        await ended.receive()
    assert scope.cancelled_caught
