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
"""Beyond that one call to all is too large a frame for WhatsApp's protocol, which has 16 MiB."""
MOST_REPEATS: Final = 100

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


async def _measure(sizes: Sequence[int], repeats: int, checkout: Path) -> bytes:
    contacts = ",".join(map(str, sizes))
    command = [sys.executable, "-m", MEASURING, "--contacts", contacts, "--repeats", str(repeats)]
    ended = await trio.run_process(
        command,
        cwd=checkout,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        check=False,
        preexec_fn=partial(die_with, os.getpid()),
    )
    if ended.returncode:
        raise NotMeasured(f"measuring ended with status {ended.returncode}")
    return ended.stdout
