"""planner: one story after the other, one answer for each batch, and nothing counts before it is stored."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.abc import ObjectReceiveStream

from stages.checkpoint import Checkpoint, MemoryJobs
from stages.control import Control, Order
from stages.course import ANOTHER_LIST
from stages.errors import StoreFailed, Superseded
from stages.flow import Batch, BatchSettled, Feedback, Story, StoryClosed, StoryOpened, StoryParked
from stages.ingest import InHand
from stages.messages import SessionLearning
from stages.options import SmartSend
from stages.planner import Planner
from stages.ranges import Ranges
from stages.waiting import open_line
from tests.support import (
    EPOCH,
    FULL,
    SESSION,
    Pipe,
    drained,
    filled,
    no_jitter,
    no_leaks,
    result,
    story,
    taken,
    virtual_now,
)

pytestmark = pytest.mark.anyio

NOTHING = SessionLearning(
    max_proven_batch_size=0, used_historical_data=False, will_skip_ramping_next_time=False
)


class Store(MemoryJobs):
    """Remembers every checkpoint, and fails the next saves with `failures`, None being none."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[Checkpoint] = []
        self.failures: list[StoreFailed | Superseded | None] = []

    async def save(self, checkpoint: Checkpoint) -> None:
        if self.failures and (failure := self.failures.pop(0)):
            raise failure
        self.history.append(checkpoint)
        await super().save(checkpoint)

    @property
    def last(self) -> Checkpoint:
        return self.history[-1]


class Bench:
    """A planner over some stories; the test plays engine and controller."""

    def __init__(self, *stories: Story, line: ObjectReceiveStream[Story] | None = None) -> None:
        self.feedback, self.onward, self.jobs = Pipe(), Pipe(), Store()
        self.control, self.seen = Control(), InHand(virtual_now)
        self.planner = Planner(
            line or filled(*stories),
            self.feedback.out,
            self.onward.into,
            capabilities=FULL,
            jobs=self.jobs,
            now=virtual_now,
            random=no_jitter,
            control=self.control,
            seen=self.seen,
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
        settled, first = await bench.issued()
        assert (settled.standing.sent, settled.result.batch) == (1, anchor)
        bench.answer(first, size=500)
        settled, second = await bench.issued()
        assert (settled.standing.sent, settled.result.batch) == (101, first)
        assert bench.planner.statistics().story == "sale"
        bench.answer(second)
        settled, closed = await bench.issued()
        assert (settled.standing.sent, settled.result.batch) == (300, second)
    assert isinstance(closed, StoryClosed)
    assert [anchor.role, first.role, second.role] == ["anchor", "batch", "batch"]
    assert [len(first.recipients), len(second.recipients)] == [100, 199]
    assert closed.sent == 300
    assert drained(bench.onward) == []
    bench.feedback.close()
    found = bench.planner.statistics()
    assert (found.stories, found.batches, found.parked, found.story) == (1, 3, None, None)


async def test_the_next_story_is_taken_up_only_after_the_last_one_is_closed() -> None:
    bench = Bench(story(2, story_id="a"), story(2, story_id="b"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.planner)
        _, plain = await bench.issued()
        assert await bench.issued() == []
        bench.answer(plain)
        _, closed, opened, following = await bench.issued()
        assert (closed.story.story_id, opened.story.story_id) == ("a", "b")
        bench.answer(following)
    assert [type(item) for item in drained(bench.onward)] == [BatchSettled, StoryClosed]
    bench.feedback.close()


async def test_with_max_concurrent_it_issues_so_many_and_then_waits() -> None:
    bench = Bench(big(max_concurrent=2))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.planner)
        _, anchor = await bench.issued()
        bench.answer(anchor)
        _, first, _ = await bench.issued()
        assert await bench.issued() == []
        bench.answer(first)
        assert [type(item) for item in await bench.issued()] == [BatchSettled, Batch]
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
        settled, parked = drained(bench.onward)
        assert isinstance(settled, BatchSettled)
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
    _, closed = drained(bench.onward)
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


# Checkpoints


async def test_a_batch_goes_out_only_once_it_is_stored_that_it_is_out() -> None:
    bench = Bench(big(max_concurrent=2))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.planner)
        _, anchor = await bench.issued()
        bench.answer(anchor)
        _, first, second = await bench.issued()
        _, checkpoint = bench.jobs.history
        assert [Ranges.unpacked(retry.places) for retry in checkpoint.out] == [
            Ranges(batch.places) for batch in (first, second)
        ]
        assert (checkpoint.anchored, list(Ranges.unpacked(checkpoint.sent))) == (True, [0])
        bench.answer(second)
        await bench.issued()
        assert len(bench.jobs.last.out) == 2
        tasks.cancel_scope.cancel()
    bench.onward.close()
    bench.feedback.close()


