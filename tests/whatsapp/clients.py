"""The real neonize in a process of its own, as a test holds it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import trio

from tests.whatsapp.background import open_background
from tests.whatsapp.server import Whatsapp

AT_MOST = 20.0
"""Seconds of real time after which a wait of a test is given up: it is a failure, never a measure."""

OWNER = "4915100000000"
MEMORY = Path("/dev/shm")
Told = dict[str, Any]


class Failed(Exception):
    """An order that the library answered with an error; its text is the library's."""


class Client:
    """What the driver tells, and what it is told."""

    def __init__(self, process: trio.Process) -> None:
        self.told: list[Told] = []
        self._process = process
        self._ended = False
        self._numbers = count()
        self._changed = trio.Condition()

    async def do(self, order: str, **arguments: object) -> Any:
        """Carry an order out.

        Raises:
            Failed: with the text of the library's error.
        """
        answer = await self.until(number=await self.begin(order, **arguments))
        if "error" in answer:
            raise Failed(answer["error"])
        return answer["answer"]

    async def begin(self, order: str, **arguments: object) -> int:
        """Give an order; its answer will be told under this number."""
        number = next(self._numbers)
        assert self._process.stdin is not None
        line = json.dumps({"number": number, "do": order, **arguments}) + "\n"
        await self._process.stdin.send_all(line.encode())
        return number

    async def until(self, **wanted: object) -> Told:
        """Wait for the first thing told that says all this."""
        return (await self.count(1, **wanted))[0]

    async def count(self, how_many: int, **wanted: object) -> list[Told]:
        """Wait until so many things were told that say all this."""
        with trio.fail_after(AT_MOST):
            async with self._changed:
                while len(found := self.said(**wanted)) < how_many:
                    assert not self._ended, "the process has ended"
                    await self._changed.wait()
        return found

    def said(self, **wanted: object) -> list[Told]:
        """Everything told that says all this."""
        return [one for one in self.told if wanted.items() <= one.items()]

    async def logs(self) -> list[str]:
        """What the library logged so far, with who logged it."""
        await self.do("logged")
        return [f"{one['logger']} {one['level']} {one['log']}" for one in self.told if "log" in one]

    async def hear(self) -> None:
        """Take in what is told, until the process ends."""
        assert self._process.stdout is not None
        buffer = b""
        async for piece in self._process.stdout:
            *lines, buffer = (buffer + piece).split(b"\n")
            async with self._changed:
                self.told += map(json.loads, lines)
                self._changed.notify_all()
        async with self._changed:
            self._ended = True
            self._changed.notify_all()


@asynccontextmanager
async def open_client(whatsapp: Whatsapp, store: Path) -> AsyncIterator[Client]:
    """A process with a client that keeps its session in this file, not connected yet."""
    command = [
        sys.executable, "-m", "tests.whatsapp.child", str(whatsapp.port), "tests.whatsapp.driver", str(store)
    ]  # fmt: skip
    async with open_background() as nursery:
        process: trio.Process = await nursery.start(_run(command, whatsapp.environment()))
        client = Client(process)
        nursery.start_soon(client.hear)
        yield client


def _run(command: list[str], environment: dict[str, str]) -> Callable[..., Any]:
    async def run(task_status: trio.TaskStatus[trio.Process] = trio.TASK_STATUS_IGNORED) -> None:
        await trio.run_process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment},
            check=False,
            task_status=task_status,
        )

    return run


@asynccontextmanager
async def open_paired(
    whatsapp: Whatsapp, contacts: Iterable[str] = (), level: str = "WARNING"
) -> AsyncIterator[Client]:
    """A client that is paired with the account of OWNER, connected, and knows these contacts by name."""
    with TemporaryDirectory(dir=memory(), prefix="storycast-") as directory:
        async with open_client(whatsapp, Path(directory) / "session.db") as client:
            await client.do("level", name=level)
            await client.begin("connect")
            await whatsapp.scan((await client.until(event="QRCode"))["code"], OWNER)
            await client.until(event="Connected")
            await client.do("contacts", names={phone: f"Contact {phone}" for phone in contacts})
            yield client


def memory() -> Path | None:
    """Where sessions are kept: in memory where that can be, because the library waits for the disk often."""
    return MEMORY if os.access(MEMORY, os.W_OK) else None


def numbers(how_many: int) -> list[str]:
    """So many phone numbers of contacts."""
    return [str(4915200000000 + number) for number in range(how_many)]
