"""The client: what other programs send stories with, and follow them, on Trio or on asyncio."""

from pipeline.client.client import Client, open_client
from pipeline.client.following import Answer, Event, Events

__all__ = ["Answer", "Client", "Event", "Events", "open_client"]
