"""Answers every request on a subject with what it said: the far side of a round trip."""

from __future__ import annotations

import asyncio
import sys

import nats
from nats.aio.msg import Msg

from ops.bench.peers.writings import READY

SUBJECT = "bench.echo"


async def _answer(request: Msg) -> None:
    await request.respond(request.data)


async def _main(url: str) -> None:
    client = await nats.connect(url)
    await client.subscribe(SUBJECT, cb=_answer)
    await client.flush()
    print(READY, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
