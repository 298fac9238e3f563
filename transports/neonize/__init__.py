"""The neonize engine. Nothing here imports neonize: only the process that hosts a client does."""

from transports.neonize.engine import NeonizeEngine, open_neonize
from transports.neonize.linking import open_linking
from transports.neonize.missing import InUse, NeonizeMissing
from transports.neonize.options import Neonize

__all__ = ["InUse", "Neonize", "NeonizeEngine", "NeonizeMissing", "open_linking", "open_neonize"]
