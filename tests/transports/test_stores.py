"""What sessions have learned comes back as it was kept, and a finished story's report is found."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from stages.errors import StoreFailed
from stages.history import VERSION, History, Shut
from stages.messages import BatchCounts, Report, SessionLearning
from tests.nats_support import Events, open_nats, open_restartable
from transports import bus as bus_module
from transports.bus import Bus, Outbound, open_bus
from transports.stores import NatsHistories, NatsReports
from transports.streams import ensure
from transports.subjects import BUCKET_SESSIONS

LEARNED = History(
    proven=4_000,
    ceiling=24_500,
    rung=4,
    setback=True,
    proven_since=2_000,
    failures={5_000: 2},
    shut={5_000: Shut(left=3, span=10)},
    at=datetime(2026, 11, 21, 9, 30, 0, 123456, tzinfo=UTC),
)


def report(story: str = "sale", **fields: object) -> Report:
    counts = BatchCounts(total=1, successful=1, failed=0, retried=0)
    learning = SessionLearning(
        max_proven_batch_size=0, used_historical_data=False, will_skip_ramping_next_time=False
    )
    basic = Report(
        success=True,
        story_id=story,
        session_id="main",
        message_id="3EB0",
        state="completed",
        total_recipients=1,
        sent_successfully=1,
        failed=0,
        skipped=0,
        unknown=0,
        batches=counts,
        batch_sequence=[1],
        total_duration=5,
        failed_recipients=[],
        failure_reasons={},
        failures={},
        skips={},
        skipped_recipients=[],
        unknown_recipients=[],
        session_learning=learning,
    )
    return msgspec.structs.replace(basic, **fields)


async def put(bus: Bus, key: str, value: bytes) -> None:
    bucket = await bus.call(bus.jetstream.key_value, BUCKET_SESSIONS)
    await bus.call(bucket.put, key, value)


# What sessions have learned


@pytest.mark.trio
async def test_a_history_comes_back_exactly_as_it_was_kept() -> None:
    async with open_nats() as bus:
        await ensure(bus)
        await NatsHistories(bus).save("main", LEARNED)
        assert await NatsHistories(bus).load("main") == LEARNED


@pytest.mark.trio
async def test_the_last_history_kept_counts_and_sessions_do_not_mix() -> None:
    async with open_nats() as bus:
        await ensure(bus)
        histories = NatsHistories(bus)
        for proven in (100, 500):
            await histories.save("main", History(proven=proven))
        await histories.save("Main-2_x", History(proven=1_000))
        assert await histories.load("main") == History(proven=500)
        assert await histories.load("Main-2_x") == History(proven=1_000)


@pytest.mark.trio
async def test_a_session_that_has_learned_nothing_has_no_history() -> None:
    async with open_nats() as bus:
        await ensure(bus)
        assert await NatsHistories(bus).load("main") is None


@pytest.mark.trio
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"not JSON",
        b'{"proven": "many"}',
        b"[]",
        b"\xff\xfe",
        msgspec.json.encode(History(version=VERSION + 1, proven=100)),
    ],
)
async def test_a_history_that_cannot_be_read_is_one_of_another_version_and_is_replaced_by_the_next(
    value: bytes,
) -> None:
    async with open_nats() as bus:
        await ensure(bus)
        await put(bus, "main", value)
        histories = NatsHistories(bus)
        found = await histories.load("main")
        assert found is not None, "that there is one must be known, to be said"
        assert found.version != VERSION
        await histories.save("main", LEARNED)
        assert await histories.load("main") == LEARNED


@pytest.mark.trio
async def test_a_deleted_history_is_as_none() -> None:
    async with open_nats() as bus:
        await ensure(bus)
        await NatsHistories(bus).save("main", LEARNED)
        bucket = await bus.call(bus.jetstream.key_value, BUCKET_SESSIONS)
        await bus.call(bucket.delete, "main")
        assert await NatsHistories(bus).load("main") is None


# Reports


@pytest.mark.trio
async def test_a_report_is_found_by_session_and_story() -> None:
    kept = report(failed_recipients=["6281200000000@s.whatsapp.net"], reason="no-anchor")
    async with open_nats() as bus:
        await ensure(bus)
        await bus.store(Outbound("storycast.report.main.sale", msgspec.json.encode(kept)))
        reports = NatsReports(bus)
        assert await reports.find("main", "sale") == msgspec.json.encode(kept)
        assert await reports.find("main", "other") is None
        assert await reports.find("other", "sale") is None


# A server that is away


@pytest.mark.trio
async def test_while_the_server_is_gone_stores_say_that_they_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "CALL_TIMEOUT", 0.1)
    events = Events()
    async with open_restartable(tmp_path) as server:
        await server.start()
        async with open_bus(server.url, on_event=events) as bus:
            await ensure(bus)
            histories, reports = NatsHistories(bus), NatsReports(bus)
            await histories.save("main", LEARNED)
            await server.stop()
            await events.until("is lost")
            with pytest.raises(StoreFailed, match="the history of main cannot be read: "):
                await histories.load("main")
            with pytest.raises(StoreFailed, match="the history of main cannot be kept: "):
                await histories.save("main", LEARNED)
            with pytest.raises(StoreFailed, match="the history of other cannot be kept: "):
                await NatsHistories(bus).save("other", LEARNED)
            with pytest.raises(StoreFailed, match="the report of sale cannot be looked up: "):
                await reports.find("main", "sale")
            await server.start()
            await events.until("connected to NATS again")
            assert await histories.load("main") == LEARNED
