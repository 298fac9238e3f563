"""The waha engine: WAHA's HTTP API, for one session of one WAHA server."""

from transports.waha.engine import WahaEngine, open_waha
from transports.waha.options import Waha

__all__ = ["Waha", "WahaEngine", "open_waha"]
