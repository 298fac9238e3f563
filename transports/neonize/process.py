"""The hosting process as its parent has it: started, spoken to, and ended whatever happens."""

from __future__ import annotations

import math
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

import trio
from trio.lowlevel import enable_ki_protection

from stages.errors import Unavailable
from transports.neonize.frames import Order, Unframed, Word, framed, word_in
from transports.neonize.masking import masked
from transports.server import die_with

# The warnings of foreign libraries are no errors there, whatever they are here.
COMMAND: Final = (sys.executable, "-Wdefault", "-m", "transports.neonize.child")
END_TIMEOUT: Final = 3.0
"""Seconds that it gets to end once its pipe is closed; then it is killed."""
_PIECE: Final = 64 * 1024
_TAIL: Final = 8 * 1024
_ERROR: Final = re.compile(r"[\w.]+(Error|Exception)\b")


class Hosted:
    """A running hosting process."""

    def __init__(self, process: subprocess.Popen[bytes], pipe: trio.SocketStream) -> None:
        self.pid = process.pid
        self._process = process
        self._pipe = pipe
        self._printed = bytearray()

    async def tell(self, order: Order) -> None:
        """Send `order`, from one task only: a cancelled one leaves half a frame. Raises `BrokenResourceError`."""
        await self._pipe.send_all(framed(order))

    async def words(self) -> AsyncGenerator[Word, None]:
        """What it says, until it ends or is no longer understood (`FrameError`)."""
        unframed = Unframed()
        while data := await self._read():
            for body in unframed.feed(data):
                yield word_in(body)

    def hang_up(self) -> None:
        """Close the pipe, which ends it."""
        self._pipe.socket.close()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    async def obituary(self) -> str:
        """Wait for its end, not longer than a moment, and say how it ended."""
        code = await _waited(self._process, END_TIMEOUT)
        if code is None:
            return "the client's process no longer answers"
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        telling = self._telling()
        return f"the client's process ended ({how}{f': {telling}' if telling else ''})"

    async def drain(self) -> None:
        """Keep the end of what it prints, for the obituary. Ends with it."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        os.set_blocking(descriptor, False)
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            try:
                data = os.read(descriptor, _PIECE)
            except BlockingIOError:
                continue
            if not data:
                return
            self._printed += data
            del self._printed[:-_TAIL]

    def _telling(self) -> str:
        lines = self._printed.decode("utf-8", errors="replace").splitlines()
        found = [line for line in lines if line.startswith(("panic:", "fatal error:", "SIG"))]
        # Of our own errors the kind only: their words could hold what was to be sent.
        errors = [line.partition(":")[0] for line in lines if _ERROR.match(line)]
        return masked((found or errors[-1:] or [""])[0])

    async def _read(self) -> bytes:
        try:
            return bytes(await self._pipe.receive_some(_PIECE))
        except trio.BrokenResourceError:  # reset: it died with something of ours unread
            return b""


@asynccontextmanager
async def open_hosted(command: Sequence[str], begin: Order) -> AsyncIterator[Hosted]:
    """Run `command` with a pipe to it for as long as the block lasts, and send `begin`.

    It gets the number of its end of the pipe as its last argument. When this process dies, however it does, the
    kernel kills it (Linux), and elsewhere the end of the pipe ends it. Raises `Unavailable` if it cannot be started.
    """
    process, pipe = _start(command)
    hosted = Hosted(process, trio.SocketStream(trio.socket.from_stdlib_socket(pipe)))
    problem: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hosted.drain)
            with suppress(trio.BrokenResourceError):  # it has died: whoever listens hears nothing
                await hosted.tell(begin)
            try:
                yield hosted
            except Exception as error:  # raised again below, where no group is made of it
                problem = error
            nursery.cancel_scope.cancel()
    finally:
        hosted.hang_up()
        with trio.CancelScope(shield=True):
            await _end(process)
    if problem is not None:
        raise problem


@enable_ki_protection
def _start(command: Sequence[str]) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            # Forked right here, as nats-server is: the kernel's "your parent died" comes when the thread ends.
            process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C in the terminal is for us
                preexec_fn=partial(die_with, os.getpid()),
            )
        except OSError as error:
            ours.close()
            raise Unavailable(f"the client's process cannot be started: {error.strerror}") from error
    return process, ours


async def _end(process: subprocess.Popen[bytes]) -> None:
    """Its pipe is closed, so it ends; surely."""
    assert process.stdout is not None
    with process.stdout:
        if await _waited(process, END_TIMEOUT) is None:
            process.kill()
            await _waited(process, math.inf)


async def _waited(process: subprocess.Popen[bytes], timeout: float) -> int | None:
    """Its exit status, or None if it has not ended within `timeout` seconds of real time."""
    limit = None if math.isinf(timeout) else timeout
    try:
        return await trio.to_thread.run_sync(process.wait, limit, limiter=trio.CapacityLimiter(1))
    except subprocess.TimeoutExpired:
        return None
