"""The neonize engine. Nothing here imports neonize: only the process that hosts a client does."""

from transports.neonize.engine import NeonizeEngine, NeonizeMissing, open_neonize
from transports.neonize.options import Neonize

__all__ = ["Neonize", "NeonizeEngine", "NeonizeMissing", "open_neonize"]
