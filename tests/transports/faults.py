"""A bus whose answers get lost: what is stored is stored, but the one who stored it is not told."""

from __future__ import annotations

from transports.bus import Bus, Outbound, Stored
from transports.errors import Unreachable


class LossyBus(Bus):
    """Loses the answers to the next `lose` messages it stores."""

    lose = 0

    async def store(self, message: Outbound) -> Stored:
        """Store it really; the answer may be lost."""
        stored = await super().store(message)
        if self.lose:
            self.lose -= 1
            raise Unreachable("NATS did not answer in time")
        return stored


def lossy(bus: Bus) -> LossyBus:
    """The same connection, with answers to be lost."""
    return LossyBus(bus.bridge, bus.client, bus.asker)
