"""A request in custody is counted once, kept from others while it is worked on, and settled for good or handed back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
import trio
from msgspec import structs
from nats.js.api import ConsumerInfo

from pipeline import custody as custody_module
from pipeline.custody import Custody, CustodyStatistics
from stages.flow import Delivery
from stages.messages import Level
from tests.nats_support import (
    AT_MOST,
    Ear,
    make_stream,
    open_ear,
    open_nats,
    open_work,
    some,
    stored,
    until_empty,
)
from transports.bus import Bus, Inbound, Outbound
from transports.mailbox import Mailbox
from transports.pull import IN_PROGRESS, Pulled

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


def pulled(
    sequence: int = 1, session: str = "main", headers: dict[str, str] | None = None, ack: str = "ack.1"
) -> Pulled:
    return Pulled(f"storycast.send.{session}", b"{}", headers or {}, ack, sequence)


async def put(bus: Bus, *sessions: str) -> None:
    """One request for each, in the stream of `make_stream`."""
    for session in sessions:
        await bus.store(Outbound(f"work.send.{session}", session.encode()))


async def consumer(bus: Bus) -> ConsumerInfo:
    return await bus.call(bus.jetstream.consumer_info, "WORK", "workers")


def take(custody: Custody, requests: list[Pulled], level: Level = "normal") -> list[Delivery]:
    taken = [custody.take(one, level) for one in requests]
    return [delivery for delivery in taken if delivery is not None]


@asynccontextmanager
async def open_custody(*sessions: str) -> AsyncIterator[tuple[Bus, Custody, Mailbox[Pulled], list[Delivery]]]:
    """A custody that holds a request for each of `sessions`."""
    async with open_nats() as bus:
        await make_stream(bus)
        await put(bus, *sessions)
        async with open_work(bus) as mailbox:
            custody = Custody(bus, now=lambda: NOW)
            yield bus, custody, mailbox, take(custody, await some(mailbox, len(sessions)))


def settlements(ear: Ear) -> list[bytes]:
    return [message.data for message in ear.messages]


# Taking


@pytest.mark.trio
async def test_a_delivery_says_what_its_request_said() -> None:
    async with open_nats() as bus:
        custody = Custody(bus, now=lambda: NOW)
        headers = {"Content-Type": "application/msgpack", "Storycast-Reply-To": "_INBOX.a1.b2"}
        request = Pulled("storycast.send.main.high", b"\x80", headers, "ack.7", 7)
        delivery = custody.take(request, "high")
        bare = custody.take(pulled(8), "normal")
    assert delivery == Delivery(
        key=(7, 0),
        session="main",
        data=b"\x80",
        level="high",
        content_type="application/msgpack",
        reply_to="_INBOX.a1.b2",
    )
    assert bare == Delivery(key=(8, 0), session="main", data=b"{}")


@pytest.mark.trio
async def test_a_request_that_comes_again_while_it_is_held_is_taken_once_and_settled_by_its_last_delivery() -> (
    None
):
    async with open_nats() as bus, open_ear(bus, "ack.*") as ear:
        custody = Custody(bus, now=lambda: NOW)
        assert custody.take(pulled(5, ack="ack.first"), "normal") is not None
        assert custody.take(pulled(5, ack="ack.second"), "normal") is None
        assert custody.count("main", "normal") == 1
        assert custody.statistics().held == 1
        await custody.acknowledge([(5, 0)])
        await ear.until(lambda: len(ear.messages) == 1)
    assert [message.subject for message in ear.messages] == ["ack.second"]


HARMFUL = [
    "$JS.API.STREAM.DELETE.STORYCAST_SENDS",
    "$KV.storycast_sessions.main",
    "$SYS.REQ.SERVER.PING",
    "storycast.send.main",
    "storycast.report.main.sale",
    "answers.*",
    "answers.>",
    ">",
    "an swer",
    "answer\tx",
    "answers..x",
    ".answers",
    "answers.",
    "x" * 256,
]


@pytest.mark.trio
@pytest.mark.parametrize("subject", HARMFUL)
async def test_an_answer_never_goes_where_it_could_do_harm(subject: str) -> None:
    async with open_nats() as bus:
        delivery = Custody(bus, now=lambda: NOW).take(
            pulled(headers={"Storycast-Reply-To": subject}), "normal"
        )
    assert delivery is not None
    assert delivery.reply_to is None


@pytest.mark.trio
@pytest.mark.parametrize(
    "subject", ["_INBOX.xyz.1", "answers", "my-app.answers.42", "storycasts.x", "x" * 255]
)
async def test_an_answer_goes_to_any_other_subject(subject: str) -> None:
    async with open_nats() as bus:
        delivery = Custody(bus, now=lambda: NOW).take(
            pulled(headers={"Storycast-Reply-To": subject}), "normal"
        )
    assert delivery is not None
    assert delivery.reply_to == subject


@pytest.mark.trio
async def test_what_is_held_is_counted_by_session_and_level_until_it_is_settled() -> None:
    async with open_nats() as bus:
        custody = Custody(bus, now=lambda: NOW)
        for sequence, (session, level) in enumerate(
            [("a", "normal"), ("a", "normal"), ("a", "high"), ("b", "normal")]
        ):
            custody.take(pulled(sequence, session), level)  # type: ignore[arg-type] # they are levels
        assert [custody.count("a", "normal"), custody.count("a", "high"), custody.count("b", "normal")] == [
            2,
            1,
            1,
        ]
        await custody.acknowledge([(0, 0)])
        await custody.hand_back([(2, 0), (3, 0)])
        assert [custody.count("a", "normal"), custody.count("a", "high"), custody.count("b", "normal")] == [
            1,
            0,
            0,
        ]
        assert custody.statistics() == CustodyStatistics(held=1, acknowledged=1, handed_back=2, paused=0)


# Settling


@pytest.mark.trio
async def test_acknowledged_requests_leave_the_stream_and_the_others_stay() -> None:
    async with open_custody("a", "b", "c") as (bus, custody, _, held):
        await custody.acknowledge([held[0].key, held[2].key])
        state = await stored_when(bus, messages=1)
        assert state == 1
        await custody.acknowledge([held[1].key])
        await until_empty(bus, "WORK")


async def stored_when(bus: Bus, *, messages: int) -> int:
    with trio.fail_after(AT_MOST):
        while (await stored(bus, "WORK")).messages > messages:
            await trio.lowlevel.checkpoint()
    return (await stored(bus, "WORK")).messages


@pytest.mark.trio
async def test_what_is_handed_back_comes_again_and_can_be_taken_anew() -> None:
    async with open_custody("a", "b") as (_, custody, mailbox, held):
        await custody.hand_back([held[1].key])
        again = take(custody, await some(mailbox, 1))
    assert [delivery.key for delivery in again] == [held[1].key]
    assert custody.statistics() == CustodyStatistics(held=2, acknowledged=0, handed_back=1, paused=0)


@pytest.mark.trio
async def test_settling_twice_or_what_was_never_held_does_nothing() -> None:
    async with open_custody("a") as (bus, custody, _, held), open_ear(bus, "$JS.ACK.>") as ear:
        for _ in range(2):
            await custody.acknowledge([held[0].key, "never"])
            await custody.hand_back([held[0].key])
        await bus.publish([Outbound("$JS.ACK.end")])
        await ear.until(lambda: b"" in settlements(ear))
    assert settlements(ear) == [b"+ACK", b""]
    assert custody.statistics() == CustodyStatistics(held=0, acknowledged=1, handed_back=0, paused=0)


@pytest.mark.trio
async def test_a_session_is_handed_back_whole_and_no_other() -> None:
    async with open_custody("a", "b", "a", "b") as (bus, custody, mailbox, held):
        await custody.hand_back_session("a", delay=0)
        again = await some(mailbox, 2)
        assert [one.data for one in again] == [b"a", b"a"]
        assert custody.count("b", "normal") == 2
        await custody.acknowledge([held[1].key, held[3].key])
        assert await stored_when(bus, messages=2) == 2


@pytest.mark.trio
async def test_all_is_handed_back_when_a_worker_stops() -> None:
    async with open_custody("a", "b", "c") as (_, custody, mailbox, _held):
        await custody.hand_back_all()
        assert custody.statistics().held == 0
        assert sorted(one.sequence for one in await some(mailbox, 3)) == [1, 2, 3]


@pytest.mark.trio
@pytest.mark.parametrize(
    ("until", "delay"),
    [
        (timedelta(seconds=90), 90.0),
        (timedelta(days=30), 3600.0),
        (timedelta(0), 0.1),
        (timedelta(days=-1), 0.1),
    ],
)
async def test_a_postponed_request_is_asked_for_at_its_time_or_looked_at_again_in_an_hour(
    until: timedelta, delay: float
) -> None:
    async with open_custody("a") as (bus, custody, _, held), open_ear(bus, "$JS.ACK.>") as ear:
        await custody.postpone(held[0].key, NOW + until)
        await ear.until(lambda: len(ear.messages) == 1)
    verb, _, body = settlements(ear)[0].partition(b" ")
    assert verb == b"-NAK"
    assert msgspec.json.decode(body) == {"delay": int(delay * 1e9)}


@pytest.mark.trio
async def test_a_postponed_request_comes_again() -> None:
    async with open_custody("a") as (_, custody, mailbox, held):
        await custody.postpone(held[0].key, NOW)
        assert [(one.sequence, one.stored) for one in await some(mailbox, 1)] == [held[0].key]


@pytest.mark.trio
async def test_a_request_in_a_stream_that_was_made_anew_is_not_taken_for_an_older_one_of_its_place() -> None:
    async with open_nats() as bus:
        custody = Custody(bus, now=lambda: NOW)
        old, new = (structs.replace(pulled(1), stored=at) for at in (1, 2))
        assert len(take(custody, [old, new, old, new])) == 2
        assert custody.statistics().held == 2


# The heartbeat


@pytest.mark.trio
async def test_what_is_held_is_not_given_to_another_however_long_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(custody_module, "HEARTBEAT", 0.1)
    async with open_nats() as bus:
        await make_stream(bus, ack_wait=1.0)
        await put(bus, "a", "b")
        async with open_work(bus) as mailbox, trio.open_nursery() as nursery:
            custody = Custody(bus, now=lambda: NOW)
            first, second = take(custody, await some(mailbox, 2))
            async with bus.subscribe("$JS.ACK.>") as beats:
                nursery.start_soon(custody.keep)
                heard = await some(beats, 2 * 15)
            assert {beat.data for beat in heard} == {IN_PROGRESS}
            assert (await consumer(bus)).num_redelivered == 0
            await custody.acknowledge([first.key, second.key])
            await until_empty(bus, "WORK")
            nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_without_a_heartbeat_a_request_comes_again_so_that_a_dead_worker_loses_nothing() -> None:
    async with open_nats() as bus:
        await make_stream(bus, ack_wait=0.2)
        await put(bus, "a")
        async with open_work(bus) as mailbox:
            custody = Custody(bus, now=lambda: NOW)
            first = await some(mailbox, 1)
            again = await some(mailbox, 1)
            assert [len(take(custody, first)), len(take(custody, again))] == [1, 0]


@pytest.mark.trio
async def test_the_heartbeat_ends_for_what_is_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(custody_module, "HEARTBEAT", 0.02)
    async with open_custody("a", "b") as (bus, custody, _, held), trio.open_nursery() as nursery:
        async with bus.subscribe("$JS.ACK.>") as beats:
            nursery.start_soon(custody.keep)
            await some(beats, 4)
            await custody.acknowledge([held[0].key])
            later = after(await some(beats, 10), b"+ACK")
            assert len({beat.subject for beat in later}) == 1
        nursery.cancel_scope.cancel()


def after(messages: list[Inbound], data: bytes) -> list[Inbound]:
    place = [message.data for message in messages].index(data)
    return messages[place + 1 :]
