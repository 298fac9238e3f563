"""Tasks that serve a block."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def open_background() -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks end with the block. What the block raises leaves it as it is, in no group."""
    problem: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except Exception as error:  # raised again below, where no group is made of it
            problem = error
        nursery.cancel_scope.cancel()
    if problem is not None:
        raise problem
