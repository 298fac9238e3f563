"""Pulling brings every message of a consumer, no more at once than was asked for, and goes on whatever happens."""

from __future__ import annotations

from itertools import repeat
from pathlib import Path
from typing import Any

import nats.errors
import pytest
import trio
from nats.js.api import ConsumerInfo

from tests.nats_support import (
    AT_MOST,
    Events,
    eventually,
    fill,
    make_stream,
    open_nats,
    open_restartable,
    open_work,
    some,
    stored,
    until_empty,
)
from transports import pull
from transports.bus import Bus, Inbound, Outbound, open_bus
from transports.errors import TransportError
from transports.mailbox import Mailbox
from transports.pull import ACK, BATCH, Pulled, nak, open_pull, pulled


async def settle(bus: Bus, pulled: list[Pulled], how: bytes = ACK) -> None:
    await bus.publish([Outbound(one.ack_subject, how) for one in pulled])


async def consumer(bus: Bus) -> ConsumerInfo:
    return await bus.call(bus.jetstream.consumer_info, "WORK", "workers")


async def in_hand(bus: Bus) -> int:
    """Messages that were delivered and not settled."""
    return (await consumer(bus)).num_ack_pending or 0


async def requests_standing(bus: Bus) -> int:
    return (await consumer(bus)).num_waiting or 0


def numbers(pulled: list[Pulled]) -> list[int]:
    return [int(one.data) for one in pulled]


# What comes


@pytest.mark.trio
async def test_messages_come_as_they_were_stored_with_their_place() -> None:
    async with open_nats() as bus:
        await make_stream(bus)
        for n in range(3):
            await bus.store(Outbound(f"work.{n}", str(n).encode(), {"Kind": f"k{n}"}))
        async with open_work(bus) as mailbox:
            pulled = await some(mailbox, 3)
    assert [(one.subject, one.data, one.sequence) for one in pulled] == [
        ("work.0", b"0", 1),
        ("work.1", b"1", 2),
        ("work.2", b"2", 3),
    ]
    assert [one.headers for one in pulled] == [{"Kind": "k0"}, {"Kind": "k1"}, {"Kind": "k2"}]


@pytest.mark.trio
async def test_many_more_than_one_request_asks_for_come_in_order_each_once() -> None:
    count = BATCH * 5 + 17
    async with open_nats() as bus:
        await make_stream(bus)
        await fill(bus, count)
        async with open_work(bus) as mailbox:
            assert numbers(await some(mailbox, count)) == list(range(count))


@pytest.mark.trio
async def test_a_message_comes_as_soon_as_it_is_stored() -> None:
    async with open_nats() as bus:
        await make_stream(bus)
        async with open_work(bus) as mailbox:
            for n in range(5):
                await fill(bus, 1, first=n)
                assert numbers(await some(mailbox, 1)) == [n]


@pytest.mark.trio
async def test_a_message_is_a_message_whatever_headers_its_sender_chose() -> None:
    async with open_nats() as bus:
        await make_stream(bus)
        await bus.store(Outbound("work.item", b"0", {"Status": "gold", "Description": "of a sale"}))
        async with open_work(bus) as mailbox:
            assert numbers(await some(mailbox, 1)) == [0]


# Settling


@pytest.mark.trio
async def test_what_is_acknowledged_leaves_the_stream_and_does_not_come_again() -> None:
    async with open_nats() as bus:
        await make_stream(bus)
        await fill(bus, 10)
        async with open_work(bus) as mailbox:
            await settle(bus, await some(mailbox, 10))
            await until_empty(bus, "WORK")
            await fill(bus, 1, first=10)
            assert numbers(await some(mailbox, 1)) == [10]


@pytest.mark.trio
@pytest.mark.parametrize("delay", [0.0, 0.05])
async def test_what_is_handed_back_comes_again_with_the_same_place(delay: float) -> None:
    async with open_nats() as bus:
        await make_stream(bus)
        await fill(bus, 2)
        async with open_work(bus) as mailbox:
            first, second = await some(mailbox, 2)
            await settle(bus, [second])
            await settle(bus, [first], nak(delay))
            [again] = await some(mailbox, 1)
        assert (again.data, again.sequence) == (first.data, first.sequence)
        assert again.stored == first.stored > 0
        assert again.ack_subject != first.ack_subject
        assert (await consumer(bus)).num_redelivered == 1


