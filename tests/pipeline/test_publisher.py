"""What leaves the lanes is on NATS, and a request is settled only after what settles it is stored."""

from __future__ import annotations

import gzip
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import anyio
import msgspec
import pytest
import trio
from anyio.streams.memory import MemoryObjectSendStream
from msgspec import structs

from pipeline import publisher as publisher_module
from pipeline.custody import Custody
from pipeline.publisher import Publisher, PublisherStatistics
from stages.checkpoint import Checkpoint
from stages.errors import BadRequest
from stages.flow import Delivery, Outgoing, Postponed, Refused, Repeated, Reported
from stages.ingest import refusal
from stages.messages import Alert, Progress, ProgressEvent, Report, Scaling
from tests.nats_support import (
    MIB,
    Ear,
    eventually,
    open_ear,
    open_nats,
    rejection_of,
    reports_stored,
    some,
    stored,
    until_empty,
)
from tests.support import EPOCH, no_jitter, virtual_now
from tests.transports.test_stores import report
from transports.bus import Bus, Inbound, Outbound
from transports.jobs import NatsJobs
from transports.mailbox import Mailbox
from transports.pull import Pulled, open_pull
from transports.stores import NatsReports
from transports.streams import ensure
from transports.subjects import STREAM_EVENTS, STREAM_REJECTED, STREAM_SENDS


@dataclass
class Desk:
    """A publisher with all that is around it in a worker."""

    bus: Bus
    custody: Custody
    publisher: Publisher
    outgoing: MemoryObjectSendStream[Outgoing]
    arriving: Mailbox[Pulled]
    ear: Ear
    running: trio.CancelScope

    async def requested(self, data: bytes = b"{}", *, reply_to: str = "") -> Delivery:
        """A request that was published, pulled and taken into custody."""
        headers = {"Storycast-Reply-To": reply_to} if reply_to else None
        await self.bus.store(Outbound("storycast.send.main", data, headers))
        return await self.arrived()

    async def arrived(self) -> Delivery:
        """The next request that is pulled."""
        [pulled] = await some(self.arriving, 1)
        delivery = self.custody.take(pulled, "normal")
        assert delivery is not None
        return delivery

    def answers(self) -> list[Inbound]:
        return self.ear.on("answers.")

    async def until_failed(self, times: int = 1) -> None:
        """Wait until storing has failed."""
        await eventually(
            lambda: stored(self.bus, STREAM_SENDS),
            lambda _: self.publisher.statistics().failed_stores >= times,
        )


@asynccontextmanager
async def open_desk(*listening: str, max_payload: int = MIB) -> AsyncIterator[Desk]:
    async with open_nats(max_payload=max_payload) as bus:
        await ensure(bus)
        send, receive = anyio.create_memory_object_stream[Outgoing](100)
        async with (
            send,
            receive,
            open_pull(bus, STREAM_SENDS, "storycast-normal") as arriving,
            open_ear(bus, "answers.>", *listening) as ear,
            trio.open_nursery() as nursery,
        ):
            custody = Custody(bus, now=lambda: EPOCH)
            publisher = Publisher(
                receive,
                bus,
                custody,
                reports=NatsReports(bus),
                jobs=NatsJobs(bus),
                now=virtual_now,
                random=no_jitter,
            )
            await nursery.start(publisher)
            yield Desk(bus, custody, publisher, send, arriving, ear, nursery.cancel_scope)
            nursery.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def _soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher_module, "backoff", lambda attempt, random: 0.02)


def progress(current: int) -> ProgressEvent:
    return ProgressEvent(
        session_id="main",
        story_id="sale",
        state="sending",
        at=EPOCH,
        progress=Progress(current=current, total=50, percentage=0, recipients_sent=0, recipients_total=10),
    )


async def until_alone_with(desk: Desk, messages: int) -> None:
    """Wait until that many requests are left in the stream."""
    await eventually(lambda: stored(desk.bus), lambda state: state.messages == messages)


async def stored_report(desk: Desk) -> Report:
    """The report of the story `sale` as the stream has it."""
    return msgspec.json.decode(await NatsReports(desk.bus).find("main", "sale") or b"", type=Report)


# Reports


