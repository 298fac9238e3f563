"""A session that went to another worker and came back: what was known of its stories before counts no more."""

from __future__ import annotations

import msgspec
import pytest
import trio

from stages.checkpoint import Checkpoint
from stages.messages import ControlRequest, StoryStatus
from tests.nats_support import (
    AT_MOST,
    GatedEngine,
    RunningWorker,
    engines,
    open_ear,
    open_nats,
    open_worker,
    publish_story,
    until_empty,
)
from transports.bus import Bus, Outbound
from transports.entries import erase, read
from transports.jobs import NatsJobs
from transports.leases import Claim
from transports.subjects import BUCKET_LEASES, STREAM_SENDS, control_subject, key_subject

ANOTHER = Claim(worker="another", since="", nonce="another", term="another")


async def take_over(bus: Bus, running: RunningWorker) -> None:
    """Another worker takes the session `main`, as after an outage of this one."""
    lease = running.worker.leases.held()["main"]
    await bus.store(Outbound(key_subject(BUCKET_LEASES, "main"), msgspec.json.encode(ANOTHER)))
    with trio.fail_after(AT_MOST):
        await lease.lost.wait()


async def give_back(bus: Bus) -> None:
    """The other worker has ended."""
    await erase(bus, BUCKET_LEASES, "main", revision=(await read(bus, BUCKET_LEASES, "main")).revision)


@pytest.mark.trio
async def test_whoever_repeats_a_story_that_another_worker_has_finished_is_answered() -> None:
    engine = GatedEngine()
    async with (
        open_nats() as bus,
        open_ear(bus, "storycast.report.>") as ear,
        open_worker(bus, engines(main=engine)) as running,
    ):
        await publish_story(bus, "sale")
        await engine.until_calls(1)
        await take_over(bus, running)
        engine.gate.set()
        async with open_worker(bus, engines(main=engine)) as second:
            await give_back(bus)
            await second.worker.leases.acquire("main")
            await ear.until_reports(1)
            await until_empty(bus)
        await publish_story(bus, "sale")
        await until_empty(bus)
    assert len(ear.reports) == 1


@pytest.mark.trio
async def test_a_story_that_another_worker_has_written_of_can_be_cancelled() -> None:
    engine = GatedEngine()
    async with open_nats() as bus, open_worker(bus, engines(main=engine)) as running:
        before = Checkpoint(session_id="main", story_id="sale")
        await NatsJobs(bus).save(before)
        await publish_story(bus, "sale")
        await engine.until_calls(1)
        await take_over(bus, running)
        other = NatsJobs(bus)
        await other.load("main", "sale")
        await other.save(before)
        await bus.call(bus.jetstream.purge_stream, STREAM_SENDS)
        await give_back(bus)
        order = msgspec.json.encode(ControlRequest(action="cancel"))
        answer = await bus.request(Outbound(control_subject("main", "sale"), order))
    assert msgspec.json.decode(answer.data, type=StoryStatus).state == "cancelling"
