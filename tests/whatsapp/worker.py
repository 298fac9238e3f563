"""A worker in a process of its own, whose one engine is neonize on the WhatsApp on loopback.

    python -m tests.whatsapp.worker URL PORT SESSIONS BATCH

The product has no such setting. Another worker takes over from one that was killed within a second or two, and not ten.
"""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import trio

from pipeline import custody, worker
from pipeline.leases import Leases
from stages.engine import Engine
from tests.whatsapp.rig import command, options
from tests.whatsapp.stories import settings
from transports import streams
from transports.bus import open_bus
from transports.layout import CONSUMERS
from transports.neonize import open_neonize

SOON = 1.0


def main() -> None:
    _, url, port, sessions, batch = sys.argv
    consumers = tuple(each.evolve(ack_wait=SOON) for each in CONSUMERS)
    with (
        patch.object(custody, "HEARTBEAT", SOON / 3),
        patch.object(worker, "Leases", partial(Leases, ttl=SOON)),
        patch.object(streams, "CONSUMERS", consumers),
    ):
        trio.run(serve, url, int(port), Path(sessions), int(batch))


async def serve(url: str, port: int, sessions: Path, batch: int) -> None:
    """Serve until killed."""
    neonize = options(sessions, "contact-staging", timeout=20)

    def open_engine(session: str) -> AbstractAsyncContextManager[Engine]:
        return open_neonize(neonize, session, command=command(port))

    async with open_bus(url) as bus, trio.open_nursery() as nursery:
        await nursery.start(
            partial(worker.run_worker, bus, settings(batch), shutdown=trio.Event(), open_engine=open_engine)
        )
        print("serving", flush=True)


if __name__ == "__main__":
    main()
