"""A `storycast worker`, or another program, in a process of its own that never outlives the benchmark."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import IO, Final, NoReturn

import trio
from trio.lowlevel import enable_ki_protection

from stages.errors import StorycastError
from transports.server import die_with

START_TIMEOUT: Final = 30.0
STOP_TIMEOUT: Final = 15.0
"""Seconds the worker gets to end after SIGTERM; then it is killed."""
_READY: Final = b"serving requests"
_OURS: Final = ("SMART_SEND_", "STORYCAST_")
ROOT: Final = Path(__file__).resolve().parents[2]
"""Where `python -m ops` finds this very code."""
_TAIL: Final = 2_000


class WorkerFailed(StorycastError):
    """The worker did not start, or ended while it was needed; the message has the end of its log."""


@asynccontextmanager
@enable_ki_protection
async def open_program(arguments: Sequence[str], settings: Mapping[str, str]) -> AsyncIterator[int]:
    """Run `python -m arguments` for as long as the block lasts; gives its process id.

    It has said that it is serving requests, and has these settings and no others of this process. Raises
    `WorkerFailed` if it does not start, and ends the block with it if it ends by itself. If this process is killed, so
    is that one (Linux).
    """
    with tempfile.TemporaryFile() as log:
        process = _start(arguments, settings, log)
        try:
            await _until_ready(process, log)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_watch, process, log)
                yield process.pid
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(_stop, process)


def open_worker(
    url: str, settings: Mapping[str, str], *, config: Path = Path(os.devnull)
) -> AbstractAsyncContextManager[int]:
    """Run a worker on the server at `url` for as long as the block lasts; see `open_program`.

    Of files it has the settings of `config` only.
    """
    return open_program(("ops", "worker", "--url", url, "--config", str(config)), settings)


def _start(arguments: Sequence[str], settings: Mapping[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    foreign = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    # Forked in this thread: see transports/server.py.
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=foreign | dict(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,  # Ctrl-C in the terminal is for us: we stop it
        preexec_fn=partial(die_with, os.getpid()),
    )


async def _until_ready(process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    said = b""
    with trio.move_on_after(START_TIMEOUT):
        while _READY not in said:
            if not (some := await _heard(process)):
                raise WorkerFailed(f"the worker did not start: {_tail(log)}")
            said += some
        return
    raise WorkerFailed(f"the worker was not ready within {START_TIMEOUT:g} s: {_tail(log)}")


async def _watch(process: subprocess.Popen[bytes], log: IO[bytes]) -> NoReturn:
    """Wait until the worker ends, and raise that."""
    while await _heard(process):
        pass
    raise WorkerFailed(f"the worker ended while it was needed: {_tail(log)}")


async def _heard(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    await trio.lowlevel.wait_readable(process.stdout)
    return os.read(process.stdout.fileno(), 4096)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the worker, from another thread: kindly, then surely."""
    assert process.stdout is not None
    with process.stdout:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT)


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read()[-_TAIL:].decode(errors="replace").strip() or "it said nothing"
