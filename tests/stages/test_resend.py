"""resend: batches go out, as many at once as come in up to its width, and results go to the controller alone."""

from __future__ import annotations

from math import inf
from typing import Any

import anyio
import pytest

from stages.delivery import Limits, Sender
from stages.errors import RateLimited
from stages.flow import BatchSettled, Held, Standing, StoryClosed, StoryOpened
from stages.options import SmartSend
from stages.pacing import Pacer
from stages.resend import Resend
from tests.support import (
    EPOCH,
    Hang,
    Pipe,
    ScriptedEngine,
    batch,
    drained,
    filled,
    no_jitter,
    no_leaks,
    result,
    story,
)

pytestmark = pytest.mark.anyio

OF = story(40, options=SmartSend(batch_delay=0, max_concurrent=4))


class Bench:
    """A resend actor between pipes."""

    def __init__(self, engine: ScriptedEngine, *items: Any, width: int = 16, room: float = inf) -> None:
        self.engine = engine
        self.reporter, self.controller = Pipe(room=room), Pipe()
        sender = Sender(engine, Pacer(1_000, random=no_jitter), limits=Limits(), random=no_jitter)
        self.resend = Resend(
            filled(*items), self.reporter.into, self.controller.into, sender=sender, width=width
        )

    async def run(self) -> tuple[list[Any], list[Any]]:
        await self.resend()
        return drained(self.reporter), drained(self.controller)


def batches(count: int) -> list[Any]:
    return [batch(OF, size=4, index=index) for index in range(1, count + 1)]


async def test_each_batch_is_sent_once_and_its_result_goes_to_the_controller_alone() -> None:
    bench = Bench(ScriptedEngine(), *batches(3))
    reported, decided = await bench.run()
    assert bench.engine.sizes == [4, 4, 4]
    assert sorted(item.batch.index for item in decided) == [1, 2, 3]
    assert reported == []
    found = bench.resend.statistics()
    assert (found.batches, found.sent, found.in_flight) == (3, 12, 0)


async def test_an_anchors_result_goes_to_the_controller_and_all_else_to_the_reporter() -> None:
    anchor = result(batch(OF, size=1, role="anchor", index=0))
    others = [
        StoryOpened(story=OF),
        Held(batch=anchor.batch, seconds=1, reason="slow down"),
        BatchSettled(result=anchor, standing=Standing(sent=1)),
        StoryClosed(story=OF, began=EPOCH, sent=1, failed={}, unknown=[], skipped=[]),
    ]
    reported, decided = await Bench(ScriptedEngine(), *others[:2], anchor, *others[2:]).run()
    assert (reported, decided) == (others, [anchor])


async def test_batches_are_out_at_the_same_time_up_to_its_width() -> None:
    bench = Bench(ScriptedEngine(seconds=10), *batches(5), width=2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.resend)
        await anyio.sleep(5)
        assert bench.resend.statistics().in_flight == 2
    assert len(drained(bench.controller)) == 5
    drained(bench.reporter)
    assert anyio.current_time() == pytest.approx(30, abs=0.1)


async def test_waits_are_told_to_the_reporter() -> None:
    reported, decided = await Bench(ScriptedEngine(RateLimited("slow down")), *batches(1)).run()
    assert [type(item) for item in reported] == [Held]
    assert len(decided) == 1


async def test_it_ends_only_when_the_batches_that_are_out_have_come_back() -> None:
    reported, decided = await Bench(ScriptedEngine(seconds=50), *batches(1)).run()
    assert (len(reported), len(decided)) == (0, 1)
    assert anyio.current_time() == pytest.approx(50, abs=1e-3)


async def test_the_controller_hears_of_a_batch_only_after_the_reporter_has_heard_of_its_waits() -> None:
    bench = Bench(ScriptedEngine(RateLimited("slow down")), *batches(1), room=0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.resend)
        await anyio.sleep(60)
        assert bench.controller.out.statistics().current_buffer_used == 0
        assert bench.engine.sizes == [4]
        await bench.reporter.out.receive()
    assert len(drained(bench.controller)) == 1
    assert drained(bench.reporter) == []


async def test_cancelling_it_while_batches_are_out_closes_its_ends() -> None:
    with no_leaks():
        bench = Bench(ScriptedEngine(Hang(), Hang()), *batches(2))
        async with anyio.create_task_group() as tasks:
            await tasks.start(bench.resend)
            await anyio.sleep(10)
            assert bench.resend.statistics().in_flight == 2
            tasks.cancel_scope.cancel()
        assert (drained(bench.reporter), drained(bench.controller)) == ([], [])
        assert bench.resend.statistics().in_flight == 0
        del bench
