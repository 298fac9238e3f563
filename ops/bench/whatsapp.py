"""`storycast bench whatsapp`: what anchoring costs over the real client library.

The WhatsApp on loopback and its contacts are test code, which is in a checkout and never in an installation: the
measuring runs there, as a program of its own.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio
from rich.console import Console
from trio.lowlevel import enable_ki_protection

from ops.bench.numbers import numbers_in
from ops.bench.whatsapp_figures import Whatsapp, legend, table
from ops.exits import SUCCESS, fail
from ops.serve import interruptible
from stages.errors import StorycastError
from transports.server import die_with

MEASURING: Final = "tests.whatsapp.bench"
CHECKOUT: Final = Path(__file__).resolve().parents[2]
NEEDED: Final = ("neonize", "pyaileys", "cryptography", "trustme", "websockets")
MOST: Final = 50_000
"""Beyond that a call does not fit into a frame of WhatsApp's protocol, which has 16 MiB at most."""
MOST_REPEATS: Final = 100
STOP_TIMEOUT: Final = 15.0
"""Seconds that measuring gets to end, and to clear its sessions away."""

HINT: Final = "git clone the project, then `make bench-whatsapp` there (Linux on x86_64)."


class NotMeasured(StorycastError):
    """The measuring ended without figures."""


async def whatsapp(sizes: Sequence[int], repeats: int, *, json: bool, checkout: Path = CHECKOUT) -> int:
    """Measure every one of `sizes` so many times, and print what was found. Raises `NotMeasured`."""
    if problem := lacks(checkout):
        return fail(f"bench whatsapp needs a checkout with the test extra: {problem}", hint=HINT)
    async with interruptible():
        printed = await _measure(sizes, repeats, checkout)
    found = msgspec.json.decode(printed, type=Whatsapp)
    if json:
        print(msgspec.json.format(printed).decode())
    else:
        console = Console(highlight=False, soft_wrap=True)
        console.print(table(found))
        console.print(legend(found), style="dim")
    return SUCCESS


def contacts_in(text: str) -> list[int]:
    """The numbers of contacts in `text`, the smallest first. Raises `BadRequest`."""
    return numbers_in(text, MOST, "--contacts")


def lacks(checkout: Path) -> str:
    """What is not there for measuring; empty if all is."""
    if not (checkout / "tests" / "whatsapp" / "bench.py").is_file():
        return "this is an installation without the tests"
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        return f"not installed: {', '.join(missing)}"
    return "" if sys.platform == "linux" else "the WhatsApp on loopback runs on Linux alone"


@enable_ki_protection
async def _measure(sizes: Sequence[int], repeats: int, checkout: Path) -> bytes:
    """What the measuring prints; its progress goes to our stderr."""
    process = _start(["--contacts", ",".join(map(str, sizes)), "--repeats", str(repeats)], checkout)
    try:
        printed = await _all_of(process)
    except trio.Cancelled:
        process.terminate()
        raise
    finally:
        with trio.CancelScope(shield=True):
            status = await trio.to_thread.run_sync(_stop, process)
    if status:
        raise NotMeasured(f"measuring ended with status {status}")
    return printed


def _start(options: Sequence[str], checkout: Path) -> subprocess.Popen[bytes]:
    # Forked in this thread: see transports/server.py.
    return subprocess.Popen(
        [sys.executable, "-m", MEASURING, *options],
        cwd=checkout,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in the terminal is for us: we stop it
        preexec_fn=partial(die_with, os.getpid()),
    )


async def _all_of(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    printed = b""
    while True:
        await trio.lowlevel.wait_readable(process.stdout)
        if not (some := os.read(process.stdout.fileno(), 1 << 16)):
            return printed
        printed += some


def _stop(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of the measuring, from another thread, and bring it about if need be. Gives its exit status."""
    assert process.stdout is not None
    with process.stdout:
        return _ended(process)


def _ended(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(STOP_TIMEOUT)
