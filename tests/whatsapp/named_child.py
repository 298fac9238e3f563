"""The engine's hosting process, whose contacts have names: a real account's phone would send them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transports.neonize import child, library
from transports.neonize.client import Contact, Heard


class Named(library.Library):
    """Writes the names before it says that it is connected, at its first start."""

    def run(self, heard: Callable[[Heard], None]) -> None:
        def with_names(event: Heard) -> None:
            if event.name == "Connected" and not self.contacts():
                phones = filter(None, os.environ.get("STORYCAST_TEST_CONTACTS", "").split(","))
                self.rename([Contact(f"{phone}@s.whatsapp.net", f"Contact {phone}") for phone in phones])
            heard(event)

        super().run(with_names)


def make(database: Path, note: Callable[[str], None]) -> Any:
    return Named(database, note)


if __name__ == "__main__":
    child.main(make)
