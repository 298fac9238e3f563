"""The simulated engine, its profiles, the ledger of what recipients saw, and the record that outlives processes."""

from transports.simulated.engine import SimulatedEngine
from transports.simulated.ledger import Call, Ledger
from transports.simulated.profile import Profile, load_profile, shipped_profiles
from transports.simulated.record import Record, RecordedCall, Recording, read_record
from transports.simulated.world import Fate, World

__all__ = [
    "Call",
    "Fate",
    "Ledger",
    "Profile",
    "Record",
    "RecordedCall",
    "Recording",
    "SimulatedEngine",
    "World",
    "load_profile",
    "read_record",
    "shipped_profiles",
]
