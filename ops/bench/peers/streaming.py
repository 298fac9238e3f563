"""The same as a FastStream app: a subscriber on the work queue, and the broker's own ways to publish and to keep."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Coroutine
from typing import Annotated, Any

from faststream import AckPolicy, FastStream, Path
from faststream.nats import JStream, NatsBroker, PullSub
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from nats.js.kv import KeyValue
from pydantic import BaseModel, Field

from ops.bench.peers import writings
from transports.subjects import BUCKET_SESSIONS, CONSUMERS, SENDS, STREAM_EVENTS, STREAM_SENDS, bucket_stream

ANSWER_TIMEOUT = 30.0


class Text(BaseModel):
    """A story of text."""

    type: str
    text: str


class Request(BaseModel):
    """What is wanted, as the app reads it."""

    story_id: str = Field(alias="storyId")
    session_id: str = Field(alias="sessionId")
    content: Text
    recipients: list[str]


class Sessions:
    """The sessions that the app has claimed."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker
        self._claims: dict[str, asyncio.Task[int]] = {}
        self.histories: list[KeyValue] = []

    async def claimed(self, session: str) -> None:
        """Return once the session is the app's."""
        if session not in self._claims:
            self._claims[session] = asyncio.create_task(self._claim(session))
        await asyncio.shield(self._claims[session])

    async def renew(self) -> None:
        """Renew all of them, again and again."""
        while True:
            await asyncio.sleep(writings.RENEW_EVERY)
            done = [(name, claim) for name, claim in self._claims.items() if claim.done()]
            await asyncio.gather(*(self._renewed(name, claim.result()) for name, claim in done))

    async def _claim(self, session: str) -> int:
        revision = await stored(self._broker, writings.LEASES, writings.claim(session, 0))
        await stored(self._broker, writings.LEASES, writings.term(session))
        await _read(self._broker, writings.LEASES, writings.parked_key(session))
        await _or_none(self.histories[0].get(session))
        return revision

    async def _renewed(self, session: str, after: int) -> None:
        renewing = stored(self._broker, writings.LEASES, writings.claim(session, after))
        self._claims[session] = asyncio.create_task(renewing)
        await self._claims[session]


async def stored(broker: NatsBroker, stream: str, message: writings.Message) -> int:
    """Publish into `stream` and wait until it is there; returns its place."""
    subject, data, headers = message
    ack = await broker.publish(data, subject, headers=headers, stream=stream, timeout=ANSWER_TIMEOUT)
    return int(ack.seq)


async def _read(broker: NatsBroker, stream: str, subject: str) -> Any:
    jetstream: JetStreamContext = broker.config.connection_state.stream
    return await _or_none(jetstream.get_last_msg(stream, subject))


async def _or_none(reading: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await reading
    except NotFoundError:
        return None


def app_on(url: str) -> FastStream:
    """The app on the server at `url`."""
    broker = NatsBroker(url, log_level=logging.WARNING)
    app, sessions = FastStream(broker), Sessions(broker)
    background: set[asyncio.Task[None]] = set()

    @app.after_startup
    async def ready() -> None:
        sessions.histories.append(await broker.key_value(BUCKET_SESSIONS, declare=False))
        background.add(asyncio.create_task(sessions.renew()))
        print(writings.READY, flush=True)

    @broker.subscriber(
        SENDS["normal"].replace("*", "{session}"),
        stream=JStream(STREAM_SENDS, declare=False),
        durable=CONSUMERS["normal"],
        pull_sub=PullSub(batch_size=writings.FETCHED),
        max_workers=writings.IN_FLIGHT,
        ack_policy=AckPolicy.NACK_ON_ERROR,
    )
    async def post(request: Request, session: Annotated[str, Path()]) -> None:
        story = request.story_id
        await sessions.claimed(session)
        await _read(broker, writings.JOBS, writings.job_key(session, story))
        revision = await stored(broker, writings.JOBS, writings.begun(session, story))
        before, *after = writings.events(session, story)
        await broker.publish(before[1], before[0])
        await asyncio.sleep(0)  # the call of an engine that takes no time
        for subject, event in after:
            await broker.publish(event, subject)
        await stored(broker, STREAM_EVENTS, writings.report(session, story))
        await stored(broker, bucket_stream("storycast_jobs"), writings.ended(session, story, revision))

    return app


if __name__ == "__main__":
    asyncio.run(app_on(sys.argv[1]).run())