@pytest.mark.trio
async def test_what_is_handed_back_for_later_lets_others_go_first() -> None:
    async with open_nats() as bus:
        await make_stream(bus)
        await fill(bus, 1)
        async with open_work(bus) as mailbox:
            await settle(bus, await some(mailbox, 1), nak(3600))
            await fill(bus, 1, first=1)
            assert numbers(await some(mailbox, 1)) == [1]
            assert (await stored(bus, "WORK")).messages == 2


# Back-pressure


@pytest.mark.trio
async def test_a_reader_that_takes_nothing_is_sent_no_more_than_one_request_asks_for() -> None:
    async with open_nats() as bus:
        await make_stream(bus)
        await fill(bus, BATCH * 4)
        async with open_work(bus) as mailbox:
            await until_full(bus, mailbox)
            assert await in_hand(bus) <= BATCH
            assert numbers(await some(mailbox, BATCH * 4)) == list(range(BATCH * 4))


@pytest.mark.trio
async def test_a_reader_is_never_ahead_of_what_it_took_by_more_than_a_request_and_a_mailbox() -> None:
    taken, most = 0, 0
    async with open_nats() as bus:
        await make_stream(bus)
        await fill(bus, BATCH * 8)
        async with open_work(bus) as mailbox:
            while taken < BATCH * 8:
                with trio.fail_after(AT_MOST):
                    taken += len(await mailbox.receive())
                most = max(most, await in_hand(bus) - taken)
    assert most <= BATCH * 2


@pytest.mark.trio
async def test_a_reader_that_takes_nothing_for_longer_than_a_request_stands_is_not_sent_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pull, "EXPIRES", 0.1)
    async with open_nats() as bus:
        await make_stream(bus)
        await fill(bus, BATCH * 4)
        async with open_work(bus) as mailbox:
            await until_full(bus, mailbox)
            await until_others_asked_again_and_again(bus)
            assert await in_hand(bus) <= BATCH
            assert numbers(await some(mailbox, BATCH * 4)) == list(range(BATCH * 4))


async def until_others_asked_again_and_again(bus: Bus) -> None:
    """Wait for longer than any request stands, as another puller sees it that gets nothing."""
    await make_stream(bus, "IDLE")
    asked = "$JS.API.CONSUMER.MSG.NEXT.IDLE.workers"
    async with bus.subscribe(asked) as requests, open_pull(bus, "IDLE", "workers"):
        await some(requests, 20)


@pytest.mark.trio
async def test_what_nobody_took_is_handed_back_at_the_end_of_the_block() -> None:
    async with open_nats() as bus:
        await make_stream(bus)
        await fill(bus, BATCH)
        async with open_work(bus) as mailbox:
            await until_full(bus, mailbox)
        async with open_work(bus) as mailbox:
            assert sorted(numbers(await some(mailbox, BATCH))) == list(range(BATCH))


async def until_full(bus: Bus, mailbox: Mailbox[Pulled]) -> None:
    async def waiting() -> int:
        await consumer(bus)  # a turn for the network
        return mailbox.statistics().waiting

    await eventually(waiting, lambda count: count == BATCH)


# Waiting


@pytest.mark.trio
async def test_a_cancelled_wait_takes_nothing_and_strands_nothing() -> None:
    found: list[int] = []
    async with open_nats() as bus:
        await make_stream(bus)
        async with open_work(bus) as mailbox:
            await fill(bus, 1_000)
            while len(found) < 1_000:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    found += numbers(await mailbox.receive())
                with trio.fail_after(AT_MOST):
                    found += numbers(await mailbox.receive())
    assert found == list(range(1_000))


@pytest.mark.trio
async def test_after_the_block_nothing_more_is_taken_from_the_stream() -> None:
    async with open_nats() as bus:
        await make_stream(bus)
        async with open_work(bus):
            await eventually(lambda: requests_standing(bus), lambda count: count == 1)
        await fill(bus, 1)
        assert await in_hand(bus) == 0
        async with open_work(bus) as mailbox:
            assert numbers(await some(mailbox, 1)) == [0]


