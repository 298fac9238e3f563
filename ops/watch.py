"""`storycast watch`: what happens, as it happens."""

from __future__ import annotations

import msgspec
from rich.console import Console

from ops.display import Plain
from ops.exits import fail
from ops.logs import log_to_stderr
from ops.serve import interruptible
from pipeline.client import follow_all
from stages.messages import SESSION_ID
from transports.bus import open_bus


async def watch(url: str, session: str | None, *, json: bool) -> int:
    """Print every event of `session`, or of all, one a line, until interrupted."""
    if session is not None and not SESSION_ID.fullmatch(session):
        return fail(f"session: found {session!r}, allowed: 1-64 letters, digits, `_` or `-`")
    log_to_stderr("WARNING")
    plain = Plain(Console(highlight=False))
    async with (
        interruptible(),
        open_bus(url, on_event=_warn) as bus,
        follow_all(bus, session) as following,
        following.events() as events,
    ):
        async for burst in events:
            for event in burst:
                if json:
                    print(msgspec.json.encode(event).decode(), flush=True)
                else:
                    plain.show(event)
    raise AssertionError("the stream of events never ends by itself")


def _warn(event: str) -> None:
    Console(stderr=True, highlight=False).print(event, style="yellow")
