"""The same on plain asyncio with nothing but nats-py: what a good straightforward program makes of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

import msgspec
import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from ops.bench.peers import writings
from stages.messages import SendRequest
from transports.subjects import BUCKET_SESSIONS, CONSUMERS, STREAM_SENDS

ANSWER_TIMEOUT = 30.0


class Peer:
    """Serves requests as a worker does: the same reads and writes in the same order, each awaited where it must be."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stream = client.jetstream(timeout=ANSWER_TIMEOUT)
        self._room = asyncio.Semaphore(writings.IN_FLIGHT)
        self._claims: dict[str, asyncio.Task[int]] = {}

    async def serve(self) -> None:
        """Serve until cancelled."""
        requests = await self._stream.pull_subscribe_bind(CONSUMERS["normal"], STREAM_SENDS)
        self._history = await self._stream.key_value(BUCKET_SESSIONS)
        print(writings.READY, flush=True)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._renew())
            while True:
                for request in await _fetched(requests):
                    await self._room.acquire()
                    tasks.create_task(self._take(request))

    async def _take(self, request: Msg) -> None:
        try:
            await self._post(request)
        finally:
            self._room.release()

    async def _post(self, request: Msg) -> None:
        wanted = msgspec.json.decode(request.data, type=SendRequest)
        session, story = wanted.session_id, wanted.story_id
        if session not in self._claims:
            self._claims[session] = asyncio.create_task(self._claim(session))
        await asyncio.shield(self._claims[session])
        await self._read(writings.JOBS, writings.job_key(session, story))
        revision = await self._store(writings.begun(session, story))
        before, *after = writings.events(session, story)
        await self._client.publish(*before)
        await asyncio.sleep(0)  # the call of an engine that takes no time
        for event in after:
            await self._client.publish(*event)
        await self._store(writings.report(session, story))
        await self._store(writings.ended(session, story, revision))
        await request.ack()

    async def _claim(self, session: str) -> int:
        revision = await self._store(writings.claim(session, 0))
        await self._store(writings.term(session))
        await self._read(writings.LEASES, writings.parked_key(session))
        await _or_none(self._history.get(session))
        return revision

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(writings.RENEW_EVERY)
            done = [(name, claim) for name, claim in self._claims.items() if claim.done()]
            await asyncio.gather(*(self._renewed(name, claim.result()) for name, claim in done))

    async def _renewed(self, session: str, after: int) -> None:
        self._claims[session] = asyncio.create_task(self._store(writings.claim(session, after)))
        await self._claims[session]

    async def _store(self, message: writings.Message) -> int:
        subject, data, headers = message
        return (await self._stream.publish(subject, data, headers=headers)).seq

    async def _read(self, stream: str, subject: str) -> Any:
        return await _or_none(self._stream.get_last_msg(stream, subject))


async def _or_none(reading: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await reading
    except NotFoundError:
        return None


async def _fetched(requests: JetStreamContext.PullSubscription) -> list[Msg]:
    try:
        return await requests.fetch(writings.FETCHED, timeout=ANSWER_TIMEOUT)
    except nats.errors.TimeoutError:
        return []


async def _main(url: str) -> None:
    client = await nats.connect(url)
    await Peer(client).serve()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
