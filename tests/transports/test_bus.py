"""The bus does what NATS can do for Trio tasks, says in one way what went wrong, and survives its server."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import pytest
import trio

from tests.nats_support import (
    AT_MOST,
    Events,
    free_port,
    make_stream,
    open_ear,
    open_nats,
    open_restartable,
    some,
    stored,
    url_of,
)
from transports import bus as bus_module
from transports import connection
from transports.bus import WRONG_LAST_SEQUENCE, Bus, Inbound, NotStored, Outbound, Stored, open_bus
from transports.errors import PublishRefused, Unreachable
from transports.mailbox import Mailbox
from transports.server import open_server


@contextmanager
def ends_with_unreachable(match: str) -> Iterator[None]:
    """The block ends with this error, which leaves it in a group as from any nursery."""
    with pytest.RaisesGroup(pytest.RaisesExc(Unreachable, match=match), flatten_subgroups=True):
        yield


async def echo(bus: Bus, mailbox: Mailbox[Inbound]) -> None:
    while True:
        for message in await mailbox.receive():
            await bus.publish([Outbound(message.reply, message.data.upper(), message.headers)])


@asynccontextmanager
async def echoing(bus: Bus, subject: str) -> AsyncIterator[None]:
    async with bus.subscribe(subject) as mailbox, trio.open_nursery() as nursery:
        nursery.start_soon(echo, bus, mailbox)
        yield
        nursery.cancel_scope.cancel()


# Connecting


@pytest.mark.trio
@pytest.mark.parametrize("listening", [False, True])
async def test_a_server_that_does_not_answer_is_unreachable_by_its_name(
    listening: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if listening else free_port()
        with ends_with_unreachable(rf"no NATS server answers at nats://127\.0\.0\.1:{port}"):
            async with open_bus(f"nats://127.0.0.1:{port}"):
                pytest.fail("there is nobody to be connected to")


@pytest.mark.trio
async def test_of_several_servers_one_that_answers_is_enough() -> None:
    async with open_server() as server:
        for url in (f"nats://127.0.0.1:{free_port()},{server.url}", f"{server.url},nats://127.0.0.1:1"):
            async with open_bus(url) as bus:
                assert f"nats://{bus.url}" == server.url


@pytest.mark.trio
async def test_it_knows_where_it_is_connected_and_what_is_too_large_there() -> None:
    async with open_server(max_payload=70_000) as server, open_bus(server.url) as bus:
        assert f"nats://{bus.url}" == server.url
        assert bus.max_payload == 70_000


# Publishing and hearing


@pytest.mark.trio
async def test_what_is_published_is_heard_in_order_as_it_was() -> None:
    sent = [Outbound(f"news.{n % 3}", str(n).encode()) for n in range(3000)]
    async with open_nats() as bus, bus.subscribe("news.*") as mailbox:
        await bus.publish(sent)
        heard = await some(mailbox, len(sent))
    assert [(one.subject, one.data) for one in heard] == [(one.subject, one.data) for one in sent]


@pytest.mark.trio
async def test_subject_data_headers_and_reply_arrive_unchanged() -> None:
    headers = {"Content-Type": "application/msgpack", "Nats-Msg-Id": "7"}
    async with open_nats() as bus, bus.subscribe("news") as mailbox:
        await bus.publish(
            [Outbound("news", b"\x00\xff\r\n", headers, reply="answers.here"), Outbound("news")]
        )
        full, bare = await some(mailbox, 2)
    assert full == Inbound("news", b"\x00\xff\r\n", headers, "answers.here")
    assert bare == Inbound("news", b"", {}, "")


@pytest.mark.trio
async def test_a_burst_comes_in_lists_and_several_subjects_in_one_mailbox() -> None:
    async with open_nats() as bus, bus.subscribe("one", "two", "three.*") as mailbox:
        names = ["one", "two", "three.x", "four"] * 500
        await bus.publish([Outbound(name) for name in names])
        heard = await some(mailbox, 1500)
        assert sorted(message.subject for message in heard) == sorted(n for n in names if n != "four")
        assert mailbox.statistics().lists < 1500


@pytest.mark.trio
async def test_a_subscription_is_in_force_as_soon_as_its_block_is_entered() -> None:
    async with open_nats() as bus, open_bus(url_of(bus)) as other, bus.subscribe("news") as mailbox:
        await other.publish([Outbound("news", b"first")])
        assert [message.data for message in await some(mailbox, 1)] == [b"first"]


@pytest.mark.trio
async def test_nothing_is_heard_after_the_block_of_a_subscription() -> None:
    async with open_nats() as bus:
        async with bus.subscribe("news") as old:
            pass
        async with bus.subscribe("news") as new:
            await bus.publish([Outbound("news")])
            await some(new, 1)
        with pytest.raises(anyio.EndOfStream):
            await old.receive()


@pytest.mark.trio
async def test_a_slow_listener_does_not_hold_up_another() -> None:
    async with open_nats() as bus, bus.subscribe("news", bound=1) as slow, bus.subscribe("news") as quick:
        await bus.publish([Outbound("news", str(n).encode()) for n in range(500)])
        assert len(await some(quick, 500)) == 500
        assert [message.data for message in await some(slow, 500)] == [str(n).encode() for n in range(500)]
        assert slow.statistics().most <= 2


# Requests


@pytest.mark.trio
async def test_a_request_gets_its_own_answer() -> None:
    answers: dict[int, bytes] = {}

    async def ask(bus: Bus, n: int) -> None:
        answers[n] = (await bus.request(Outbound("shout", f"n{n}".encode(), {"Key": "v"}))).data

    async with open_nats() as bus, echoing(bus, "shout"), trio.open_nursery() as asking:
        for n in range(50):
            asking.start_soon(ask, bus, n)
    assert answers == {n: f"N{n}".encode() for n in range(50)}


@pytest.mark.trio
async def test_a_request_that_nobody_serves_is_unreachable_at_once() -> None:
    async with open_nats() as bus:
        with pytest.raises(Unreachable, match="no responders"):
            await bus.request(Outbound("nobody.there"), timeout=3600)


@pytest.mark.trio
async def test_a_request_that_nobody_answers_is_unreachable_after_its_time() -> None:
    async with open_nats() as bus, bus.subscribe("silent"):
        with pytest.raises(Unreachable, match="did not answer in time"):
            await bus.request(Outbound("silent"), timeout=0.05)


# Storing


@pytest.mark.trio
async def test_storing_tells_the_place_and_whether_the_stream_had_it_already() -> None:
    async with open_nats() as bus:
        await make_stream(bus)
        told = [await bus.store(Outbound("work.a", b"x", {"Nats-Msg-Id": id_})) for id_ in ("1", "2", "1")]
        assert told == [Stored(1, False), Stored(2, False), Stored(1, True)]
        assert (await stored(bus, "WORK")).messages == 2


@pytest.mark.trio
async def test_a_refusal_of_the_stream_has_its_code() -> None:
    only_if_first = {"Nats-Expected-Last-Subject-Sequence": "0"}
    async with open_nats() as bus:
        await make_stream(bus)
        await bus.store(Outbound("work.a", b"first", only_if_first))
        with pytest.raises(PublishRefused, match="wrong last sequence") as caught:
            await bus.store(Outbound("work.a", b"second", only_if_first))
        assert caught.value.code == WRONG_LAST_SEQUENCE
        assert (await stored(bus, "WORK")).messages == 1


@pytest.mark.trio
async def test_what_is_too_large_is_refused_and_the_connection_lives() -> None:
    refused = r"this server takes 10,000 \(max_payload\)|a subject longer than"
    async with open_nats(max_payload=10_000) as bus, bus.subscribe("news", "work.>") as mailbox:
        await make_stream(bus)
        for too_large in (
            Outbound("work.a", bytes(10_001)),
            Outbound("work.a", bytes(9_900), {"Header": "x" * 100}),
            Outbound("work." + "a" * 5_000),
            Outbound("work.a", reply="a" * 5_000),
        ):
            with pytest.raises(PublishRefused, match=refused):
                await bus.store(too_large)
            with pytest.raises(PublishRefused, match=refused):
                await bus.publish([Outbound("news", b"before"), too_large])
        fits = [Outbound("work.a", bytes(10_000)), Outbound("work.a", bytes(9_800), {"Header": "x" * 100})]
        assert [(await bus.store(message)).sequence for message in fits] == [1, 2]
        assert [len(message.data) for message in await some(mailbox, 2)] == [10_000, 9_800]


@pytest.mark.trio
async def test_storing_where_no_stream_is_says_so() -> None:
    async with open_nats() as bus:
        with pytest.raises(Unreachable, match="no stream takes this subject"):
            await bus.store(Outbound("nowhere.at.all", b"x"))


@pytest.mark.trio
async def test_the_last_message_of_a_subject_is_found_with_its_headers() -> None:
    async with open_nats() as bus:
        await make_stream(bus)
        for text in (b"old", b"new"):
            await bus.store(Outbound("work.a", text, {"Kind": text.decode()}))
        await bus.store(Outbound("work.b", b"other"))
        found = await bus.last("WORK", "work.a")
        assert found is not None
        assert (found.subject, found.data, found.headers["Kind"]) == ("work.a", b"new", "new")
        assert await bus.last("WORK", "work.never") is None


@pytest.mark.trio
async def test_what_jetstream_does_not_know_is_told_apart_from_a_server_that_is_away() -> None:
    async with open_nats() as bus:
        with pytest.raises(NotStored, match="stream not found"):
            await bus.call(bus.jetstream.stream_info, "MISSING")


# Cancellation


@pytest.mark.trio
async def test_a_cancelled_call_leaves_the_bus_usable() -> None:
    async with open_nats() as bus, bus.subscribe("silent"), echoing(bus, "shout"):
        await make_stream(bus)
        for seconds in (0.0, 0.001, 0.01):
            with trio.move_on_after(seconds) as scope:
                await bus.request(Outbound("silent"), timeout=3600)
            assert scope.cancelled_caught
        with trio.CancelScope() as scope:
            scope.cancel()
            await bus.store(Outbound("work.a", b"perhaps"))
        assert (await bus.request(Outbound("shout", b"hello"))).data == b"HELLO"
        assert not (await bus.store(Outbound("work.a", b"surely"))).duplicate


@pytest.mark.trio
async def test_a_cancelled_block_ends_and_what_was_published_before_arrives() -> None:
    async with open_nats() as bus, open_ear(bus, "news") as ear:
        with trio.CancelScope() as scope:
            async with open_bus(url_of(bus)) as other:
                await other.publish([Outbound("news", str(n).encode()) for n in range(2000)])
                scope.cancel()
                await trio.sleep_forever()
        await ear.until(lambda: len(ear.messages) == 2000)


# The end, and losing the server


@pytest.mark.trio
async def test_leaving_the_block_delivers_what_was_published() -> None:
    async with open_nats() as bus, open_ear(bus, "news") as ear:
        async with open_bus(url_of(bus)) as other:
            await other.publish([Outbound("news", bytes(1000)) for _ in range(2000)])
        await ear.until(lambda: len(ear.messages) == 2000)


@pytest.mark.trio
async def test_it_lives_through_a_restart_of_the_server(tmp_path: Path) -> None:
    events = Events()
    async with open_restartable(tmp_path) as server:
        await server.start()
        async with open_bus(server.url, on_event=events) as bus, open_ear(bus, "news") as ear:
            await make_stream(bus)
            await bus.store(Outbound("work.a", b"before"))
            await server.stop()
            await events.until("the connection to NATS is lost; reconnecting")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(store_and_tell, bus)
                await server.start()
                await events.until("connected to NATS again")
                await bus.publish([Outbound("news", b"again")])
                await ear.until(lambda: {b"stored", b"again"} == {message.data for message in ear.messages})
            assert (await stored(bus, "WORK")).messages == 2


async def store_and_tell(bus: Bus) -> None:
    """Begun while the server is away: it waits for the connection."""
    await bus.store(Outbound("work.a", b"after"))
    await bus.publish([Outbound("news", b"stored")])


@pytest.mark.trio
async def test_when_the_connection_is_closed_for_good_the_block_ends_with_it() -> None:
    with ends_with_unreachable(r"the connection to nats://127\.0\.0\.1:\d+ was closed for good"):
        async with open_server() as server, open_bus(server.url) as bus:
            await bus.bridge.call(bus.client.close)
            with trio.fail_after(AT_MOST):
                await trio.sleep_forever()


@pytest.mark.trio
async def test_a_call_without_a_server_fails_after_its_deadline_and_the_bus_can_be_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "CALL_TIMEOUT", 0.2)
    events = Events()
    async with open_restartable(tmp_path) as server:
        await server.start()
        async with open_bus(server.url, on_event=events) as bus:
            await server.stop()
            await events.until("is lost")
            with pytest.raises(Unreachable, match="did not answer in time"):
                await bus.store(Outbound("work.a", b"x"))
