"""Lists in the object store: what was written is read, whoever wrote it, and whatever happens in between."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from nats.js.errors import ObjectNotFoundError
from nats.js.object_store import ObjectStore

from stages.errors import BadRequest, StoreFailed
from stages.lines import LONGEST_LINE
from stages.lists import gather
from tests.nats_support import AT_MOST, MIB, Events, open_nats, open_restartable, stored
from tests.support import people
from transports import bus as bus_module
from transports import objects
from transports.bus import Bus, Outbound, open_bus
from transports.errors import PublishRefused, TransportError
from transports.lists import NatsLists, delete_list, put_list, with_reasons
from transports.subjects import BUCKET_RECIPIENTS

pytestmark = pytest.mark.trio

STREAM = f"OBJ_{BUCKET_RECIPIENTS}"
MANY = 60_000
"""So many recipients make more chunks than are asked for at once."""


async def make_bucket(bus: Bus, **config: Any) -> ObjectStore:
    return await bus.call(bus.jetstream.create_object_store, BUCKET_RECIPIENTS, **config)


@asynccontextmanager
async def open_bucket(**config: Any) -> AsyncIterator[tuple[Bus, ObjectStore]]:
    """A server with an empty bucket, and nats-py's own view of it."""
    async with open_nats() as bus:
        yield bus, await make_bucket(bus, **config)


async def lines_of(bus: Bus, name: str = "big") -> list[str]:
    async with aclosing(NatsLists(bus).read(name)) as pieces:
        return [line async for piece in pieces for line in piece]


async def refused(bus: Bus, name: str = "big") -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        await lines_of(bus, name)
    assert caught.value.field == "recipientsRef"
    return caught.value


async def messages(bus: Bus) -> int:
    return (await stored(bus, STREAM)).messages


async def meta_of(bus: Bus, name: str = "big") -> dict[str, Any]:
    info = await objects.find(bus, BUCKET_RECIPIENTS, name)
    assert info is not None
    found = await bus.last(STREAM, objects._meta_subject(BUCKET_RECIPIENTS, name))
    assert found is not None
    meta: dict[str, Any] = json.loads(found.data)
    return meta


async def put_meta(bus: Bus, meta: dict[str, Any] | bytes, name: str = "big") -> None:
    data = meta if isinstance(meta, bytes) else json.dumps(meta).encode()
    await bus.store(Outbound(objects._meta_subject(BUCKET_RECIPIENTS, name), data, {"Nats-Rollup": "sub"}))


# Written and read


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("count", [0, 1, 5_000, MANY])
async def test_a_list_is_read_as_it_was_written(count: int, compress: bool) -> None:
    async with open_bucket() as (bus, _):
        await put_list(bus, "sales/2026.txt", (f"{jid}\r\n" for jid in people(count)), compress=compress)
        assert await lines_of(bus, "sales/2026.txt") == people(count)


async def test_a_list_becomes_the_roster_of_a_story() -> None:
    async with open_bucket() as (bus, _):
        await put_list(bus, "big", [*people(5_000), "", "nobody", people(1)[0]])
        roster = await gather(NatsLists(bus), "big", frozenset(people(1)))
        assert roster.recipients == people(5_000)[1:]
        assert roster.skipped.reasons() == {"suppressed": 2, "invalid": 1}


