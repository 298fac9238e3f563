"""The remote engine: whatever serves a session's engine as a NATS service, in any process and any language."""

from transports.remote.alone import AlreadyServed, ensure_alone
from transports.remote.engine import RemoteEngine, open_remote
from transports.remote.service import serve_engine

__all__ = ["AlreadyServed", "RemoteEngine", "ensure_alone", "open_remote", "serve_engine"]