async def test_a_result_is_told_and_the_next_batch_goes_out_only_after_the_checkpoint_is_stored() -> None:
    bench = Bench(big())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.planner)
        _, anchor = await bench.issued()
        bench.jobs.failures = [StoreFailed("down")] * 3
        bench.answer(anchor)
        assert await bench.issued() == []
        await anyio.sleep(600)
        assert [type(item) for item in await bench.issued()] == [BatchSettled, Batch]
        found = bench.planner.statistics()
        assert (found.checkpoints, found.store_failures) == (2, 3)
        tasks.cancel_scope.cancel()
    bench.onward.close()
    bench.feedback.close()


async def test_while_the_store_is_down_it_is_asked_ever_more_seldom() -> None:
    bench = Bench(big())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.planner)
        _, anchor = await bench.issued()
        bench.jobs.failures = [StoreFailed("down")] * 10_000
        bench.answer(anchor)
        await anyio.sleep(3_600)
        assert 30 < bench.planner.statistics().store_failures < 400
        tasks.cancel_scope.cancel()
    bench.onward.close()
    bench.feedback.close()


async def test_a_story_that_was_taken_over_ends_the_planner() -> None:
    bench = Bench(big())
    caught = list[Exception]()
    async with anyio.create_task_group() as tasks:

        async def plan() -> None:
            try:
                await bench.planner()
            except Superseded as error:
                caught.append(error)

        tasks.start_soon(plan)
        _, anchor = await bench.issued()
        bench.jobs.failures = [Superseded("another worker has it")]
        bench.answer(anchor)
    assert len(caught) == 1
    assert drained(bench.onward) == []
    bench.feedback.close()


async def test_a_story_that_goes_well_is_stored_before_its_first_call_and_after_each_batch() -> None:
    bench = Bench(big())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.planner)
        _, anchor = await bench.issued()
        assert len(bench.jobs.history) == 1
        bench.answer(anchor)
        _, first = await bench.issued()
        bench.answer(first)
        _, second = await bench.issued()
        bench.answer(second)
        _, third = await bench.issued()
        bench.answer(third)
    assert [len(Ranges.unpacked(checkpoint.sent)) for checkpoint in bench.jobs.history] == [
        0,
        1,
        101,
        201,
        300,
    ]
    drained(bench.onward)
    bench.feedback.close()


async def test_a_plain_story_that_goes_well_is_stored_once_before_its_call() -> None:
    bench = Bench(story(2))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.planner)
        _, plain = await bench.issued()
        bench.jobs.failures = [StoreFailed("down")] * 9
        bench.answer(plain)
    assert [type(item) for item in drained(bench.onward)] == [BatchSettled, StoryClosed]
    assert len(bench.jobs.history) == 1
    bench.feedback.close()


async def test_a_story_goes_on_from_its_checkpoint() -> None:
    bench = Bench(big())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.planner)
        _, anchor = await bench.issued()
        bench.answer(anchor)
        await bench.issued()
        tasks.cancel_scope.cancel()
    bench.onward.close()
    bench.feedback.close()
    later = Bench(story(300, options=SmartSend(), checkpoint=bench.jobs.last, attempt=2))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(later.planner)
        opened, first = await later.issued()
        assert (opened.standing.sent, opened.reason) == (1, None)
        assert later.jobs.history[0].starts == 1
        assert (first.role, len(first.recipients)) == ("batch", 100)
        assert not set(first.places) & {0}
        tasks.cancel_scope.cancel()
    later.onward.close()
    later.feedback.close()


