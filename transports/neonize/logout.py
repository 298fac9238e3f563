"""What the library does after WhatsApp has removed the device: it removes the account from its store."""

from __future__ import annotations

import time
from typing import Final

from transports.neonize.client import Client

_POLL: Final = 0.05


def forgotten(client: Client, timeout: float) -> bool:
    """Wait until it has, `timeout` seconds at most; a process that ends before leaves an account that is none."""
    deadline = time.monotonic() + timeout
    while client.linked:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)
    return True
