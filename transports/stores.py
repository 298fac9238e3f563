"""The ports of the stages that are kept on NATS: what sessions have learned, and finished reports."""

from __future__ import annotations

import msgspec
from nats.js.kv import KeyValue

from stages.errors import StoreFailed
from stages.history import UNREADABLE, History
from transports.bus import Bus, NotStored
from transports.errors import TransportError
from transports.subjects import BUCKET_SESSIONS, STREAM_EVENTS, report_subject


class NatsHistories:
    """A `HistoryStore` in the key-value bucket `storycast_sessions`, one key a session."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._bucket: KeyValue | None = None

    async def load(self, session: str) -> History | None:
        """The session's history, of whatever version; None if there is none."""
        try:
            bucket = await self._opened()
            entry = await self._bus.call(bucket.get, session)
        except NotStored:
            return None
        except TransportError as error:
            raise StoreFailed(f"the history of {session} cannot be read: {error}") from error
        return _readable(entry.value or b"")

    async def save(self, session: str, history: History) -> None:
        """Keep `history` as the session's."""
        try:
            bucket = await self._opened()
            await self._bus.call(bucket.put, session, msgspec.json.encode(history))
        except TransportError as error:
            raise StoreFailed(f"the history of {session} cannot be kept: {error}") from error

    async def _opened(self) -> KeyValue:
        if self._bucket is None:
            self._bucket = await self._bus.call(self._bus.jetstream.key_value, BUCKET_SESSIONS)
        return self._bucket


class NatsReports:
    """A `ReportStore` that reads the reports in the stream of events, where they are for a day."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def find(self, session_id: str, story_id: str) -> bytes | None:
        """The story's report as it was published, or None if there is none."""
        try:
            found = await self._bus.last(STREAM_EVENTS, report_subject(session_id, story_id))
        except TransportError as error:
            raise StoreFailed(f"the report of {story_id} cannot be looked up: {error}") from error
        return None if found is None else found.data


def _readable(value: bytes) -> History | None:
    """What is stored; if it is of a form that this version does not know, a history of another version."""
    try:
        return msgspec.json.decode(value, type=History)
    except msgspec.MsgspecError:
        return History(version=UNREADABLE)
