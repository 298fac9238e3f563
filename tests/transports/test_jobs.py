"""A story's checkpoint comes back as it was saved, and only the worker that has the story can replace it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import msgspec
import pytest
import trio
from msgspec import structs

from stages.checkpoint import VERSION, BatchRecord, Checkpoint, Counts, Retry, finished
from stages.errors import StoreFailed, Superseded
from stages.ranges import Ranges
from tests.nats_support import Events, open_nats, open_restartable
from tests.transports.faults import lossy
from transports import bus as bus_module
from transports.bus import HEADERS_ROOM, Bus, Outbound, open_bus
from transports.entries import read
from transports.errors import CheckpointTooLarge
from transports.jobs import FINISHED_KEPT, FORMAT, NatsJobs, decoded, encoded
from transports.streams import ensure
from transports.subjects import BUCKET_JOBS, HEADER_TTL, bucket_stream, key_subject

KEY = "main.sale"
MILLION = 1_000_000


def checkpoint(batch: int = 1, **fields: object) -> Checkpoint:
    basic = Checkpoint(session_id="main", story_id="sale", order="f00d", total=5_000, index=batch)
    return structs.replace(basic, **fields)


WHOLE = checkpoint(
    7,
    state="paused",
    message_id="3EB0",
    anchored=True,
    size=500,
    planned=9,
    next=2_000,
    sent=(0, 900, 100, 900),
    failed={"not-on-whatsapp": (900, 50)},
    unknown=(950, 10),
    retries=(Retry(1, unsure=True, apart=False, places=(960, 20)),),
    out=(Retry(0, unsure=False, apart=True, places=(980, 20)),),
    batches=(BatchRecord(0, 1, 1, "sent", 40), BatchRecord(1, 500, 2, "timed-out", 90_000)),
    counts=Counts(7, 6, 1, 2),
    used_history=True,
    starts=3,
    began=datetime(2026, 11, 21, 9, 30, 0, 123456, tzinfo=UTC),
    reason="asked",
)


@asynccontextmanager
async def open_jobs() -> AsyncIterator[Bus]:
    """A server with its buckets."""
    async with open_nats() as bus:
        await ensure(bus)
        yield bus


async def put(bus: Bus, value: bytes) -> None:
    await bus.store(Outbound(key_subject(BUCKET_JOBS, KEY), value))


async def delete(bus: Bus) -> None:
    """As `nats kv del` does."""
    bucket = await bus.call(bus.jetstream.key_value, BUCKET_JOBS)
    await bus.call(bucket.delete, KEY)


# Kept and found


@pytest.mark.trio
async def test_a_checkpoint_comes_back_exactly_as_it_was_saved() -> None:
    async with open_jobs() as bus:
        await NatsJobs(bus).save(WHOLE)
        assert await NatsJobs(bus).load("main", "sale") == WHOLE


@pytest.mark.trio
async def test_a_story_that_nobody_began_has_none_and_stories_do_not_mix() -> None:
    async with open_jobs() as bus:
        jobs = NatsJobs(bus)
        assert await jobs.load("main", "sale") is None
        await jobs.save(checkpoint())
        assert await jobs.load("main", "other") is None
        assert await jobs.load("other", "sale") is None


@pytest.mark.trio
async def test_the_last_one_saved_counts() -> None:
    async with open_jobs() as bus:
        jobs = NatsJobs(bus)
        for batch in range(5):
            await jobs.save(checkpoint(batch))
        assert await NatsJobs(bus).load("main", "sale") == checkpoint(4)


@pytest.mark.trio
async def test_saves_of_one_story_at_the_same_time_wait_for_each_other() -> None:
    async with open_jobs() as bus:
        jobs = NatsJobs(bus)
        async with trio.open_nursery() as nursery:
            for batch in range(20):
                nursery.start_soon(jobs.save, checkpoint(batch))
        await jobs.save(checkpoint(99))
        assert await jobs.load("main", "sale") == checkpoint(99)


# Two workers


@pytest.mark.trio
async def test_who_lost_a_story_to_another_worker_cannot_overwrite_it() -> None:
    async with open_jobs() as bus:
        old, new = NatsJobs(bus), NatsJobs(bus)
        await old.save(checkpoint(1))
        assert await new.load("main", "sale") == checkpoint(1)
        await new.save(checkpoint(2))
        for _ in range(2):
            with pytest.raises(Superseded):
                await old.save(checkpoint(3))
        assert await new.load("main", "sale") == checkpoint(2)


@pytest.mark.trio
async def test_even_the_very_same_checkpoint_of_another_worker_is_not_taken_for_ones_own() -> None:
    async with open_jobs() as bus:
        old, new = NatsJobs(bus), NatsJobs(bus)
        await old.save(checkpoint(1))
        await new.load("main", "sale")
        await new.save(checkpoint(2))
        with pytest.raises(Superseded):
            await old.save(checkpoint(2))
        await new.save(checkpoint(3))


@pytest.mark.trio
async def test_of_two_that_begin_a_story_one_only_can() -> None:
    async with open_jobs() as bus:
        one, other = NatsJobs(bus), NatsJobs(bus)
        assert await one.load("main", "sale") is None
        assert await other.load("main", "sale") is None
        await one.save(checkpoint(1))
        with pytest.raises(Superseded):
            await other.save(checkpoint(1))


@pytest.mark.trio
async def test_who_loads_it_again_may_go_on_with_it() -> None:
    async with open_jobs() as bus:
        one, other = NatsJobs(bus), NatsJobs(bus)
        await one.save(checkpoint(1))
        await other.load("main", "sale")
        await other.save(checkpoint(2))
        assert await one.load("main", "sale") == checkpoint(2)
        await one.save(checkpoint(3))
        with pytest.raises(Superseded):
            await other.save(checkpoint(4))


# Answers that get lost


@pytest.mark.trio
@pytest.mark.parametrize("retried", [1, 2], ids=["the same", "a later one"])
@pytest.mark.parametrize("before", [True, False], ids=["replaced", "created"])
async def test_a_save_whose_answer_was_lost_is_no_other_workers(retried: int, before: bool) -> None:
    async with open_jobs() as plain:
        bus = lossy(plain)
        jobs = NatsJobs(bus)
        if before:
            await jobs.save(checkpoint(0))
        bus.lose = 1
        with pytest.raises(StoreFailed, match="the checkpoint of sale cannot be kept: "):
            await jobs.save(checkpoint(1))
        await jobs.save(checkpoint(retried))
        await jobs.save(checkpoint(3))
        assert await NatsJobs(bus).load("main", "sale") == checkpoint(3)


@pytest.mark.trio
async def test_after_a_lost_answer_another_workers_checkpoint_is_still_another_workers() -> None:
    async with open_jobs() as plain:
        bus = lossy(plain)
        old, new = NatsJobs(bus), NatsJobs(plain)
        await old.save(checkpoint(0))
        bus.lose = 1
        with pytest.raises(StoreFailed):
            await old.save(checkpoint(1))
        assert await new.load("main", "sale") == checkpoint(1)
        await new.save(checkpoint(2))
        with pytest.raises(Superseded):
            await old.save(checkpoint(1))


# Deleted ones


@pytest.mark.trio
@pytest.mark.parametrize("looked", [True, False])
async def test_a_deleted_checkpoint_is_as_none_and_the_story_can_begin_anew(looked: bool) -> None:
    async with open_jobs() as bus:
        await NatsJobs(bus).save(checkpoint(1))
        await delete(bus)
        jobs = NatsJobs(bus)
        if looked:
            assert await jobs.load("main", "sale") is None
        await jobs.save(checkpoint(0))
        assert await jobs.load("main", "sale") == checkpoint(0)


@pytest.mark.trio
async def test_who_is_at_a_story_whose_checkpoint_is_deleted_writes_the_next_one() -> None:
    async with open_jobs() as bus:
        jobs = NatsJobs(bus)
        await jobs.save(checkpoint(1))
        await delete(bus)
        await jobs.save(checkpoint(2))
        assert await jobs.load("main", "sale") == checkpoint(2)


@pytest.mark.trio
async def test_a_checkpoint_gone_without_a_trace_was_finished_by_another_worker() -> None:
    async with open_jobs() as bus:
        jobs = NatsJobs(bus)
        await jobs.save(checkpoint(1))
        await bus.call(bus.jetstream.purge_stream, bucket_stream(BUCKET_JOBS))
        with pytest.raises(Superseded):
            await jobs.save(checkpoint(2))
        assert await jobs.load("main", "sale") is None


# Finished ones


@pytest.mark.trio
async def test_a_finished_story_is_remembered_for_a_day_and_an_open_one_for_ever() -> None:
    async with open_jobs() as bus:
        jobs = NatsJobs(bus)
        await jobs.save(checkpoint(1))
        assert HEADER_TTL not in (await read(bus, BUCKET_JOBS, KEY)).headers
        await jobs.save(finished("main", "sale"))
        assert (await read(bus, BUCKET_JOBS, KEY)).headers[HEADER_TTL] == f"{FINISHED_KEPT}s"
        assert await jobs.load("main", "sale") == finished("main", "sale")


@pytest.mark.trio
async def test_what_is_finished_or_forgotten_is_held_in_memory_no_longer() -> None:
    async with open_jobs() as bus:
        jobs = NatsJobs(bus)
        await jobs.save(checkpoint())
        assert jobs.remembered == 1
        await jobs.save(finished("main", "sale"))
        assert jobs.remembered == 0
        await jobs.load("main", "sale")
        assert jobs.remembered == 0
        await jobs.save(structs.replace(checkpoint(), story_id="other"))
        jobs.forget("main")
        jobs.forget("never-seen")
        assert jobs.remembered == 0


# What cannot be read


@pytest.mark.trio
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"not one of ours",
        FORMAT,
        FORMAT + b"not compressed",
        b"\x02" + encoded(checkpoint())[1:],
        encoded(checkpoint(version=VERSION + 1)),
        encoded(checkpoint())[:-3],
    ],
)
async def test_what_cannot_be_read_is_as_none_but_never_passes_in_silence(
    value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_jobs() as bus:
        await put(bus, value)
        jobs = NatsJobs(bus)
        with caplog.at_level(logging.WARNING, logger="storycast"):
            assert await jobs.load("main", "sale") is None
        assert "a checkpoint cannot be read" in caplog.text
        assert (await read(bus, BUCKET_JOBS, KEY)).value == value
        await jobs.save(checkpoint(1))
        assert await jobs.load("main", "sale") == checkpoint(1)


# Sizes


def million(failed: int) -> Checkpoint:
    """A million recipients in 200 batches of 5,000, of whom some failed here and there."""
    random = Random(7)
    places = set(random.sample(range(MILLION), failed))
    return checkpoint(
        200,
        total=MILLION,
        order="0" * 32,
        next=MILLION,
        sent=Ranges(place for place in range(MILLION) if place not in places).packed(),
        failed={"not-on-whatsapp": Ranges(sorted(places)).packed()},
        batches=tuple(
            BatchRecord(index, 5_000, 1, "sent", random.randrange(2_000, 9_000)) for index in range(200)
        ),
        counts=Counts(200, 200),
    )


@pytest.mark.parametrize("failed", [300, 10_000])
def test_a_million_recipients_take_less_than_64_kib(failed: int) -> None:
    story = million(failed)
    assert len(encoded(story)) < 64 * 1024
    assert decoded(encoded(story)) == story


def test_however_many_of_a_million_failed_the_checkpoint_fits_where_a_server_is_as_it_comes() -> None:
    assert len(encoded(million(MILLION // 2))) < 1024 * 1024 - HEADERS_ROOM


def noise(count: int) -> tuple[BatchRecord, ...]:
    random = Random(7)
    return tuple(BatchRecord(index, random.randrange(MILLION), 1, "sent", 0) for index in range(count))


@pytest.mark.trio
async def test_names_of_batches_are_left_out_where_only_so_it_fits() -> None:
    large = checkpoint(batches=noise(10_000), counts=Counts(10_000, 10_000))
    async with open_nats(max_payload=20_000) as bus:
        await ensure(bus)
        await NatsJobs(bus).save(large)
        assert await NatsJobs(bus).load("main", "sale") == structs.replace(large, batches=())


@pytest.mark.trio
async def test_a_checkpoint_that_will_never_fit_is_not_said_to_be_worth_another_try() -> None:
    async with open_nats(max_payload=20_000) as bus:
        await ensure(bus)
        with pytest.raises(CheckpointTooLarge, match=r"the checkpoint of sale has .* a larger max_payload"):
            await NatsJobs(bus).save(checkpoint(reason=Random(7).randbytes(40_000).hex()))
        assert not issubclass(CheckpointTooLarge, StoreFailed)


# A server that is away


@pytest.mark.trio
async def test_while_the_server_is_gone_it_is_said_and_afterwards_all_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "CALL_TIMEOUT", 0.1)
    events = Events()
    async with open_restartable(tmp_path) as server:
        await server.start()
        async with open_bus(server.url, on_event=events) as bus:
            await ensure(bus)
            jobs = NatsJobs(bus)
            await jobs.save(checkpoint(1))
            await server.stop()
            await events.until("is lost")
            with pytest.raises(StoreFailed, match="the checkpoint of sale cannot be read: "):
                await jobs.load("main", "sale")
            with pytest.raises(StoreFailed, match="the checkpoint of sale cannot be kept: "):
                await jobs.save(checkpoint(2))
            await server.start()
            await events.until("connected to NATS again")
            await jobs.save(checkpoint(3))
            assert await jobs.load("main", "sale") == checkpoint(3)


def test_nothing_but_msgpack_is_inside() -> None:
    with pytest.raises(ValueError, match="another format"):
        decoded(msgspec.json.encode(checkpoint()))


@pytest.mark.trio
async def test_of_stories_finished_together_those_that_somebody_else_has_written_are_left_to_save() -> None:
    async with open_jobs() as bus:
        jobs, other = NatsJobs(bus), NatsJobs(bus)
        for story in ("mine", "taken"):
            await jobs.save(Checkpoint(session_id="main", story_id=story))
        await other.load("main", "taken")
        await other.save(Checkpoint(session_id="main", story_id="taken", state="paused"))
        marks = [finished("main", story) for story in ("mine", "new", "taken")]
        assert await jobs.finish_all(marks) == [True, True, False]
        states = [await other.peek("main", story) for story in ("mine", "new", "taken")]
        assert [found.state for found in states if found] == ["finished", "finished", "paused"]
        assert jobs.remembered == 1  # that of the story whose end is still to be noted
        with pytest.raises(Superseded):
            await jobs.save(marks[2])