async def test_what_nats_py_wrote_is_read() -> None:
    text = "\n".join(people(MANY)).encode()
    async with open_bucket() as (bus, store):
        for data in (text, gzip.compress(text), b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")):
            await bus.call(store.put, "big", data)
            assert await lines_of(bus) == people(MANY)


@pytest.mark.parametrize("count", [0, 3, MANY])
async def test_what_is_written_nats_py_reads(count: int) -> None:
    text = "".join(f"{jid}\n" for jid in people(count)).encode()
    async with open_bucket() as (bus, store):
        await put_list(bus, "plain", people(count), compress=False)
        await put_list(bus, "packed", people(count))
        assert (await bus.call(store.get, "plain")).data == text
        assert gzip.decompress((await bus.call(store.get, "packed")).data or b"") == text
        assert {info.name for info in await bus.call(store.list)} == {"plain", "packed"}


async def test_chunks_of_several_lists_may_lie_between_each_other() -> None:
    async with open_bucket() as (bus, _):

        async def write(name: str, first: int) -> None:
            await put_list(bus, name, people(MANY, first=first), compress=False)

        firsts = range(6281200000000, 6281200000000 + 3 * MANY, MANY)
        async with trio.open_nursery() as nursery:
            for first in firsts:
                nursery.start_soon(write, str(first), first)
        for first in firsts:
            assert await lines_of(bus, str(first)) == people(MANY, first=first)


async def test_a_small_message_size_of_the_server_is_kept() -> None:
    async with open_nats(max_payload=64 * 1024) as bus:
        await make_bucket(bus)
        await put_list(bus, "big", people(MANY), compress=False)
        assert await lines_of(bus) == people(MANY)


async def test_a_list_that_is_written_again_replaces_the_old_one_and_leaves_nothing_of_it() -> None:
    async with open_bucket() as (bus, _):
        await put_list(bus, "big", people(MANY), compress=False)
        await put_list(bus, "big", people(3))
        assert await lines_of(bus) == people(3)
        assert await messages(bus) == 2


async def test_a_list_that_is_deleted_is_missing_and_leaves_nothing() -> None:
    async with open_bucket() as (bus, store):
        await put_list(bus, "big", people(3))
        await put_list(bus, "other", people(4))
        await delete_list(bus, "big")
        await delete_list(bus, "big")
        assert (await refused(bus)).code == "list-missing"
        with pytest.raises(ObjectNotFoundError):
            await bus.bridge.call(store.get, "big")
        assert await lines_of(bus, "other") == people(4)
        assert await messages(bus) == 2


async def test_lists_of_reports_have_a_recipient_and_a_reason_on_each_line_whatever_was_written() -> None:
    written = [("a\tb\nc", "inva\tlid"), ("x" * 100_000, "y" * 100_000), (people(1)[0], "timed-out")]
    async with open_bucket() as (bus, _):
        await put_list(bus, "failed", with_reasons(written))
        first, second, third = [line.split("\t") for line in await lines_of(bus, "failed")]
        assert first == ["a b c", "inva lid"]
        assert [len(part) > 100 for part in second] == [True, True]
        assert third == [people(1)[0], "timed-out"]


# What is not written


@pytest.mark.parametrize("line", ["a\nb", "\na", "x" * (LONGEST_LINE + 1)])
async def test_a_line_that_could_not_be_read_back_is_not_written_and_nothing_is_left(line: str) -> None:
    async with open_bucket() as (bus, _):
        with pytest.raises(ValueError, match="line of a list"):
            await put_list(bus, "big", [*people(MANY), line], compress=False)
        assert await messages(bus) == 0


async def test_writing_that_is_cancelled_leaves_nothing_and_the_old_list_as_it_was() -> None:
    async with open_bucket() as (bus, _):
        await put_list(bus, "big", people(3))
        with trio.CancelScope() as scope:

            def until_cancelled() -> Iterator[str]:
                yield from people(MANY)
                scope.cancel()
                yield from people(MANY)

            await put_list(bus, "big", until_cancelled(), compress=False)
        assert scope.cancelled_caught
        assert await lines_of(bus) == people(3)
        assert await messages(bus) == 2


async def test_a_full_bucket_is_told_at_once_and_nothing_is_left() -> None:
    async with open_bucket(max_bytes=MIB) as (bus, _):
        with pytest.raises(PublishRefused):
            await put_list(bus, "big", people(MANY), compress=False)
        assert await messages(bus) == 0


# What cannot be read


async def test_a_list_that_was_never_written_or_that_nats_py_deleted_is_missing() -> None:
    async with open_bucket() as (bus, store):
        await bus.call(store.put, "gone", b"62812")
        await bus.call(store.delete, "gone")
        for name in ("big", "gone"):
            why = await refused(bus, name)
            assert (why.code, why.found) == ("list-missing", name)


async def test_without_the_bucket_nothing_can_be_said_about_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "PAUSE", 0)
    async with open_nats() as bus:
        with pytest.raises(StoreFailed):
            await lines_of(bus)
        with pytest.raises(TransportError):
            await put_list(bus, "big", people(1))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"digest": "SHA-256=AAAA"}, "digest"),
        ({"digest": ""}, "digest"),
        ({"chunks": 2}, "digest"),
        ({"chunks": 4}, "missing"),
        ({"chunks": "many"}, "cannot be read"),
        ({"nuid": ">"}, "names no chunks"),
        ({"nuid": ""}, "names no chunks"),
        ({"nuid": "gone"}, "missing"),
        ({"options": {"link": {"bucket": "other", "name": "x"}}}, "link"),
    ],
)
async def test_a_list_that_is_not_what_its_description_says_is_broken(
    change: dict[str, Any], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "PAUSE", 0)
    async with open_bucket() as (bus, _):
        await put_list(bus, "big", people(10_000), compress=False)
        meta = await meta_of(bus)
        assert meta["chunks"] == 3
        await put_meta(bus, meta | change)
        why = await refused(bus)
        assert why.code == "list-broken"
        assert found in why.found


