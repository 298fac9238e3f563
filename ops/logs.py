"""Logs: one JSON object a line on stderr. Fields are named; content and whole phone numbers never appear."""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime

import msgspec

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_NUMBER = re.compile(r"\b([0-9]{3})[0-9]{3,15}([0-9]{2})(?=@|\b)")


class JsonLines(logging.Formatter):
    """Formats a record as a JSON object: time, level, message, and what was passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record on one line."""
        fields = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry = {"at": at, "level": record.levelname.lower(), "event": record.getMessage(), **fields}
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return masked(msgspec.json.encode(entry, enc_hook=str).decode())


def masked(text: str) -> str:
    """`text` with phone numbers as `628...90`."""
    return _NUMBER.sub(r"\1...\2", text)


def log_to_stderr(level: str = "INFO") -> None:
    """Send storycast's log to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("storycast")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False
