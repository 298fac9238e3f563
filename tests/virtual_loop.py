"""An asyncio event loop whose clock is virtual: what would be a wait becomes a step of its time.

The counterpart of Trio's `MockClock(autojump_threshold=0)`, so that a test that runs on both libraries may sleep for
hours on both, and may assert what its clock says afterwards.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any

RESOLUTION = 1e-9
"""Seconds. Far below what any test asserts, and enough that rounding never leaves a timer just out of reach."""


class _Selector(selectors.BaseSelector):
    """A real selector that never blocks on a timeout: it moves `loop`'s time on by it."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout is None or timeout <= 0:
            # With no timer to wait for only a signal or another thread can wake the loop: then block for real.
            return ready or (self._real.select(None) if timeout is None else [])
        self.elapsed += timeout
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its `time()` begins at 0 and passes only while every task waits."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self._clock_resolution = RESOLUTION

    def time(self) -> float:
        return self._virtual.elapsed

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        # Threads end in real time, which a deadline on this clock would be over before.
        await super().shutdown_default_executor()
