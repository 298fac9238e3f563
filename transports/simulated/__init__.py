"""The simulated engine, its profiles, and the ledger of what every recipient saw."""

from transports.simulated.engine import SimulatedEngine
from transports.simulated.ledger import Call, Ledger
from transports.simulated.profile import Profile, load_profile, shipped_profiles
from transports.simulated.world import Fate, World

__all__ = [
    "Call",
    "Fate",
    "Ledger",
    "Profile",
    "SimulatedEngine",
    "World",
    "load_profile",
    "shipped_profiles",
]
