"""Serving the engine of one session on NATS, so that workers anywhere can send over it."""

from __future__ import annotations

from functools import partial
from typing import Literal

from ops.exits import SUCCESS
from ops.logs import log_to_stderr
from ops.serve import Say, noter, serve_until_signal
from pipeline.engines import engine_opener, only
from pipeline.resolution import SettingsError
from pipeline.settings import Settings
from stages.masking import without_user
from stages.messages import SESSION_ID
from transports.bus import open_bus
from transports.remote import ensure_alone, serve_engine
from transports.remote.discovery import SERVICE

Kind = Literal["simulated", "waha", "neonize"]


async def engine(settings: Settings, say: Say, *, kind: Kind, session: str) -> int:
    """Serve the engine of `session` until SIGINT or SIGTERM.

    Raises `AlreadyServed`, before the engine is opened, if somebody else does.
    """
    if not SESSION_ID.fullmatch(session):
        raise SettingsError(f"--session: found {session!r}, allowed: 1-64 letters, digits, `_` or `-`")
    log_to_stderr()
    own = settings.storycast
    async with open_bus(own.url, on_event=noter(say)) as bus:
        await ensure_alone(bus, session)  # two engines of one account would already be in each other's way
        async with engine_opener(only(settings, kind), bus)(session) as served:
            serve = partial(serve_engine, bus, session, served, kind=kind, grace=own.grace)
            where = f"on {without_user(own.url)}; `nats micro info {SERVICE}` shows it"
            ready = f"serving the {kind} engine of session {session} {where}"
            await serve_until_signal(serve, say, ready)
    return SUCCESS
