"""The hosting process's end of the pipe. Written to from any thread, read by one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from threading import Lock

from transports.neonize.frames import Noted, Order, Unframed, Word, framed, order_in
from transports.neonize.masking import masked

_PIECE = 64 * 1024


class Channel:
    """Frames over a connected socket."""

    def __init__(self, pipe: socket.socket) -> None:
        self._pipe = pipe
        self._writing = Lock()

    def write(self, word: Word) -> None:
        """Say `word`; nothing where nobody listens any more, which the reading side hears of as well."""
        try:
            with self._writing:
                self._pipe.sendall(framed(word))
        except OSError:
            return

    def note(self, line: str) -> None:
        """Say a line for the log, numbers masked."""
        self.write(Noted(text=masked(line)))

    def orders(self) -> Iterator[Order]:
        """What is ordered, until the other side is gone. Raises `FrameError`."""
        unframed = Unframed()
        while data := self._read():
            yield from map(order_in, unframed.feed(data))

    def _read(self) -> bytes:
        try:
            return self._pipe.recv(_PIECE)
        except ConnectionError:
            return b""
