"""Somebody subscribes to progress events and never reads them: that is nobody's trouble but their own."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.faults.processes import AT_MOST
from tests.faults.scene import RECIPIENTS, open_scene

pytestmark = pytest.mark.timeout(240)

TIMES = 1_000
"""Subscriptions of the one client: each event comes to it so often, more than any buffer on the way can hold."""
SOON = 'write_deadline: "2s"\n'
"""Configuration with which nats-server gives a client up that takes nothing for so long; by itself it is 10 s."""


@asynccontextmanager
async def open_deaf(port: int) -> AsyncIterator[trio.SocketStream]:
    """A client that has subscribed, and reads no more."""
    client = trio.socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    await client.connect(("127.0.0.1", port))
    async with trio.SocketStream(client) as stream:
        await _until(stream, b"\r\n")
        subscribe = b"".join(b"SUB storycast.progress.> %d\r\n" % number for number in range(TIMES))
        await stream.send_all(b'CONNECT {"verbose": false}\r\n' + subscribe + b"PING\r\n")
        await _until(stream, b"PONG\r\n")
        yield stream


async def _until(stream: trio.SocketStream, words: bytes) -> None:
    said = b""
    with trio.fail_after(AT_MOST):
        while words not in said:
            said += await stream.receive_some()


async def _read_to_the_end(stream: trio.SocketStream) -> int:
    """How many bytes were on the way when the server hung up."""
    count = 0
    with trio.fail_after(AT_MOST):
        try:
            while some := await stream.receive_some():
                count += len(some)
        except trio.BrokenResourceError:  # it was cut off, not closed
            pass
    return count


def test_a_subscriber_that_never_reads_is_dropped_and_the_story_goes_on(tmp_path: Path) -> None:
    async def main() -> tuple[int, int, str]:
        async with open_scene(tmp_path / "0", config=SOON) as scene, open_deaf(scene.nats.port) as deaf:
            await scene.worker()
            await scene.publish("sale")
            report = await scene.until_report("sale")
            await scene.until_settled()
            unread = await _read_to_the_end(deaf)
            return report.sent_successfully, unread, scene.nats.log

    sent, unread, log = trio.run(main)
    assert sent == RECIPIENTS
    assert unread > 0
    assert "Slow Consumer" in log
