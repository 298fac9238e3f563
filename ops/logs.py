"""Logs: one JSON object a line on stderr. Fields are named; content and whole phone numbers never appear."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import msgspec

from stages.masking import masked

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """Formats a record as a JSON object: time, level, message, and what was passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The record on one line."""
        fields = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry = {"at": at, "level": record.levelname.lower(), "event": record.getMessage(), **fields}
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        safe = {name: masked(value) if isinstance(value, str) else value for name, value in entry.items()}
        return msgspec.json.encode(safe, enc_hook=lambda value: masked(str(value))).decode()


def log_to_stderr(level: str = "INFO") -> None:
    """Send storycast's log to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("storycast")
    logger.handlers = [handler]
    logger.setLevel(level)
    logger.propagate = False
