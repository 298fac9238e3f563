"""The event loops the tests run on: hours pass at once, in the right order, and from 0 in every test."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from tests.virtual_loop import VirtualLoop

pytestmark = pytest.mark.anyio


async def test_a_sleep_takes_exactly_its_time_on_the_clock_of_the_loop() -> None:
    began = anyio.current_time()
    await anyio.sleep(36_000)
    assert anyio.current_time() - began == pytest.approx(36_000, abs=1e-6)


async def test_sleepers_wake_in_the_order_of_their_deadlines() -> None:
    woken: list[tuple[int, float]] = []

    async def sleeper(seconds: int) -> None:
        await anyio.sleep(seconds)
        woken.append((seconds, round(anyio.current_time() - began, 6)))

    began = anyio.current_time()
    async with anyio.create_task_group() as sleepers:
        for seconds in (30, 10, 20):
            sleepers.start_soon(sleeper, seconds)
    assert woken == [(10, 10), (20, 20), (30, 30)]


async def test_no_time_passes_while_a_task_can_run() -> None:
    began = anyio.current_time()
    with anyio.move_on_after(5) as scope:
        for _ in range(200):
            await anyio.lowlevel.checkpoint()
    assert not scope.cancelled_caught
    assert anyio.current_time() == began


async def test_a_deadline_passes_when_everybody_waits() -> None:
    began = anyio.current_time()
    with anyio.move_on_after(120) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert anyio.current_time() - began == pytest.approx(120, abs=1e-6)


def test_other_threads_still_wake_the_virtual_loop() -> None:
    async def from_another_thread() -> int:
        return await asyncio.to_thread(lambda: 7)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(from_another_thread()) == 7
        assert runner.get_loop().time() == 0
