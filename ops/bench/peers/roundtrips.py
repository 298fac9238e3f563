"""Measures round trips with nothing but nats-py: requests to `echo`, one after the other; prints seconds as JSON."""

from __future__ import annotations

import asyncio
import sys
import time

import msgspec
import nats

from ops.bench.peers.echo import SUBJECT

_WARM_UP = 50


async def _main(url: str, count: int) -> None:
    client = await nats.connect(url)
    found = []
    for number in range(_WARM_UP + count):
        began = time.perf_counter()
        await client.request(SUBJECT, b"ping")
        if number >= _WARM_UP:
            found.append(time.perf_counter() - began)
    await client.close()
    print(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
