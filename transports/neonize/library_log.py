"""The library's log: heard for what it left out of a post, and passed on where somebody should know."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from neonize.utils.log import _log_queue
from neonize.utils.log import log as library

from transports.neonize.drops import Drops

_GO: Final = "whatsmeow"


class Log(logging.Handler):
    """Takes the records of the Go core and of neonize itself."""

    def __init__(self, drops: Drops, note: Callable[[str], None]) -> None:
        super().__init__()
        self._drops = drops
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        """Sort one record."""
        line = record.getMessage()
        if not self._drops.hear(line) and record.levelno >= logging.WARNING:
            self._note(line)

    def settle(self) -> None:
        """Wait until what the Go core has logged so far is sorted."""
        _log_queue.join()


def follow(drops: Drops, note: Callable[[str], None]) -> Log:
    """Take the process's log over. Warnings of the Go core are asked for: they come before a call's answer."""
    log = Log(drops, note)
    logging.getLogger().handlers = [log]
    # Its level is what the Go core is told to log from.
    library.setLevel(logging.WARNING)
    logging.getLogger(_GO).setLevel(logging.DEBUG)
    return log
