"""The client: publishes send requests as any program would, and follows what becomes of them."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

import msgspec
from aiostream import pipe, stream

from stages.errors import BadRequest
from stages.messages import Alert, Level, ProgressEvent, Rejection, Report, Scaling, SendRequest
from transports.bus import HEADERS_ROOM, Bus, Inbound, Outbound, Stored
from transports.mailbox import Mailbox
from transports.subjects import (
    ALERTS,
    HEADER_REJECTION,
    HEADER_REPLY_TO,
    PROGRESS,
    REJECTED,
    REPORTS,
    SCALING,
    alert_subject,
    progress_subject,
    scaling_subject,
    send_subject,
)

Event = ProgressEvent | Scaling | Alert | Rejection | Report
Answer = Report | Rejection

log = logging.getLogger("storycast")


class Following:
    """The events of one story or of many, as they come, in lists; `reply_to` is where the answer comes in."""

    def __init__(self, mailbox: Mailbox[Inbound], reply_to: str) -> None:
        self._mailbox = mailbox
        self.reply_to = reply_to

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[Sequence[Event]]]:
        """What comes in, in lists: `async with following.events() as events: async for burst in events: ...`.

        It never ends by itself; cancel it, or stop iterating.
        """
        async with aclosing(self._arrivals()) as arrivals:
            decoded = stream.preserve(arrivals) | pipe.map(self._decoded)
            async with decoded.stream() as events:
                yield events

    async def _arrivals(self) -> AsyncGenerator[list[Inbound], None]:
        while True:
            yield await self._mailbox.receive()

    def _decoded(self, messages: Sequence[Inbound], *_: object) -> Sequence[Event]:
        return [event for message in messages if (event := self._event(message))]

    def _event(self, message: Inbound) -> Event | None:
        try:
            return decode_event(message, is_answer=message.subject == self.reply_to)
        except msgspec.MsgspecError as error:
            log.warning("foreign message", extra={"subject": message.subject, "problem": str(error)})
            return None


@asynccontextmanager
async def follow(bus: Bus, session: str, story: str) -> AsyncIterator[Following]:
    """Follow one story: its progress, its session's decisions and alerts, and the answer to its request."""
    reply_to = bus.client.new_inbox()
    subjects = (
        progress_subject(session, story),
        scaling_subject(session),
        alert_subject(session),
        reply_to,
    )
    async with bus.subscribe(*subjects) as mailbox:
        yield Following(mailbox, reply_to)


@asynccontextmanager
async def follow_all(bus: Bus, session: str | None = None) -> AsyncIterator[Following]:
    """Follow everything that happens, or all of one session."""
    subjects = [PROGRESS, REPORTS, REJECTED, SCALING, ALERTS]
    if session is not None:
        by_story = [subject.replace(">", f"{session}.>") for subject in (PROGRESS, REPORTS)]
        by_session = [subject.replace(">", session) for subject in (REJECTED, SCALING, ALERTS)]
        subjects = [*by_story, *by_session]
    async with bus.subscribe(*subjects) as mailbox:
        yield Following(mailbox, "")


async def submit(
    bus: Bus, request: SendRequest, *, level: Level = "normal", reply_to: str | None = None
) -> Stored:
    """Publish `request` and wait until JetStream has it: from then on it will be sent, come what may.

    Raises `BadRequest` if it is too large for one message, `PublishRefused` or `Unreachable` from NATS.
    """
    data = msgspec.json.encode(request)
    room = bus.max_payload - HEADERS_ROOM
    if len(data) > room:
        raise BadRequest(
            "too-large",
            field="recipients",
            found=f"a request of {len(data):,} bytes",
            allowed=f"{room:,} bytes on this server (max_payload); split the list into several stories",
        )
    headers = {HEADER_REPLY_TO: reply_to} if reply_to else None
    return await bus.store(Outbound(send_subject(request.session_id, level), data, headers))


def decode_event(message: Inbound, *, is_answer: bool = False) -> Event:
    """The event in a message that storycast published. Raises `msgspec.ValidationError` if it is none."""
    if is_answer:
        return _answer(message.data)
    if rejection := message.headers.get(HEADER_REJECTION):
        return msgspec.json.decode(rejection, type=Rejection)
    kind = message.subject.split(".")[1]
    return msgspec.json.decode(message.data, type=_TYPES[kind])


_TYPES: dict[str, type[ProgressEvent] | type[Report] | type[Scaling] | type[Alert]] = {
    "progress": ProgressEvent,
    "report": Report,
    "scaling": Scaling,
    "alerts": Alert,
}


def _answer(data: bytes) -> Answer:
    """A request is answered by its report, or by its rejection, which alone has a code."""
    is_rejection = "code" in msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    if is_rejection:
        return msgspec.json.decode(data, type=Rejection)
    return msgspec.json.decode(data, type=Report)