async def test_a_story_whose_list_is_another_begins_anew_and_says_why() -> None:
    left = Checkpoint(session_id=SESSION, story_id="sale", order="another", next=200, sent=(0, 200))
    bench = Bench(story(300, options=SmartSend(), checkpoint=left, attempt=2))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.planner)
        opened, anchor = await bench.issued()
        assert (opened.reason, opened.standing.sent, anchor.role) == (ANOTHER_LIST, 0, "anchor")
        tasks.cancel_scope.cancel()
    bench.onward.close()
    bench.feedback.close()


# Orders


@pytest.mark.parametrize(("order", "kind"), [("pause", "paused"), ("leave", "handed-over")])
async def test_a_story_that_is_to_be_left_is_stored_and_may_come_again_and_the_next_is_served(
    order: Order, kind: str
) -> None:
    bench = Bench(big("a"), story(2, story_id="b"))
    for name in ("a", "b"):
        bench.seen.add(name)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.planner)
        _, anchor = await bench.issued()
        bench.control.give("a", order)
        bench.answer(anchor)
        settled, parked, *others = await bench.issued()
        assert isinstance(settled, BatchSettled)
        assert (parked.kind, parked.story.story_id) == (kind, "a")
        assert ("a" in bench.seen, "b" in bench.seen) == (False, True)
        *_, stored = (checkpoint for checkpoint in bench.jobs.history if checkpoint.story_id == "a")
        assert stored.state == ("paused" if order == "pause" else "open")
        assert (stored.out, len(Ranges.unpacked(stored.sent))) == ((), 1)
        assert [type(item) for item in others] == ([StoryOpened, Batch] if order == "pause" else [])
        assert bench.control.order_for("a") is None, "it may be resumed, here or elsewhere"
        tasks.cancel_scope.cancel()
    bench.onward.close()
    bench.feedback.close()


async def test_a_cancelled_story_is_closed_and_the_next_one_served() -> None:
    bench = Bench(big("a"), story(2, story_id="b"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.planner)
        _, anchor = await bench.issued()
        bench.control.give("a", "cancel")
        bench.answer(anchor)
        _, closed, opened, _ = await bench.issued()
        assert (closed.reason, closed.sent, len(closed.skipped)) == ("cancelled", 1, 299)
        assert opened.story.story_id == "b"
        assert bench.control.order_for("a") is None
        tasks.cancel_scope.cancel()
    bench.onward.close()
    bench.feedback.close()


async def test_a_story_that_was_cancelled_before_a_crash_is_cancelled_after_it_too() -> None:
    left = Checkpoint(session_id=SESSION, story_id="sale", state="cancelled", began=EPOCH)
    bench = Bench(story(300, options=SmartSend(), checkpoint=left, attempt=2))
    with anyio.fail_after(3_600):
        await bench.planner()
    _, closed = drained(bench.onward)
    assert (closed.reason, closed.sent, len(closed.skipped)) == ("cancelled", 0, 300)
    bench.feedback.close()


async def test_an_order_that_is_stored_before_the_story_begins_is_heeded() -> None:
    bench = Bench(big())
    bench.control.give("sale", "pause")
    with anyio.fail_after(3_600):
        await bench.planner()
    opened, parked = drained(bench.onward)
    assert (opened.standing.sent, parked.kind) == (0, "paused")
    assert bench.jobs.last.state == "paused"
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


async def test_by_the_shorter_ways_only_anchors_go_to_whoever_anchors() -> None:
    line = filled(big())
    to_resend, to_reporter, bench = Pipe(), Pipe(), Bench(line=line)
    planner = Planner(
        line,
        bench.feedback.out,
        bench.onward.into,
        capabilities=FULL,
        jobs=bench.jobs,
        now=virtual_now,
        random=no_jitter,
        resend=to_resend.into,
        reporter=to_reporter.into,
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(planner)
        [anchor] = await bench.issued()
        assert [type(item) for item in taken(to_reporter)] == [StoryOpened]
        bench.answer(anchor, size=1_000)
        assert await bench.issued() == []
        [batch] = taken(to_resend)
        assert batch.role == "batch"
        bench.answer(batch, sent=list(batch.recipients))
    assert [type(item) for item in drained(to_reporter)] == [BatchSettled, BatchSettled, StoryClosed]
    assert (drained(to_resend), drained(bench.onward)) == ([], [])
    for end in (bench.feedback.into, bench.feedback.out, to_resend.out, to_reporter.out, bench.onward.out):
        end.close()
