"""Which engine serves a session, by the settings."""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path

from pipeline.lanes import OpenEngine
from pipeline.resolution import SettingsError
from pipeline.settings import Settings
from stages.engine import Engine
from transports.simulated import Recording, SimulatedEngine, load_profile
from transports.simulated.record import append


def engine_opener(settings: Settings) -> OpenEngine:
    """Opens the engine that the settings name.

    Raises `ProfileError`, or `SettingsError` for a record that cannot be written, now rather than at the first story.
    """
    own = settings.storycast
    profile = load_profile(own.profile)
    path = _record(own.record)

    def open_simulated(session: str) -> AbstractAsyncContextManager[Engine]:
        recording = Recording(path=path, session=session, clock=time.time) if path else None
        return nullcontext(SimulatedEngine(profile, speed=own.speed, recording=recording))

    return open_simulated


def _record(name: str) -> Path | None:
    if not name:
        return None
    path = Path(name)
    try:
        append(path, b"")
    except OSError as error:
        raise SettingsError(f"STORYCAST_RECORD: {name}: {error.strerror}") from error
    return path
