"""A WAHA on the loopback: a real HTTP server that answers and fails as WAHA's documentation has it."""

from tests.waha.faults import Fault
from tests.waha.ledger import Ledger, Seen
from tests.waha.server import LoopbackWaha, open_loopback
from tests.waha.world import Settings

__all__ = ["Fault", "Ledger", "LoopbackWaha", "Seen", "Settings", "open_loopback"]
