"""Adapters to the outside: the NATS bus, the embedded server, the stores, and the engines."""

from transports.bridge import Bridge, BridgeStatistics, open_bridge
from transports.bus import Bus, Inbound, Outbound, Stored, open_bus
from transports.errors import (
    NoResponders,
    ProfileError,
    PublishRefused,
    ServerFailed,
    StreamMismatch,
    TransportError,
    Unreachable,
)
from transports.mailbox import Mailbox, MailboxStatistics
from transports.server import Server, open_server
from transports.stores import NatsHistories, NatsReports

__all__ = [
    "Bridge",
    "BridgeStatistics",
    "Bus",
    "Inbound",
    "Mailbox",
    "MailboxStatistics",
    "NatsHistories",
    "NatsReports",
    "NoResponders",
    "Outbound",
    "ProfileError",
    "PublishRefused",
    "Server",
    "ServerFailed",
    "Stored",
    "StreamMismatch",
    "TransportError",
    "Unreachable",
    "open_bridge",
    "open_bus",
    "open_server",
]