@pytest.mark.trio
async def test_a_report_is_stored_and_answered_and_then_its_request_is_gone() -> None:
    async with open_desk() as desk:
        delivery = await desk.requested(reply_to="answers.1")
        await desk.outgoing.send(Reported(delivery=delivery, report=report()))
        await until_empty(desk.bus)
        assert await stored_report(desk) == report()
        await desk.ear.until(lambda: len(desk.answers()) == 1)
        assert msgspec.json.decode(desk.answers()[0].data, type=Report) == report()
        assert desk.custody.statistics().held == 0
        assert desk.publisher.statistics() == PublisherStatistics(
            events=0, reports=1, rejections=0, failed_stores=0
        )


@pytest.mark.trio
async def test_while_the_report_cannot_be_stored_its_request_is_neither_answered_nor_settled() -> None:
    async with open_desk() as desk:
        delivery = await desk.requested(reply_to="answers.1")
        await desk.bus.call(desk.bus.jetstream.delete_stream, STREAM_EVENTS)
        await desk.outgoing.send(Reported(delivery=delivery, report=report()))
        await desk.until_failed(times=3)
        assert (await stored(desk.bus)).messages == 1
        assert desk.custody.statistics().held == 1
        assert desk.answers() == []
        await ensure(desk.bus)
        await until_empty(desk.bus)
        assert await stored_report(desk) == report()
        await desk.ear.until(lambda: len(desk.answers()) == 1)


@pytest.mark.trio
async def test_a_publisher_that_is_stopped_before_the_report_is_stored_leaves_the_request() -> None:
    async with open_desk() as desk:
        delivery = await desk.requested()
        await desk.bus.call(desk.bus.jetstream.delete_stream, STREAM_EVENTS)
        await desk.outgoing.send(Reported(delivery=delivery, report=report()))
        await desk.until_failed()
        desk.running.cancel()
    assert desk.custody.statistics().held == 1
    assert desk.custody.statistics().acknowledged == 0


@pytest.mark.trio
async def test_a_story_that_is_reported_twice_has_one_report_and_both_requests_are_settled() -> None:
    async with open_desk() as desk:
        first, second = await desk.requested(b"1"), await desk.requested(b"2")
        await desk.outgoing.send(Reported(delivery=first, report=report(total_duration=1)))
        await until_alone_with(desk, 1)
        await desk.outgoing.send(Reported(delivery=second, report=report(total_duration=2)))
        await until_empty(desk.bus)
        assert await reports_stored(desk.bus) == 1
        assert await stored_report(desk) == report(total_duration=1)


@pytest.mark.trio
async def test_a_report_that_another_worker_stored_long_ago_stays_the_only_one() -> None:
    async with open_desk() as desk:
        delivery = await desk.requested()
        # Without a message id: what the stream remembers of ids is over after its window.
        old = msgspec.json.encode(report(total_duration=1))
        await desk.bus.store(Outbound("storycast.report.main.sale", old))
        await desk.outgoing.send(Reported(delivery=delivery, report=report(total_duration=2)))
        await until_empty(desk.bus)
        assert await reports_stored(desk.bus) == 1
        assert desk.publisher.statistics().failed_stores == 0


@pytest.mark.trio
@pytest.mark.parametrize("names", [90_000, 95_800, 99_900, 100_000, 300_000])
async def test_a_report_that_is_too_large_for_the_server_is_stored_without_its_names(names: int) -> None:
    large = report(skipped=1, skipped_recipients=["x" * names])
    async with open_desk(max_payload=100_000) as desk:
        delivery = await desk.requested(reply_to="answers.1")
        await desk.outgoing.send(Reported(delivery=delivery, report=large))
        await until_empty(desk.bus)
        kept = await stored_report(desk)
        assert structs.replace(kept, skipped_recipients=[]) == structs.replace(large, skipped_recipients=[])
        assert kept.skipped_recipients == (large.skipped_recipients if names == 90_000 else [])
        await desk.ear.until(lambda: len(desk.answers()) == 1)
        assert msgspec.json.decode(desk.answers()[0].data, type=Report) == kept


@pytest.mark.trio
async def test_what_cannot_be_stored_now_does_not_hold_up_the_others() -> None:
    async with open_desk() as desk:
        await desk.bus.call(desk.bus.jetstream.delete_stream, STREAM_REJECTED)
        await desk.outgoing.send(refused(await desk.requested(b"bad")))
        await desk.until_failed()
        await desk.outgoing.send(Reported(delivery=await desk.requested(), report=report()))
        await until_alone_with(desk, 1)
        assert await stored_report(desk) == report()
        await ensure(desk.bus)
        await until_empty(desk.bus)


# Refusals


