"""planner: one story after the other, one answer for each batch, and nothing more once the session is parked."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.abc import ObjectReceiveStream

from stages.flow import Batch, Feedback, Story, StoryClosed, StoryOpened, StoryParked
from stages.messages import SessionLearning
from stages.options import SmartSend
from stages.planner import Planner
from stages.waiting import open_line
from tests.support import FULL, Pipe, drained, filled, no_leaks, result, story, taken

pytestmark = pytest.mark.anyio

NOTHING = SessionLearning(
    max_proven_batch_size=0, used_historical_data=False, will_skip_ramping_next_time=False
)


class Bench:
    """A planner over some stories; the test plays engine and controller."""

    def __init__(self, *stories: Story, line: ObjectReceiveStream[Story] | None = None) -> None:
        self.feedback, self.onward = Pipe(), Pipe()
        self.planner = Planner(
            line or filled(*stories), self.feedback.out, self.onward.into, capabilities=FULL
        )

    async def issued(self) -> list[Any]:
        """What it has issued once it waits."""
        await anyio.sleep(1)
        return taken(self.onward)

    def answer(self, batch: Batch, **fields: Any) -> None:
        size = fields.pop("size", 100)
        if batch.role == "anchor" and not fields:
            fields = {"sent": list(batch.recipients[:1]), "untried": len(batch.recipients) - 1}
        went = result(batch, **fields)
        self.feedback.into.send_nowait(Feedback(result=went, size=size, planned=size, learning=NOTHING))


def big(name: str = "sale", **options: Any) -> Story:
    return story(300, story_id=name, options=SmartSend(**options))


async def test_a_story_is_opened_anchored_sent_in_batches_and_closed() -> None:
    bench = Bench(big())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.planner)
        opened, anchor = await bench.issued()
        assert isinstance(opened, StoryOpened)
        bench.answer(anchor)
        [first] = await bench.issued()
        bench.answer(first, size=500)
        [second] = await bench.issued()
        bench.answer(second)
        [closed] = await bench.issued()
    assert isinstance(closed, StoryClosed)
    assert [anchor.role, first.role, second.role] == ["anchor", "batch", "batch"]
    assert [len(first.recipients), len(second.recipients)] == [100, 199]
    assert closed.sent == 300
    assert drained(bench.onward) == []
    bench.feedback.close()
    found = bench.planner.statistics()
    assert (found.stories, found.batches, found.parked) == (1, 3, None)


async def test_the_next_story_is_taken_up_only_after_the_last_one_is_closed() -> None:
    bench = Bench(story(2, story_id="a"), story(2, story_id="b"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.planner)
        _, plain = await bench.issued()
        assert await bench.issued() == []
        bench.answer(plain)
        closed, opened, following = await bench.issued()
        assert (closed.story.story_id, opened.story.story_id) == ("a", "b")
        bench.answer(following)
    assert [type(item) for item in drained(bench.onward)] == [StoryClosed]
    bench.feedback.close()


async def test_with_max_concurrent_it_issues_so_many_and_then_waits() -> None:
    bench = Bench(big(max_concurrent=2))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.planner)
        _, anchor = await bench.issued()
        bench.answer(anchor)
        first, _ = await bench.issued()
        assert await bench.issued() == []
        bench.answer(first)
        assert len(await bench.issued()) == 1
        tasks.cancel_scope.cancel()
    bench.onward.close()
    bench.feedback.close()


@pytest.mark.parametrize("kind", ["account-restricted", "session-lost", "rate-limited", "unavailable"])
async def test_when_the_session_is_parked_it_closes_its_outbox_and_takes_up_nothing_more(kind: str) -> None:
    bench = Bench(big("a"), big("b"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.planner)
        _, anchor = await bench.issued()
        bench.answer(anchor, outcome="parked", failure=kind, reason="463", unsent=anchor.recipients)
        await anyio.sleep(3_600)
        [parked] = drained(bench.onward)
        assert isinstance(parked, StoryParked)
        assert (parked.kind, parked.story.story_id) == (kind, "a")
        found = bench.planner.statistics()
        assert (found.parked, found.stories) == (kind, 1)
        tasks.cancel_scope.cancel()
    bench.feedback.close()


async def test_when_its_line_is_discarded_it_ends_after_the_story_it_is_at() -> None:
    into, line = open_line(10)
    bench = Bench(line=line)
    for name in ("a", "b"):
        await into.send(story(2, story_id=name))
    with anyio.fail_after(3_600):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.planner)
            opened, plain = await bench.issued()
            line.discard()
            await into.send(story(2, story_id="c"))
            assert await bench.issued() == []
            bench.answer(plain)
    [closed] = drained(bench.onward)
    assert (opened.story.story_id, closed.story.story_id) == ("a", "a")
    assert bench.planner.statistics().stories == 1
    bench.feedback.close()


async def test_when_its_line_is_discarded_while_it_waits_it_ends_at_once() -> None:
    _, line = open_line(10)
    bench = Bench(line=line)
    with anyio.fail_after(3_600):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bench.planner)
            assert await bench.issued() == []
            line.discard()
    assert drained(bench.onward) == []
    bench.feedback.close()


async def test_without_stories_it_ends_and_closes_its_outbox() -> None:
    bench = Bench()
    await bench.planner()
    assert drained(bench.onward) == []
    bench.feedback.close()


async def test_cancelling_it_while_a_batch_is_out_closes_its_ends() -> None:
    with no_leaks():
        bench = Bench(big())
        async with anyio.create_task_group() as tasks:
            await tasks.start(bench.planner)
            await bench.issued()
            tasks.cancel_scope.cancel()
        assert not bench.feedback.into.statistics().open_receive_streams
        assert not bench.onward.out.statistics().open_send_streams
        bench.feedback.into.close()
        bench.onward.out.close()
        del bench