async def test_a_description_that_is_no_json_is_broken_and_can_be_replaced_and_deleted() -> None:
    async with open_bucket() as (bus, _):
        await put_meta(bus, b"\xff{")
        assert (await refused(bus)).code == "list-broken"
        await put_list(bus, "big", people(2))
        assert await lines_of(bus) == people(2)
        await put_meta(bus, b"\xff{")
        await delete_list(bus, "big")
        assert (await refused(bus)).code == "list-missing"


@pytest.mark.parametrize(
    "data", [b"\xff\xfe6\x002", gzip.compress(b"62812\n" * 99, mtime=0)[:-9], b"x" * 1_000, b"62812\n\xff"]
)
async def test_an_object_that_is_no_list_is_broken(data: bytes) -> None:
    async with open_bucket() as (bus, store):
        await bus.call(store.put, "big", data)
        assert (await refused(bus)).code == "list-broken"


async def test_a_list_that_is_replaced_while_it_is_read_is_to_be_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objects, "PAUSE", 0)
    async with open_bucket() as (bus, _):
        await put_list(bus, "big", people(MANY), compress=False)
        async with aclosing(NatsLists(bus).read("big")) as pieces:
            await anext(pieces)
            await put_list(bus, "big", people(3))
            with pytest.raises(StoreFailed, match="replaced"):
                async for _ in pieces:
                    pass


# When the connection is lost


async def test_a_list_is_read_on_after_a_reconnect(tmp_path: Path) -> None:
    events = Events()
    async with open_restartable(tmp_path) as server:
        await server.start()
        async with open_bus(server.url, on_event=events) as bus:
            await make_bucket(bus)
            await put_list(bus, "big", people(MANY), compress=False)
            found: list[str] = []
            async with aclosing(NatsLists(bus).read("big")) as pieces:
                found += await anext(pieces)
                await server.stop()
                await events.until("is lost")
                await server.start()
                with trio.fail_after(2 * AT_MOST):
                    found += [line async for piece in pieces for line in piece]
            assert found == people(MANY)


async def test_what_was_not_answered_in_time_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "CALL_TIMEOUT", 0.2)
    monkeypatch.setattr(objects, "ATTEMPTS", 100)
    asked, again = objects._next, trio.Event()
    count = 0

    async def heard(*args: Any) -> dict[int, bytes]:
        nonlocal count
        count += 1
        if count == 3:  # the first was answered
            again.set()
        return await asked(*args)

    monkeypatch.setattr(objects, "_next", heard)
    async with open_restartable(tmp_path) as server:
        await server.start()
        async with open_bus(server.url) as bus:
            await make_bucket(bus)
            await put_list(bus, "big", people(MANY), compress=False)
            found: list[str] = []

            async def read_on() -> None:
                found.extend([line async for piece in pieces for line in piece])

            async with aclosing(NatsLists(bus).read("big")) as pieces:
                found += await anext(pieces)
                await server.stop()
                with trio.fail_after(2 * AT_MOST):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(read_on)
                        await again.wait()
                        await server.start()
            assert found == people(MANY)


async def test_a_list_is_written_on_after_a_reconnect(tmp_path: Path) -> None:
    half = trio.Event()

    def lines() -> Iterator[str]:
        yield from people(MANY)
        half.set()
        yield from people(MANY, first=6281300000000)

    async with open_restartable(tmp_path) as server:
        await server.start()
        async with open_bus(server.url) as bus:
            await make_bucket(bus)
            with trio.fail_after(2 * AT_MOST):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(put_list, bus, "big", lines())
                    await half.wait()
                    await server.stop()
                    await server.start()
            assert await lines_of(bus) == [*people(MANY), *people(MANY, first=6281300000000)]


async def test_a_server_that_stays_away_ends_reading_within_the_deadlines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "CALL_TIMEOUT", 0.2)
    monkeypatch.setattr(objects, "PAUSE", 0)
    events = Events()
    async with open_restartable(tmp_path) as server:
        await server.start()
        async with open_bus(server.url, on_event=events) as bus:
            await make_bucket(bus)
            await put_list(bus, "big", people(MANY), compress=False)
            async with aclosing(NatsLists(bus).read("big")) as pieces:
                await anext(pieces)
                await server.stop()
                await events.until("is lost")
                with trio.fail_after(2 * AT_MOST), pytest.raises(StoreFailed):
                    async for _ in pieces:
                        pass