def refused(delivery: Delivery) -> Refused:
    why = BadRequest("wrong-type", field="content", found="`int`", allowed="an object: ü, \u2028, \U0001f600")
    return refusal(delivery, why, now=lambda: EPOCH)


@pytest.mark.trio
async def test_a_refused_request_is_kept_byte_for_byte_under_its_reason_and_answered() -> None:
    original = b'{"storyId": "sale",\r\n "\xff\x00": 1}'
    async with open_desk() as desk:
        item = refused(await desk.requested(original, reply_to="answers.1"))
        await desk.outgoing.send(item)
        await until_empty(desk.bus)
        await desk.ear.until(lambda: len(desk.answers()) == 1)
        kept = await desk.bus.last(STREAM_REJECTED, "storycast.rejected.main")
        assert kept is not None
        assert kept.data == original
        assert rejection_of(kept) == item.rejection
        assert msgspec.json.decode(desk.answers()[0].data, type=type(item.rejection)) == item.rejection
        assert desk.publisher.statistics().rejections == 1


@pytest.mark.trio
async def test_a_refused_request_as_large_as_the_server_takes_is_kept_whole() -> None:
    original = b'{"x": "' + b"a" * (100_000 - 9) + b'"}'
    async with open_desk(max_payload=100_000) as desk:
        item = refused(await desk.requested(original))
        await desk.outgoing.send(item)
        await until_empty(desk.bus)
        kept = await desk.bus.last(STREAM_REJECTED, "storycast.rejected.main")
        assert kept is not None
        assert kept.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(kept.data) == original
        assert rejection_of(kept) == item.rejection


@pytest.mark.trio
@pytest.mark.parametrize("spare", [0, 1, 4_095, 8_192])
async def test_a_refused_request_that_cannot_be_made_to_fit_is_cut_and_says_so(spare: int) -> None:
    original = random.Random(7).randbytes(100_000 - spare)
    async with open_desk(max_payload=100_000) as desk:
        await desk.outgoing.send(refused(await desk.requested(original)))
        await until_empty(desk.bus)
        kept = await desk.bus.last(STREAM_REJECTED, "storycast.rejected.main")
        assert kept is not None
        if spare == 8_192:
            assert kept.data == original
        else:
            assert kept.headers["Storycast-Cut-From"] == str(len(original))
            assert original.startswith(kept.data)
            assert len(kept.data) > 90_000


# Repeated and postponed


@pytest.mark.trio
async def test_repeated_requests_get_the_answer_of_the_first_before_and_after_it_is_there() -> None:
    async with open_desk() as desk:
        first = await desk.requested(reply_to="answers.first")
        early = [await desk.requested(reply_to=f"answers.early{n}") for n in range(3)]
        await desk.outgoing.send(progress(0))
        for delivery in early:
            await desk.outgoing.send(Repeated(delivery=delivery, story_id="sale"))
        await desk.outgoing.send(Reported(delivery=first, report=report()))
        await until_empty(desk.bus)
        late = await desk.requested(reply_to="answers.late")
        await desk.outgoing.send(Repeated(delivery=late, story_id="sale"))
        await until_empty(desk.bus)
        await desk.ear.until(lambda: len(desk.answers()) == 5)
        assert {message.data for message in desk.answers()} == {msgspec.json.encode(report())}
        asked = [f"answers.{name}" for name in ("early0", "early1", "early2", "first", "late")]
        assert sorted(message.subject for message in desk.answers()) == asked
        assert await reports_stored(desk.bus) == 1


@pytest.mark.trio
async def test_whoever_repeats_a_story_is_not_answered_with_the_report_of_its_rehearsal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher_module, "ANSWER_RETRY", 0.05)
    async with open_desk() as desk:
        rehearsal = await desk.requested(reply_to="answers.rehearsal")
        repeated = await desk.requested(reply_to="answers.repeated")
        await desk.outgoing.send(progress(0))
        await desk.outgoing.send(Repeated(delivery=repeated, story_id="sale"))
        rehearsed = structs.replace(report(), dry_run=True)
        await desk.outgoing.send(Reported(delivery=rehearsal, report=rehearsed))
        again = await desk.arrived()
        assert again.key == repeated.key
        await desk.outgoing.send(progress(0))
        await desk.outgoing.send(Reported(delivery=again, report=report()))
        await until_empty(desk.bus)
        await desk.ear.until(lambda: len(desk.answers()) == 2)
        assert {message.subject: message.data for message in desk.answers()} == {
            "answers.rehearsal": msgspec.json.encode(rehearsed),
            "answers.repeated": msgspec.json.encode(report()),
        }


