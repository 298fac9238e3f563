"""What a session has learned, and where it is kept between stories.

A `History` is plain data: policies take one and give the next. It counts for `memory_ttl_hours`
after its last change; an older one, or one of another version, is as if there were none.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from msgspec import Struct, field, structs

from stages.adaptive.belief import Belief

VERSION = 1
UNREADABLE = 0
"""The version of a history whose form is not known."""

Now = Callable[[], datetime]
"""The wall clock, passed in: timezone-aware."""


class Shut(Struct, frozen=True, kw_only=True):
    """A rung that is not to be used for the next `left` good batches."""

    left: int
    span: int
    """How many it was shut for: the next setback shuts it for twice as long."""


class History(Struct, frozen=True, kw_only=True):
    """What the policies know of a session.

    `proven` is the largest size completed well (0: none yet). `ceiling` is the size above which a
    batch does not fit in a frame (0: not met). The rest is where the ladder stands.
    """

    version: int = VERSION
    proven: int = 0
    ceiling: int = 0
    rung: int = 0
    setback: bool = False
    """A batch of the present story failed or timed out."""
    proven_since: int = 0
    """The largest size proven in the present story after its last setback."""
    failures: dict[int, int] = field(default_factory=dict)
    """Failures in a row, by the rung's size."""
    shut: dict[int, Shut] = field(default_factory=dict)
    """Shut rungs by their size, and how long each was shut the last time (left 0: open again)."""
    belief: Belief | None = None
    """What the adaptive policy has learned."""
    at: datetime | None = None
    """When it last changed."""


class HistoryStore(Protocol):
    """Where histories are kept. Raises `StoreFailed` if it cannot answer now."""

    async def load(self, session: str) -> History | None:
        """The session's history, or None where there is none."""
        ...

    async def save(self, session: str, history: History) -> None:
        """Keep `history` as the session's."""
        ...


class MemoryHistories:
    """Histories in memory: for embedding single stages, and for tests."""

    def __init__(self) -> None:
        self._kept: dict[str, History] = {}

    async def load(self, session: str) -> History | None:
        """The session's history, or None."""
        return self._kept.get(session)

    async def save(self, session: str, history: History) -> None:
        """Keep `history` as the session's."""
        self._kept[session] = history


def fresh(history: History | None, *, now: datetime, ttl: timedelta) -> History:
    """`history` if it still counts, else an empty one: none, of another version, older than `ttl`, undated.

    Of one of another version it is kept that there was one, for it to be said.
    """
    if history is not None and history.version != VERSION:
        return History(belief=Belief(version=UNREADABLE))
    if history is None or history.at is None or now - history.at > ttl:
        return History()
    return history


def stamped(history: History, *, now: datetime) -> History:
    """`history`, changed `now`."""
    return structs.replace(history, at=now)
