"""The bus is one and the same on Trio and on asyncio: what it does, how it is cancelled, how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import anyio
import pytest

from tests.nats_support import free_port
from tests.ops.support import NatsServer
from transports.bridge import Bridge
from transports.bus import Bus, Inbound, Outbound, open_bus
from transports.errors import NoResponders, TransportError, Unreachable
from transports.mailbox import Mailbox
from transports.runner import Direct, open_runner
from transports.subjects import send_subject

pytestmark = pytest.mark.anyio
AT_MOST = 15.0


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Real time: there is a real server at the other end."""
    return str(request.param)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with storycast's streams, for all tests here; each takes subjects of its own."""
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        server.make_streams()
        yield server.url


async def some(mailbox: Mailbox[Inbound], count: int) -> list[Inbound]:
    found: list[Inbound] = []
    with anyio.fail_after(AT_MOST):
        while len(found) < count:
            found.extend(await mailbox.receive())
    return found


async def echo(bus: Bus, mailbox: Mailbox[Inbound]) -> None:
    while True:
        for message in await mailbox.receive():
            await bus.publish([Outbound(message.reply, message.data.upper())])


async def _running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def test_under_asyncio_there_is_no_second_loop_and_under_trio_there_is_the_bridge(
    url: str, anyio_backend_name: str
) -> None:
    async with open_bus(url) as bus:
        loop = await bus.call(_running_loop)
        if anyio_backend_name == "asyncio":
            assert loop is asyncio.get_running_loop()
            assert isinstance(bus.bridge, Direct)
        else:
            assert isinstance(bus.bridge, Bridge)


async def test_what_is_published_is_heard_in_order_and_in_lists(url: str, anyio_backend_name: str) -> None:
    subject = f"news.{anyio_backend_name}"
    async with open_bus(url) as bus, bus.subscribe(subject) as mailbox:
        await bus.publish([Outbound(subject, str(n).encode()) for n in range(3000)])
        assert [int(one.data) for one in await some(mailbox, 3000)] == list(range(3000))
        assert mailbox.statistics().lists < 3000


async def test_a_slow_reader_holds_up_the_callback_and_loses_nothing(
    url: str, anyio_backend_name: str
) -> None:
    subject = f"slow.{anyio_backend_name}"
    async with open_bus(url) as bus, bus.subscribe(subject, bound=10) as mailbox:
        await bus.publish([Outbound(subject, str(n).encode()) for n in range(500)])
        assert [int(one.data) for one in await some(mailbox, 500)] == list(range(500))
        assert mailbox.statistics().most <= 10


async def test_requests_are_answered_stored_and_found(url: str, anyio_backend_name: str) -> None:
    subject = send_subject(f"found-{anyio_backend_name}")
    async with open_bus(url) as bus, bus.subscribe("shout") as mailbox, anyio.create_task_group() as group:
        group.start_soon(echo, bus, mailbox)
        assert (await bus.request(Outbound("shout", b"hello"))).data == b"HELLO"
        assert (await bus.store(Outbound(subject, b"x"))).sequence > 0
        found = await bus.last("STORYCAST_SENDS", subject)
        assert found is not None
        assert found.data == b"x"
        assert await bus.last("STORYCAST_SENDS", "storycast.send.never") is None
        group.cancel_scope.cancel()


async def test_what_nobody_serves_has_an_error_of_its_own(url: str) -> None:
    async with open_bus(url) as bus:
        with pytest.raises(NoResponders, match="no responders"):
            await bus.request(Outbound("nobody.there"), timeout=AT_MOST)


async def test_a_server_that_is_not_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transports.connection.CONNECT_TIMEOUT", 0.3)
    with pytest.RaisesGroup(pytest.RaisesExc(Unreachable, match="no NATS server answers")):
        async with open_bus(f"nats://127.0.0.1:{free_port()}"):
            pytest.fail("there is nobody to be connected to")


async def test_a_connection_lost_for_good_cancels_the_block_and_is_raised_from_it(url: str) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(Unreachable, match="was closed for good")):
        async with open_bus(url) as bus:
            await bus.call(bus.client.close)
            with anyio.fail_after(AT_MOST):
                await anyio.sleep_forever()


async def test_a_cancelled_call_leaves_the_bus_usable(url: str) -> None:
    async with open_bus(url) as bus, bus.subscribe("silent"):
        for seconds in (0.0, 0.001, 0.01):
            with anyio.move_on_after(seconds) as scope:
                await bus.request(Outbound("silent"), timeout=3600)
            assert scope.cancelled_caught
        await bus.store(Outbound(send_subject("after-cancel"), b"x"))


async def test_a_cancelled_block_still_drains(url: str, anyio_backend_name: str) -> None:
    subject = f"drained.{anyio_backend_name}"
    async with open_bus(url) as bus, bus.subscribe(subject) as mailbox:
        with anyio.CancelScope() as scope:
            async with open_bus(url) as other, other.subscribe("anything"):
                await other.publish([Outbound(subject) for _ in range(500)])
                scope.cancel()
                await anyio.sleep_forever()
        await some(mailbox, 500)


# What is particular to running directly


async def _begin_and_wait(log: list[str]) -> None:
    log.append("begun")
    try:
        await asyncio.sleep(3600)
    finally:
        for _ in range(20):
            await asyncio.sleep(0)  # a cancelled scope of anyio would cancel this again
        log.append("ended")


async def test_a_cancelled_call_is_cancelled_once_and_waited_for() -> None:
    log: list[str] = []
    async with open_runner() as runner, anyio.create_task_group() as group:
        group.start_soon(runner.call, _begin_and_wait, log)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert log == ["begun", "ended"]


async def test_a_call_in_a_cancelled_scope_never_begins() -> None:
    log: list[str] = []
    async with open_runner() as runner:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await runner.call(_begin_and_wait, log)
    assert scope.cancelled_caught
    assert log == []


async def test_a_cancellation_nobody_here_asked_for_is_a_clear_error() -> None:
    async def cancelled_by_somebody() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async with open_runner() as runner:
        with pytest.raises(TransportError, match="cancelled_by_somebody was cancelled on the asyncio side"):
            await runner.call(cancelled_by_somebody)


def test_a_woken_reader_that_asyncio_cancels_leaves_what_came_to_the_next() -> None:
    async def main() -> None:
        async with open_runner() as runner:
            mailbox = Mailbox[int](runner, bound=10)
            first, second = (asyncio.create_task(mailbox.receive()) for _ in range(2))
            await anyio.wait_all_tasks_blocked()
            await mailbox.put(1)
            first.cancel()
            async with asyncio.timeout(AT_MOST):
                assert await second == [1]
            assert first.cancelled()

    asyncio.run(main())


def test_native_cancellation_by_asyncio_itself_ends_the_block_in_good_order(url: str) -> None:
    async def main() -> None:
        async with asyncio.timeout(0.2), open_bus(url) as bus, bus.subscribe("silent"):
            await bus.request(Outbound("silent"), timeout=3600)

    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_without_anyio_around_it_asyncio_is_recognised() -> None:
    async def main() -> bool:
        async with open_runner() as runner:
            return isinstance(runner, Direct)

    assert asyncio.run(main())
