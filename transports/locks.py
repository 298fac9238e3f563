"""A lock for each key, there only as long as somebody holds it or waits for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Locks:
    """One lock for each key."""

    def __init__(self) -> None:
        self._locks: dict[str, trio.Lock] = {}

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """Hold the lock of `key` while the block lasts."""
        lock = self._locks.setdefault(key, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            state = lock.statistics()
            if not state.locked and not state.tasks_waiting:
                self._locks.pop(key, None)

    def __len__(self) -> int:
        return len(self._locks)
