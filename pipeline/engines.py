"""Which engine serves a session, by the settings."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from msgspec import structs

from pipeline.outbound import event_message
from pipeline.resolution import SettingsError
from pipeline.settings import EngineKind, Settings
from pipeline.shared import OpenEngine
from stages.engine import Engine, EngineStatus
from stages.errors import Unavailable
from stages.messages import Alert
from transports.bus import Bus
from transports.errors import TransportError
from transports.neonize import open_neonize
from transports.remote import open_remote
from transports.simulated import Recording, load_profile, open_simulated
from transports.simulated.record import append
from transports.waha import open_waha

log = logging.getLogger("storycast")


def engine_opener(settings: Settings, bus: Bus | None) -> OpenEngine:
    """Opens the engine that the settings name for a session; remote ones are looked for on `bus`, if there is one.

    Raises `ProfileError`, or `SettingsError` for a record that cannot be written, now rather than at the first story.
    """
    simulated = _simulated(settings)
    openers: dict[EngineKind, Callable[[str], AbstractAsyncContextManager[Engine]]] = {
        "simulated": simulated,
        "waha": lambda session: open_waha(settings.of_session(session).waha, session),
        "neonize": lambda session: open_neonize(
            settings.of_session(session).neonize, session, on_death=partial(tell_of_death, bus, session)
        ),
        "remote": partial(_open_remote, bus),
    }

    def open_engine(session: str) -> AbstractAsyncContextManager[Engine]:
        return openers[settings.of_session(session).engine](session)

    return open_engine


async def look_at_engine(settings: Settings, session: str, bus: Bus | None) -> EngineStatus:
    """Whether the session's engine can send now, without sending anything. Raises `StorycastError` if it cannot say."""
    async with engine_opener(settings, bus)(session) as engine:
        return await engine.status()


async def tell_of_death(bus: Bus | None, session: str, reason: str) -> None:
    """Raise an alert: the process that an engine runs in ended, and is started again."""
    alert = Alert(session_id=session, kind=Unavailable.kind, reason=reason, at=datetime.now(UTC))
    message = event_message(alert)
    if bus is None or message is None:
        return
    try:
        await bus.publish([message])
    except TransportError as problem:
        log.warning("an alert is lost", extra={"session": session, "problem": str(problem)})


def only(settings: Settings, kind: EngineKind) -> Settings:
    """The settings with every session served by an engine of `kind`."""
    sessions = {name: structs.replace(own, engine=kind) for name, own in settings.sessions.items()}
    return structs.replace(
        settings, storycast=structs.replace(settings.storycast, engine=kind), sessions=sessions
    )


def _open_remote(bus: Bus | None, session: str) -> AbstractAsyncContextManager[Engine]:
    if bus is None:
        raise Unavailable("a remote engine is found on NATS, which is out of reach")
    return open_remote(bus, session)


def _simulated(settings: Settings) -> OpenEngine:
    own = settings.storycast
    profile = load_profile(own.profile)
    path = _record(own.record)

    def open_one(session: str) -> AbstractAsyncContextManager[Engine]:
        recording = Recording(path=path, session=session, clock=time.time) if path else None
        return open_simulated(profile, speed=own.speed, recording=recording)

    return open_one


def _record(name: str) -> Path | None:
    if not name:
        return None
    path = Path(name)
    try:
        append(path, b"")
    except OSError as error:
        raise SettingsError(f"STORYCAST_RECORD: {name}: {error.strerror}") from error
    return path
