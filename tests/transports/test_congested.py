"""A server that takes nothing more: whoever publishes gets an end all the same, and nothing piles up."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from tests.ops.support import NatsServer
from transports import asking, connection
from transports.bus import Bus, Outbound, open_bus
from transports.errors import TransportError, Unreachable

pytestmark = pytest.mark.anyio
AT_MOST = 15.0
MORE_THAN_IT_TAKES = [Outbound("flood", b"x" * 500_000)] * 40


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Real time: there is a real server at the other end."""
    return str(request.param)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NatsServer]:
    """A frozen one is killed at the end."""
    monkeypatch.setattr(asking, "LOOK_EVERY", 0.01)
    with NatsServer(tmp_path) as server:
        yield server


def freeze(server: NatsServer) -> None:
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)


def kill(server: NatsServer) -> None:
    assert server.process is not None
    server.process.kill()
    server.process.wait()


async def outcome(bus: Bus, messages: list[Outbound]) -> str:
    try:
        await bus.publish(messages)
    except TransportError as error:
        return str(error)
    return "published"


async def test_publishing_to_a_server_that_is_frozen_has_a_deadline(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bus(server.url) as bus:
        monkeypatch.setattr(bus.asker, "_timeout", 0.2)
        freeze(server)
        with anyio.fail_after(AT_MOST), pytest.raises(Unreachable, match="did not answer in time"):
            await bus.publish(MORE_THAN_IT_TAKES)
        kill(server)


async def test_a_server_that_dies_with_too_much_to_be_written_holds_up_nobody_until_it_is_back(
    server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "FLUSH_TIMEOUT", 0.2)
    async with open_bus(server.url) as bus:
        freeze(server)
        with anyio.fail_after(AT_MOST):
            async with anyio.create_task_group() as group:
                group.start_soon(outcome, bus, MORE_THAN_IT_TAKES)
                await anyio.wait_all_tasks_blocked()
                kill(server)
        # It waits in the client for the server to come back, or is refused at once if too much does.
        with anyio.fail_after(AT_MOST):
            assert "did not answer" not in await outcome(bus, [Outbound("flood")])
