"""What the tests of the command line share: commands that really run, in a pipe or on a terminal, and what is left."""

from __future__ import annotations

import fcntl
import os
import pty
import random
import re
import select
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
import trio

from transports.bus import open_bus
from transports.server import die_with
from transports.streams import ensure
from transports.subjects import STREAM_SENDS, send_subject

PATIENCE = 30.0
"""Seconds after which a wait is given up: it is a failure then, never a measure."""

TRACE = "debug: true\ntrace: true\nmax_traced_msg_len: 80\n"
"""Configuration with which a nats-server logs all that it is told."""
CTRL_C = b"\x03"
ALONE = {
    "send": ("send", "--text", "Hi", "6281234567890"),
    "send and wait": ("send", "--text", "Hi", "--wait", "--json", "6281234567890"),
    "watch": ("watch",),
    "worker": ("worker",),
    "engine": ("engine", "simulated"),
    "pause": ("pause", "main", "sale"),
    "list": ("list", "--json"),
    "workers": ("workers",),
    "doctor": ("doctor", "--json"),
}
"""Commands that need a server, and do not get one."""
QUICK = {
    "STORYCAST_SPEED": "1000",
    "SMART_SEND_MAX_BATCHES_PER_SECOND": "1000",
    "SMART_SEND_BATCH_DELAY": "0",
}
"""Settings with which a worker loses no time."""

_OF_OURS = ("SMART_SEND_", "STORYCAST_")
_OF_TERMINALS = {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "TERM"}
_ON_TERMINAL = (
    "import os, sys; os.login_tty(0); os.execv(sys.executable, [sys.executable, '-m', 'ops', *sys.argv[1:]])"
)
_LISTENING = re.compile(rb"Listening for client connections on 127\.0\.0\.1:(\d+)")


class Ended(NamedTuple):
    """How a command ended, and all that it said."""

    code: int
    out: str
    err: str


def environment(home: Path, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours without any setting of storycast but `settings`; temporary files go to `home`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OF_OURS) and name not in _OF_TERMINALS
    }
    given = {"TMPDIR": str(home), "COLUMNS": "200", "TERM": "xterm", "PYTHONWARNINGS": "error"}
    return kept | given | dict(settings or {})