@pytest.mark.trio
async def test_a_consumer_without_messages_for_longer_than_a_request_stands_is_still_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pull, "EXPIRES", 0.1)
    async with open_nats() as bus:
        await make_stream(bus)
        next_ = "$JS.API.CONSUMER.MSG.NEXT.WORK.workers"
        async with bus.subscribe(next_) as asked, open_work(bus) as mailbox:
            await some(asked, 4)
            await fill(bus, 1)
            assert numbers(await some(mailbox, 1)) == [0]


@pytest.mark.trio
async def test_requests_do_not_pile_up_while_they_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "EXPIRES", 0.1)
    async with open_nats() as bus:
        await make_stream(bus)
        next_ = "$JS.API.CONSUMER.MSG.NEXT.WORK.workers"
        async with bus.subscribe(next_) as asked, open_work(bus):
            for _ in range(5):
                await some(asked, 1)
                assert await requests_standing(bus) <= 1


# A server that goes away


@pytest.mark.trio
async def test_it_goes_on_after_a_restart_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "EXPIRES", 0.5)
    events = Events()
    async with open_restartable(tmp_path) as server:
        await server.start()
        async with open_bus(server.url, on_event=events) as bus:
            await make_stream(bus)
            async with open_work(bus) as mailbox:
                await fill(bus, 1)
                await settle(bus, await some(mailbox, 1))
                await until_empty(bus, "WORK")
                await server.stop()
                await server.start()
                await events.until("connected to NATS again")
                await fill(bus, 2, first=1)
                assert numbers(await some(mailbox, 2)) == [1, 2]


@pytest.mark.trio
async def test_a_consumer_that_is_made_later_is_pulled_from_once_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pull, "EXPIRES", 0.2)
    async with open_nats() as bus, open_pull(bus, "WORK", "workers") as mailbox:
        await make_stream(bus)
        await fill(bus, 1)
        assert numbers(await some(mailbox, 1)) == [0]


@pytest.mark.trio
async def test_a_full_buffer_of_a_lost_connection_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "EXPIRES", 0.05)
    monkeypatch.setattr(pull, "REFUSED_DELAY", 0.02)
    events, refused = Events(), 0
    async with open_restartable(tmp_path) as server:
        await server.start()
        async with open_bus(server.url, on_event=events) as bus:
            await make_stream(bus)
            publish = bus.client.publish

            async def counted(subject: str, *args: Any, **kwargs: Any) -> None:
                nonlocal refused
                try:
                    await publish(subject, *args, **kwargs)
                except nats.errors.OutboundBufferLimitError:
                    refused += "MSG.NEXT" in subject
                    raise

            monkeypatch.setattr(bus.client, "publish", counted)
            async with open_work(bus) as mailbox:
                await server.stop()
                await events.until("is lost")
                with pytest.raises(TransportError):
                    await bus.publish(list(repeat(Outbound("nobody.hears", bytes(40)), 100_000)))
                with trio.fail_after(AT_MOST):
                    while refused < 3:
                        await trio.lowlevel.checkpoint()
                await server.start()
                await events.until("connected to NATS again")
                await fill(bus, 2)
                assert numbers(await some(mailbox, 2)) == [0, 1]


# The place of a message


def test_the_place_is_read_from_an_ack_subject_of_either_form() -> None:
    assert (
        pulled(
            Inbound("work.item", b"", reply="$JS.ACK.WORK.workers.1.4711.12.1760000000000000000.3")
        ).sequence
        == 4711
    )
    assert (
        pulled(
            Inbound(
                "work.item", b"", reply="$JS.ACK.hub.ACCHASH.WORK.workers.1.4711.12.1760000000000000000.3"
            )
        ).sequence
        == 4711
    )
    assert (
        pulled(
            Inbound(
                "work.item",
                b"",
                reply="$JS.ACK.hub.ACCHASH.WORK.workers.1.4711.12.1760000000000000000.3.x7fK",
            )
        ).sequence
        == 4711
    )
