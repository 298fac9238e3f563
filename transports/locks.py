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
        if not self.take(key):
            await self._locks[key].acquire()
        try:
            yield
        finally:
            self.give_back(key)

    def take(self, key: str) -> bool:
        """Hold the lock of `key` from now on until `give_back`, if nobody else does; says whether."""
        lock = self._locks.setdefault(key, trio.Lock())
        if lock.locked():
            return False
        lock.acquire_nowait()
        return True

    def give_back(self, key: str) -> None:
        """Hold it no longer."""
        lock = self._locks[key]
        lock.release()
        if not lock.locked():
            del self._locks[key]

    def __len__(self) -> int:
        return len(self._locks)
