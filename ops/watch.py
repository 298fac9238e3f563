"""`storycast watch`: what happens, as it happens."""

from __future__ import annotations

import msgspec
from rich.console import Console

from ops.display import Plain
from ops.exits import fail
from ops.logs import log_to_stderr
from ops.serve import interruptible
from pipeline.client import open_client
from pipeline.client.following import Event
from stages.messages import SESSION_ID


async def watch(url: str, session: str | None, *, json: bool) -> int:
    """Print every event of `session`, or of all, one a line, until interrupted; stopped sessions come first."""
    if session is not None and not SESSION_ID.fullmatch(session):
        return fail(f"session: found {session!r}, allowed: 1-64 letters, digits, `_` or `-`")
    log_to_stderr("WARNING")
    show = _print_json if json else Plain(Console(highlight=False)).show
    async with (
        interruptible(),
        open_client(url, name="storycast watch", on_event=_warn) as client,
        client.watch(session) as events,
    ):
        for alert in await client.stopped():
            if session in {None, alert.session_id}:
                show(alert)
        async for event in events:
            show(event)
    raise AssertionError("the stream of events never ends by itself")


def _print_json(event: Event) -> None:
    print(msgspec.json.encode(event).decode(), flush=True)


def _warn(event: str) -> None:
    Console(stderr=True, highlight=False).print(event, style="yellow")
