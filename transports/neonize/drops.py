"""Recipients that the library leaves out of a post without an error, told by what it logs.

When it cannot get the keys to encrypt for a device, whatsmeow logs a warning with the message's id, goes on with
the others and returns success.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from threading import Lock
from typing import Final

_FAILED: Final = re.compile(r"^Failed to encrypt (\S+) for (\S+): ")
_PREKEYS: Final = re.compile(r"^Failed to fetch prekeys? for ")
_KEPT: Final = 16


class Drops:
    """Collects the devices that were left out, by message id. Used from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._by_message: OrderedDict[str, list[str]] = OrderedDict()

    def hear(self, line: str) -> bool:
        """Take a line of the log in; True if it was about this."""
        if found := _FAILED.match(line):
            with self._lock:
                self._by_message.setdefault(found[1], []).append(found[2])
                # Retries that phones ask for are logged alike, and nobody takes those.
                while len(self._by_message) > _KEPT:
                    self._by_message.popitem(last=False)
            return True
        return _PREKEYS.match(line) is not None

    def take(self, message_id: str) -> list[str]:
        """The devices that message did not go to."""
        with self._lock:
            return self._by_message.pop(message_id, [])