@pytest.mark.trio
async def test_a_repeated_request_waits_in_custody_until_the_report_is_there() -> None:
    async with open_desk() as desk:
        early = await desk.requested(reply_to="answers.1")
        await desk.outgoing.send(progress(0))
        await desk.outgoing.send(Repeated(delivery=early, story_id="sale"))
        other = await desk.requested()
        await desk.outgoing.send(Reported(delivery=other, report=report("other")))
        await until_alone_with(desk, 1)
        assert desk.custody.statistics().held == 1
        assert desk.answers() == []


@pytest.mark.trio
async def test_a_repeated_request_of_a_story_that_is_not_under_way_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher_module, "ANSWER_RETRY", 0.05)
    async with open_desk() as desk:
        delivery = await desk.requested(b"again")
        await desk.outgoing.send(Repeated(delivery=delivery, story_id="sale"))
        assert (await desk.arrived()).key == delivery.key
        assert (await stored(desk.bus)).messages == 1


@pytest.mark.trio
async def test_a_postponed_request_comes_again_and_is_still_in_the_stream() -> None:
    async with open_desk() as desk:
        delivery = await desk.requested(b"later")
        await desk.outgoing.send(Postponed(delivery=delivery, until=EPOCH + timedelta(milliseconds=200)))
        again = await desk.arrived()
        assert (again.key, again.data) == (delivery.key, b"later")
        assert (await stored(desk.bus)).messages == 1


# Events


@pytest.mark.trio
async def test_events_are_on_their_subjects_in_order_and_before_the_report() -> None:
    decision = Scaling(session_id="main", story_id="sale", size=500, gap_ms=100, reason="fast", at=EPOCH)
    alert = Alert(session_id="main", kind="session-lost", reason="logged out", at=EPOCH)
    events = [progress(n) for n in range(50)]
    async with open_desk("storycast.>") as desk:
        delivery = await desk.requested()
        for event in events:
            await desk.outgoing.send(event)
        await desk.outgoing.send(decision)
        await desk.outgoing.send(alert)
        await desk.outgoing.send(Reported(delivery=delivery, report=report()))
        await desk.ear.until_reports(1)
        assert desk.ear.messages[-1].subject == "storycast.report.main.sale"
        assert [message.subject for message in desk.ear.messages[-3:-1]] == [
            "storycast.scaling.main",
            "storycast.alerts.main",
        ]
        assert desk.ear.progress == events
        assert {message.subject for message in desk.ear.on("storycast.progress")} == {
            "storycast.progress.main.sale"
        }
        assert desk.ear.scalings == [decision]
        assert desk.ear.alerts == [alert]


@pytest.mark.trio
async def test_it_ends_once_its_inbox_is_closed_and_all_of_it_is_published() -> None:
    async with open_nats() as bus:
        await ensure(bus)
        send, receive = anyio.create_memory_object_stream[Outgoing](1_000)
        with send:
            for n in range(600):
                send.send_nowait(progress(n))
        custody = Custody(bus, now=lambda: EPOCH)
        async with open_ear(bus) as ear:
            publisher = Publisher(
                receive,
                bus,
                custody,
                reports=NatsReports(bus),
                jobs=NatsJobs(bus),
                now=virtual_now,
                random=no_jitter,
            )
            await publisher()
            assert publisher.statistics().events == 600
            await ear.until(lambda: len(ear.progress) == 600)


@pytest.mark.trio
async def test_a_report_with_a_reason_of_its_own_for_everybody_is_stored_without_them_where_it_is_too_long() -> (
    None
):
    async with open_desk(max_payload=64 * 1024) as desk:
        wordy = structs.replace(report("sale"), failures={f"{n:040} is away": 1 for n in range(2_000)})
        await desk.outgoing.send(Reported(delivery=await desk.requested(), report=wordy))
        await until_empty(desk.bus)
        found = await stored_report(desk)
    assert (found.failures, found.failed) == ({}, wordy.failed)


@pytest.mark.trio
async def test_a_story_that_is_reported_is_finished_whatever_somebody_else_has_noted_of_it() -> None:
    async with open_desk() as desk:
        await NatsJobs(desk.bus).save(Checkpoint(session_id="main", story_id="sale", state="paused"))
        await desk.outgoing.send(Reported(delivery=await desk.requested(), report=report("sale")))
        await until_empty(desk.bus)
        found = await NatsJobs(desk.bus).load("main", "sale")
    assert found is not None
    assert found.state == "finished"
