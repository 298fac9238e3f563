"""ingest: every delivery is settled in exactly one way, and none of them stops it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta
from typing import Any

import anyio
import pytest
from anyio.abc import ObjectReceiveStream

from stages.checkpoint import Checkpoint, JobState, JobStore, MemoryJobs, finished
from stages.engine import Capabilities
from stages.errors import StoreFailed
from stages.flow import Delivery, Paused, Postponed, Refused, Repeated, Story
from stages.ingest import REMEMBERED, Ingest, InHand
from stages.lists import MemoryLists, RecipientLists
from stages.options import SmartSend
from tests.support import (
    EPOCH,
    FULL,
    SESSION,
    Pipe,
    delivery,
    drained,
    filled,
    no_leaks,
    people,
    request,
    virtual_now,
)

pytestmark = pytest.mark.anyio


class Failing(MemoryJobs):
    """A store that cannot answer the first `times` questions."""

    def __init__(self, times: int = 10**9) -> None:
        super().__init__()
        self.left = times

    async def load(self, session_id: str, story_id: str) -> Checkpoint | None:
        self.left -= 1
        if self.left >= 0:
            raise StoreFailed("the store is down")
        return await super().load(session_id, story_id)


class Finished(MemoryJobs):
    """A store in which the story `sale` of every session has finished."""

    async def load(self, session_id: str, story_id: str) -> Checkpoint | None:
        return finished(session_id, story_id) if story_id == "sale" else None


def knowing(state: JobState) -> MemoryJobs:
    """A store that has a checkpoint of the story `sale` in `state`."""
    jobs = MemoryJobs()
    jobs.kept[SESSION, "sale"] = Checkpoint(session_id=SESSION, story_id="sale", state=state, starts=2)
    return jobs


class Bench:
    """An ingest actor between pipes."""

    def __init__(
        self,
        *deliveries: Delivery,
        inbox: ObjectReceiveStream[Sequence[Delivery]] | None = None,
        jobs: JobStore | None = None,
        lists: RecipientLists | None = None,
        capabilities: Capabilities = FULL,
        **options: Any,
    ) -> None:
        self.stories, self.outgoing = Pipe(), Pipe()
        self.ingest = Ingest(
            inbox or filled(list(deliveries)),
            self.stories.into,
            self.outgoing.into,
            defaults=SmartSend(),
            capabilities=capabilities,
            jobs=jobs or MemoryJobs(),
            lists=lists or MemoryLists(),
            now=virtual_now,
            **options,
        )

    async def run(self) -> tuple[list[Story], list[Any]]:
        await self.ingest()
        return drained(self.stories), drained(self.outgoing)


def counts(bench: Bench) -> tuple[int, int, int, int]:
    found = bench.ingest.statistics()
    return found.accepted, found.refused, found.repeated, found.postponed


async def test_a_good_delivery_becomes_a_story_that_knows_its_delivery() -> None:
    arrived = delivery(request(recipients=5, priority=7), level="bulk")
    bench = Bench(arrived)
    [story], outgoing = await bench.run()
    assert (story.delivery, story.recipients, story.priority) == (arrived, people(5), 7)
    assert outgoing == []
    assert counts(bench) == (1, 0, 0, 0)


async def test_bad_deliveries_are_refused_with_a_reason_and_the_good_ones_between_them_go_on() -> None:
    bad = [
        delivery(b"\xff" * 50),
        delivery(b"[" * 1_000_000),
        delivery(request(chatId="x")),
        delivery(request("a.b")),
        delivery(request(), content_type="text/plain"),
    ]
    mixed = [item for place, one in enumerate(bad) for item in (one, delivery(request(f"good-{place}")))]
    bench = Bench(*mixed)
    stories, refused = await bench.run()
    assert [story.story_id for story in stories] == [f"good-{place}" for place in range(5)]
    assert [item.delivery for item in refused] == bad
    assert all(isinstance(item, Refused) and item.rejection.code for item in refused)
    assert counts(bench) == (5, 5, 0, 0)


async def test_a_refusal_names_code_field_found_allowed_session_story_and_time() -> None:
    bench = Bench(delivery(request(priority=12)))
    _, [refused] = await bench.run()
    rejection = refused.rejection
    assert (rejection.code, rejection.field, rejection.found) == ("out-of-range", "priority", "12")
    assert (rejection.allowed, rejection.session_id, rejection.story_id) == ("`int` <= 9", "main", "sale")
    assert rejection.at == EPOCH
    assert "priority" in rejection.message


async def test_a_story_that_comes_again_is_repeated_and_not_sent_again() -> None:
    same = [delivery(key=str(key)) for key in range(10)]
    bench = Bench(*same)
    stories, outgoing = await bench.run()
    assert [story.delivery.key for story in stories] == ["0"]
    assert outgoing == [Repeated(delivery=one, story_id="sale") for one in same[1:]]
    assert counts(bench) == (1, 0, 9, 0)


async def test_a_story_that_has_finished_before_a_restart_is_repeated() -> None:
    bench = Bench(delivery(), delivery(request("new")), jobs=Finished())
    stories, [outgoing] = await bench.run()
    assert [story.story_id for story in stories] == ["new"]
    assert isinstance(outgoing, Repeated)


async def test_a_request_for_another_session_is_refused_even_if_that_session_knows_the_story() -> None:
    """Else it would be answered with the report of a session that its sender may know nothing of."""
    bench = Bench(delivery(request(sessionId="other")), jobs=Finished())
    _, [outgoing] = await bench.run()
    assert isinstance(outgoing, Refused)
    assert outgoing.rejection.code == "session-mismatch"


@pytest.mark.parametrize("state", ["open", "cancelled"])
async def test_a_story_that_was_left_is_taken_up_with_its_checkpoint(state: JobState) -> None:
    jobs = knowing(state)
    [story], outgoing = await Bench(delivery(), jobs=jobs).run()
    assert (story.checkpoint, outgoing) == (jobs.kept[SESSION, "sale"], [])


async def test_a_new_story_has_no_checkpoint_and_another_storys_is_not_taken_for_its_own() -> None:
    [story], _ = await Bench(delivery(request("other")), jobs=knowing("open")).run()
    assert story.checkpoint is None


async def test_a_paused_story_is_kept_for_later_and_is_taken_up_once_it_is_resumed() -> None:
    jobs, arrived = knowing("paused"), delivery()
    bench = Bench(arrived, arrived, jobs=jobs)
    stories, outgoing = await bench.run()
    assert (stories, outgoing) == ([], [Paused(delivery=arrived, story_id="sale")] * 2)
    assert bench.ingest.statistics().paused == 2
    assert counts(bench) == (0, 0, 0, 0)
    jobs.kept = knowing("open").kept
    stories, outgoing = await Bench(arrived, jobs=jobs).run()
    assert (len(stories), outgoing) == (1, [])


async def test_a_bad_request_is_refused_even_if_its_story_is_paused() -> None:
    stories, [outgoing] = await Bench(delivery(request(recipients=["nobody"])), jobs=knowing("paused")).run()
    assert (stories, type(outgoing)) == ([], Refused)


@pytest.mark.parametrize("state", ["finished", "paused", "open"])
async def test_a_dry_run_asks_no_store_and_is_remembered_by_nobody(state: JobState) -> None:
    dry = delivery(request(dryRun=True))
    stories, outgoing = await Bench(dry, dry, delivery(), jobs=Failing(times=0)).run()
    assert ([story.dry_run for story in stories], outgoing) == ([True, True, False], [])
    [story], outgoing = await Bench(dry, jobs=knowing(state)).run()
    assert (story.checkpoint, outgoing) == (None, [])
    stories, outgoing = await Bench(dry, jobs=Failing()).run()
    assert (len(stories), outgoing) == (1, [])


async def test_a_story_that_was_left_may_come_again_and_is_not_taken_for_a_repeated_one() -> None:
    seen = InHand(virtual_now)
    seen.add("sale")
    _, [outgoing] = await Bench(delivery(), seen=seen).run()
    assert isinstance(outgoing, Repeated)
    seen.forget("sale")
    seen.forget("a stranger")
    stories, outgoing = await Bench(delivery(), seen=seen).run()
    assert (len(stories), outgoing) == (1, [])
    assert "sale" in seen


@pytest.mark.parametrize(("hours", "known"), [(23.99, True), (24.0, False), (1_000.0, False)])
async def test_a_story_that_is_not_finished_is_remembered_for_a_day_from_when_it_came(
    hours: float, *, known: bool
) -> None:
    into, out = anyio.create_memory_object_stream[Sequence[Delivery]](1)
    bench = Bench(inbox=out)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.ingest)
        for _ in range(2):
            await into.send([delivery()])
            await anyio.sleep(hours * 3_600)
        into.close()
    assert len(drained(bench.stories)) == (1 if known else 2)
    assert [type(item) for item in drained(bench.outgoing)] == [Repeated] * known


async def test_a_story_that_has_finished_is_repeated_however_long_ago_it_came() -> None:
    into, out = anyio.create_memory_object_stream[Sequence[Delivery]](1)
    bench = Bench(inbox=out, jobs=Finished())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.ingest)
        await anyio.sleep(100 * 86_400)
        await into.send([delivery()])
        into.close()
    assert (drained(bench.stories), [type(item) for item in drained(bench.outgoing)]) == ([], [Repeated])


async def test_a_refused_story_may_come_again_once_it_is_right() -> None:
    bench = Bench(delivery(request(priority=12)), delivery())
    stories, [refused] = await bench.run()
    assert [story.story_id for story in stories] == ["sale"]
    assert isinstance(refused, Refused)


async def test_a_story_that_is_not_due_is_postponed_until_then_and_taken_when_it_comes_again() -> None:
    due = EPOCH + timedelta(hours=2)
    early = delivery(request(notBefore=due))
    bench = Bench(early)
    stories, outgoing = await bench.run()
    assert (stories, outgoing) == ([], [Postponed(delivery=early, until=due)])
    assert counts(bench) == (0, 0, 0, 1)
    await anyio.sleep(7_200)
    stories, outgoing = await Bench(early).run()
    assert (len(stories), outgoing) == (1, [])


async def test_a_postponed_story_is_not_taken_for_a_repeated_one() -> None:
    later = delivery(request(notBefore=EPOCH + timedelta(hours=2)))
    _, outgoing = await Bench(later, later).run()
    assert [type(item) for item in outgoing] == [Postponed, Postponed]


async def test_while_the_store_cannot_answer_a_story_is_postponed_and_neither_lost_nor_sent_twice() -> None:
    arrived = delivery()
    bench = Bench(arrived, arrived, jobs=Failing(times=1))
    stories, [postponed] = await bench.run()
    assert len(stories) == 1
    assert postponed == Postponed(delivery=arrived, until=EPOCH + timedelta(seconds=5))
    assert counts(bench) == (1, 0, 0, 1)


async def test_the_suppressed_are_skipped() -> None:
    [story], _ = await Bench(delivery(), suppressed=frozenset(people(1))).run()
    assert story.recipients == people(3)[1:]
    assert [skip.reason for skip in story.skipped] == ["suppressed"]


@pytest.mark.parametrize(
    ("capabilities", "field"),
    [
        (Capabilities(reuses_message_id=True, targets_recipients=False), "recipients"),
        (
            Capabilities(reuses_message_id=True, targets_recipients=True, kinds=frozenset({"image"})),
            "content.type",
        ),
    ],
)
async def test_a_story_the_engine_cannot_post_is_refused_with_what_it_can(
    capabilities: Capabilities, field: str
) -> None:
    stories, [refused] = await Bench(delivery(), capabilities=capabilities).run()
    assert stories == []
    assert (refused.rejection.code, refused.rejection.field) == ("engine-cannot", field)
    assert refused.rejection.allowed


@pytest.mark.parametrize("limits", [False, True])
@pytest.mark.parametrize("reshared", [False, True])
async def test_a_story_that_must_not_be_reshared_is_taken_only_by_an_engine_that_can_see_to_it(
    *, limits: bool, reshared: bool
) -> None:
    able = Capabilities(reuses_message_id=True, targets_recipients=True, limits_resharing=limits)
    bench = Bench(delivery(request(canBeReshared=reshared)), capabilities=able)
    stories, outgoing = await bench.run()
    if limits or reshared:
        assert (len(stories), outgoing) == (1, [])
        return
    [refused] = outgoing
    rejection = refused.rejection
    assert (stories, rejection.code, rejection.field) == ([], "engine-cannot", "canBeReshared")
    assert (rejection.found, "true" in rejection.allowed) == ("false", True)


async def test_of_what_is_remembered_the_oldest_is_forgotten_first() -> None:
    seen = InHand(virtual_now)
    for number in range(REMEMBERED):
        seen.add(str(number))
    seen.add("0")
    seen.add("new")
    assert ["0" in seen, "1" in seen, "2" in seen, "new" in seen] == [True, False, True, True]


async def test_what_is_remembered_is_bounded() -> None:
    seen = InHand(virtual_now)
    for number in range(REMEMBERED + 10):
        seen.add(str(number))
    assert [str(number) in seen for number in (0, 9, 10, REMEMBERED + 9)] == [False, False, True, True]


async def test_deliveries_keep_their_order_over_many_lists() -> None:
    into, out = anyio.create_memory_object_stream[Sequence[Delivery]](10)
    bench = Bench(inbox=out)
    with into:
        for start in range(0, 30, 10):
            into.send_nowait([delivery(request(str(start + place))) for place in range(10)])
    stories, _ = await bench.run()
    assert [story.story_id for story in stories] == [str(number) for number in range(30)]


async def test_a_full_line_holds_back_the_deliveries() -> None:
    full, outgoing = Pipe(room=2), Pipe()
    ingest = Ingest(
        filled([delivery(request(str(number))) for number in range(5)]),
        full.into,
        outgoing.into,
        defaults=SmartSend(),
        capabilities=FULL,
        jobs=MemoryJobs(),
        lists=MemoryLists(),
        now=virtual_now,
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ingest)
        await anyio.sleep(60)
        assert ingest.statistics().accepted == 3
        full.out.receive_nowait()
        await anyio.sleep(60)
        assert ingest.statistics().accepted == 4
        tasks.cancel_scope.cancel()
    full.close()
    outgoing.close()


async def test_cancelling_it_closes_its_ends() -> None:
    with no_leaks():
        bench = Bench(delivery())
        bench.stories.close()
        bench.outgoing.out.close()
        async with anyio.create_task_group() as tasks:
            await tasks.start(bench.ingest)
            tasks.cancel_scope.cancel()
        del bench


class Faulty(MemoryLists):
    async def read(self, name: str) -> AsyncGenerator[Sequence[str], None]:
        await anyio.lowlevel.checkpoint()
        raise ZeroDivisionError("a fault of ours")
        yield ()


async def test_a_request_that_brings_out_a_fault_of_ours_is_refused_alone() -> None:
    listed = {name: value for name, value in request("bad").items() if name != "recipients"}
    bench = Bench(delivery(listed | {"recipientsRef": "any"}), delivery(request("good")), lists=Faulty())
    stories, [refused] = await bench.run()
    assert [story.story_id for story in stories] == ["good"]
    assert isinstance(refused, Refused)
    assert (refused.rejection.code, refused.rejection.found) == (
        "not-processable",
        "ZeroDivisionError('a fault of ours')",
    )
