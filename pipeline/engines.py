"""Which engine serves a session, by the settings."""

from __future__ import annotations

from pipeline.lanes import OpenEngine
from pipeline.settings import Settings
from stages.engine import Engine
from transports.simulated import SimulatedEngine, load_profile


def engine_opener(settings: Settings) -> OpenEngine:
    """Opens the engine that the settings name. Raises `ProfileError` now rather than at the first story."""
    own = settings.storycast
    profile = load_profile(own.profile)

    def open_simulated(session: str) -> Engine:
        return SimulatedEngine(profile, speed=own.speed)

    return open_simulated
