"""The hosting process with the real library, whose first post makes its Go core panic."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from threading import Event

from tests.neonize.far_side import DEVICE
from transports.neonize.child import load, main
from transports.neonize.client import Client, Contact, Heard, Privacy
from transports.neonize.library import Library


class Panicking(Library):
    """Never connects, and takes its contact list for that of a linked device, which it is not."""

    def run(self, heard: Callable[[Heard], None]) -> None:
        heard(Heard("Connected"))
        Event().wait()

    def stop(self) -> None:
        pass

    def contacts(self) -> Sequence[Contact]:
        return ()

    # `rename` is the library's own: it panics where nobody is linked.

    def privacy(self) -> Privacy:
        return Privacy()

    def without_devices(self, jids: object) -> Sequence[str]:
        return ()


def make(database: Path, note: Callable[[str], None]) -> Client:
    """Makes one, on a store that looks as if it were linked."""
    load(database, note)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS whatsmeow_device (jid TEXT)")
        connection.execute("INSERT INTO whatsmeow_device VALUES (?)", (DEVICE,))
    return Panicking(database, note)


if __name__ == "__main__":
    main(make)
