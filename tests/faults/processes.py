"""Real processes that are really killed: `storycast worker` and nats-server, none of which outlives the tests."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import trio

from tests.ops.support import environment

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
AT_MOST = 120.0
"""Seconds after which a wait is given up: it is a failure then, never a measure."""
OFTEN = 0.002
"""Seconds between two looks at what other processes do: they cannot tell us, and an instant must not be missed."""

RARELY = 0.05

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl


async def until(look: Callable[[], Awaitable[T]], what: Callable[[], str], *, every: float = OFTEN) -> T:
    """Look again and again until what is seen is true, and return it; else fail, saying `what` never came."""
    with trio.move_on_after(AT_MOST):
        while not (seen := await look()):  # noqa: ASYNC110 - other processes set no events of ours
            await trio.sleep(every)
        return seen
    raise AssertionError(f"it never came to this: {what()}")


class Child:
    """A process that ends with the block at the latest; what it says goes to files in `home`."""

    def __init__(
        self, name: str, arguments: Sequence[str | Path], home: Path, environ: Mapping[str, str]
    ) -> None:
        self.name = name
        self._out, self._err = home / f"{name}.out", home / f"{name}.err"
        with self._out.open("ab") as out, self._err.open("ab") as err:
            self.process = subprocess.Popen(
                arguments,
                cwd=home,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=_die_with_the_tests,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs, or is frozen."""
        return self.process.poll() is None

    @property
    def out(self) -> str:
        """What it has said on stdout."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it has said on stderr."""
        return self._err.read_text()

    def kill(self) -> None:
        """SIGKILL; returns when it is dead."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP: it stays in the middle of what it does."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    async def until_says(self, words: str) -> None:
        """Wait until it has said `words`, on stdout or stderr."""

        async def said() -> bool:
            assert self.is_alive, f"{self.name} ended with {self.process.returncode}:\n{self.out}\n{self.err}"
            return words in self.out or words in self.err

        await until(said, lambda: f"{self.name} says {words!r}", every=RARELY)


def storycast(name: str, *arguments: str, home: Path, settings: Mapping[str, str]) -> Child:
    """A storycast command."""
    environ = environment(home, settings) | {"PYTHONPATH": str(ROOT)}
    return Child(name, [sys.executable, "-m", "ops", *arguments], home, environ)


class NatsServer:
    """A nats-server on a port of its own, killed and started again as often as one likes, on the same store."""

    def __init__(self, home: Path, port: int, *, name: str = "nats", config: str = "") -> None:
        self.name = name
        self.url = f"nats://127.0.0.1:{port}"
        self._home, self.port = home, port
        self._config = home / f"{name}.conf"
        home.mkdir(exist_ok=True)
        self._config.write_text(
            f'server_name: {name}\nhost: "127.0.0.1"\nport: {port}\nmax_payload: 8MB\n'
            f'jetstream: {{store_dir: "{home / name}"}}\n{config}'
        )
        self._child: Child | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._child.err if self._child else ""

    def launch(self) -> None:
        """Start it; it serves a little later."""
        self._child = Child(self.name, [_binary(), "--config", self._config], self._home, os.environ)

    async def start(self) -> None:
        """Start it; returns when it serves."""
        self.launch()
        await self.until_greets()

    async def until_greets(self) -> None:
        """Wait until a client is greeted."""
        await until(self._greets, lambda: f"{self.name} serves; it says:\n{self.log}", every=RARELY)

    def kill(self) -> None:
        """SIGKILL; returns when it is dead."""
        if self._child is not None:
            self._child.kill()

    async def _greets(self) -> bool:
        assert self._child is not None
        assert self._child.is_alive, f"{self.name} did not start:\n{self.log}"
        with trio.move_on_after(1), suppress(OSError):
            async with await trio.open_tcp_stream("127.0.0.1", self.port) as connection:
                return (await connection.receive_some(5)) == b"INFO "
        return False


def _binary() -> str:
    found = shutil.which("nats-server", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    assert found is not None
    return found


def _die_with_the_tests() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