class Running:
    """A process that runs as long as the block, at most; it is the leader of a process group of its own."""

    def __init__(
        self,
        arguments: Sequence[str],
        home: Path,
        *,
        settings: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> None:
        self._texts = {"out": bytearray(), "err": bytearray()}
        self._selector = selectors.DefaultSelector()
        self.process = self._start(arguments, home, environment(home, settings), stdin)

    def _start(
        self, arguments: Sequence[str], home: Path, env: dict[str, str], stdin: str
    ) -> subprocess.Popen[bytes]:
        given = home / f"stdin-{random.getrandbits(64):x}"
        given.write_text(stdin)
        with given.open("rb") as source:
            process = subprocess.Popen(
                arguments,
                cwd=home,
                env=env,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                preexec_fn=partial(die_with, os.getpid()),  # whatever becomes of the tests, nothing is left
            )
        given.unlink()
        assert process.stdout is not None
        assert process.stderr is not None
        self._selector.register(process.stdout, selectors.EVENT_READ, "out")
        self._selector.register(process.stderr, selectors.EVENT_READ, "err")
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        self._selector.close()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    @property
    def out(self) -> str:
        """What is known of its stdout."""
        return self._texts["out"].decode()

    @property
    def err(self) -> str:
        """What is known of its stderr."""
        return self._texts["err"].decode()

    def until(self, words: str, *, stream: str = "out", times: int = 1) -> str:
        """Wait until it has said `words` so often, and return all that it said there."""
        text = self._texts[stream]
        deadline = time.monotonic() + PATIENCE
        while text.count(words.encode()) < times:
            assert self._selector.get_map(), f"it ended without saying {words!r}:\n{self.out}\n{self.err}"
            self._take(deadline)
        return text.decode()

    def end(self, within: float = PATIENCE) -> Ended:
        """Wait until it has ended."""
        deadline = time.monotonic() + within
        while self._selector.get_map():
            self._take(deadline)
        code = self.process.wait(max(0.0, deadline - time.monotonic()))
        return Ended(code, self.out, self.err)

    def stop_reading(self) -> None:
        """Close its stdout at our end, as a reader does that has seen enough."""
        assert self.process.stdout is not None
        self._selector.unregister(self.process.stdout)
        self.process.stdout.close()

    def interrupt(self) -> None:
        """What Ctrl-C in a terminal does."""
        os.killpg(self.process.pid, signal.SIGINT)

    def _take(self, deadline: float) -> None:
        ready = self._selector.select(max(0.0, deadline - time.monotonic()))
        assert ready, f"nothing more came in time, after:\n{self.out}\n{self.err}"
        for key, _ in ready:
            try:
                chunk = os.read(key.fd, 65_536)
            except OSError:  # a terminal whose other end is closed
                chunk = b""
            self._texts[key.data].extend(chunk)
            if not chunk:
                self._selector.unregister(key.fileobj)


class Command(Running):
    """A storycast command that runs, its output in pipes. `python` holds options of the interpreter."""

    def __init__(
        self,
        *arguments: str,
        home: Path,
        settings: Mapping[str, str] | None = None,
        stdin: str = "",
        python: Sequence[str] = (),
    ) -> None:
        super().__init__(
            [sys.executable, *python, "-m", "ops", *arguments], home, settings=settings, stdin=stdin
        )


class OnTerminal(Running):
    """A storycast command that runs on a terminal of its own; all it says is in `out`."""

    def __init__(self, *arguments: str, home: Path, settings: Mapping[str, str] | None = None) -> None:
        super().__init__([sys.executable, "-c", _ON_TERMINAL, *arguments], home, settings=settings)

    def _start(
        self, arguments: Sequence[str], home: Path, env: dict[str, str], stdin: str
    ) -> subprocess.Popen[bytes]:
        self._ours, theirs = pty.openpty()
        try:
            process = subprocess.Popen(
                arguments, cwd=home, env=env, stdin=theirs, stdout=theirs, stderr=theirs
            )
        finally:
            os.close(theirs)
        self._selector.register(self._ours, selectors.EVENT_READ, "out")
        return process

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        os.close(self._ours)

    def press(self, keys: bytes) -> None:
        """Type `keys`."""
        os.write(self._ours, keys)


class NatsServer(Running):
    """A nats-server as people run it themselves, on a port that is free; `url` is where it listens."""

    def __init__(self, home: Path, *, jetstream: bool = True, config: str = "") -> None:
        path = home / "own.conf"
        store = f'jetstream: {{store_dir: "{home}/own"}}\n' if jetstream else ""
        path.write_text(f'host: "127.0.0.1"\nport: -1\n{store}{config}')
        beside = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
        binary = shutil.which("nats-server", path=beside)
        assert binary is not None
        super().__init__([binary, "--config", str(path)], home)
        assert self.process.stderr is not None
        fcntl.fcntl(
            self.process.stderr, fcntl.F_SETPIPE_SZ, 1 << 20
        )  # it must never wait for who reads its log

    def __enter__(self) -> Self:
        said = self.until("Server is ready", stream="err").encode()
        found = _LISTENING.search(said)
        assert found is not None
        self.url = f"nats://127.0.0.1:{found[1].decode()}"
        return self

    def make_streams(self, *, waiting_per_session: int | None = None) -> None:
        """Create what a worker creates when it starts; fewer requests may wait if that is given."""

        async def main() -> None:
            async with open_bus(self.url) as bus:
                await ensure(bus)
                if waiting_per_session is not None:
                    config = (await bus.call(bus.jetstream.stream_info, STREAM_SENDS)).config
                    changed = config.evolve(max_msgs_per_subject=waiting_per_session)
                    await bus.call(bus.jetstream.update_stream, changed)

        trio.run(main)

    def waiting(self) -> int:
        """How many requests wait there."""

        async def main() -> int:
            async with open_bus(self.url) as bus:
                messages: int = (await bus.call(bus.jetstream.stream_info, STREAM_SENDS)).state.messages
                return messages

        return trio.run(main)

    def stored_request(self, session: str = "main") -> dict[str, Any]:
        """The last request of `session` that waits there, as it is on the wire."""

        async def main() -> bytes:
            async with open_bus(self.url) as bus:
                found = await bus.last(STREAM_SENDS, send_subject(session))
            assert found is not None
            return found.data

        return msgspec.json.decode(trio.run(main), type=dict[str, Any])


Call = Callable[..., Ended]
"""Runs a command in this process: `call("settings", "--json", env={...}, stdin="")`."""


def run(*arguments: str, home: Path, settings: Mapping[str, str] | None = None, stdin: str = "") -> Ended:
    """Run a storycast command to its end."""
    with Command(*arguments, home=home, settings=settings, stdin=stdin) as command:
        return command.end()


def decoded(text: str) -> Any:
    """The JSON document that `text` is."""
    return msgspec.json.decode(text)


def json_lines(text: str) -> list[dict[str, Any]]:
    """The JSON objects that the lines of `text` are."""
    return [msgspec.json.decode(line, type=dict[str, Any]) for line in text.splitlines()]


def servers(home: Path) -> list[int]:
    """The nats-servers whose data are somewhere under `home`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:  # it has ended meanwhile
                continue
            if b"nats-server" in command and f"{home}/".encode() in command:
                found.append(int(entry.name))
    return found


def leftovers(home: Path) -> list[str]:
    """Folders of servers that are still there."""
    return [path.name for path in home.glob("storycast-nats-*")]


def wait_for_death(pid: int) -> bool:
    """Whether the process, of whomever it is a child, has ended in time."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], PATIENCE)[0])
    finally:
        os.close(descriptor)


def unused_port() -> int:
    """A port that is free, and that no client is given by chance: it is below all that are handed out."""
    while True:
        port = random.SystemRandom().randrange(12_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
