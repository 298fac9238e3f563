"""The simulated engine, its profiles, the ledger of what recipients saw, and the record that outlives processes."""

from transports.simulated.engine import SimulatedEngine, open_simulated
from transports.simulated.ledger import Call, Delivered, Ledger
from transports.simulated.profile import Profile, load_profile, shipped_profiles
from transports.simulated.record import Record, RecordedCall, Recording, read_record
from transports.simulated.world import Fate, World

__all__ = [
    "Call",
    "Delivered",
    "Fate",
    "Ledger",
    "Profile",
    "Record",
    "RecordedCall",
    "Recording",
    "SimulatedEngine",
    "World",
    "load_profile",
    "open_simulated",
    "read_record",
    "shipped_profiles",
]
