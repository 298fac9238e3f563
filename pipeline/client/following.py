"""Following: the events of a story, of a session, or of all, decoded, in the order in which they come."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

import msgspec
from aiostream import pipe, stream
from msgspec import structs

from stages.messages import Alert, ProgressEvent, Rejection, Report, Scaling
from transports.bus import Bus, Inbound
from transports.mailbox import Mailbox
from transports.subjects import (
    ALERTS,
    HEADER_REJECTION,
    PROGRESS,
    REJECTED,
    REPORTS,
    SCALING,
    STREAM_EVENTS,
    alert_subject,
    progress_subject,
    rejected_subject,
    report_subject,
    scaling_subject,
)

Event = ProgressEvent | Scaling | Alert | Rejection | Report
Answer = Report | Rejection
Events = AsyncIterator[Event]
"""Events one by one: `async for event in events`."""

log = logging.getLogger("storycast")

Decode = Callable[[Inbound], Event]


@asynccontextmanager
async def story_events(bus: Bus, session: str, story: str) -> AsyncIterator[Events]:
    """The events of one story until its answer, which is the last one; an earlier report is the first and last."""
    report = report_subject(session, story)
    subjects = (
        progress_subject(session, story),
        report,
        rejected_subject(session),
        scaling_subject(session),
        alert_subject(session),
    )
    async with bus.subscribe(*subjects) as mailbox:
        # Looked up after the subscription is in force: a report that comes in between is in one of the two.
        earlier = await bus.last(STREAM_EVENTS, report)
        first = [] if earlier is None else [earlier]
        async with (
            _decoded(mailbox, decode_event, first) as bursts,
            aclosing(_until_answer(bursts, story)) as events,
        ):
            yield events


@asynccontextmanager
async def answered_events(bus: Bus, session: str, story: str, reply_to: str) -> AsyncIterator[Events]:
    """The events of a story until the answer to the request that names `reply_to` as where it goes."""
    subjects = (progress_subject(session, story), scaling_subject(session), alert_subject(session), reply_to)

    def decode(message: Inbound) -> Event:
        if message.subject != reply_to:
            return decode_event(message)
        # The story is named again because a request may be refused for a name that cannot be read.
        return structs.replace(decode_answer(message.data), story_id=story)

    async with (
        bus.subscribe(*subjects) as mailbox,
        _decoded(mailbox, decode) as bursts,
        aclosing(_until_answer(bursts, story)) as events,
    ):
        yield events


@asynccontextmanager
async def all_events(bus: Bus, session: str | None) -> AsyncIterator[Events]:
    """Everything that happens, or all of one session; it never ends by itself."""
    subjects = [PROGRESS, REPORTS, REJECTED, SCALING, ALERTS]
    if session is not None:
        by_story = [subject.replace(">", f"{session}.>") for subject in (PROGRESS, REPORTS)]
        by_session = [subject.replace(">", session) for subject in (REJECTED, SCALING, ALERTS)]
        subjects = [*by_story, *by_session]
    async with (
        bus.subscribe(*subjects) as mailbox,
        _decoded(mailbox, decode_event) as bursts,
        aclosing(_one_by_one(bursts)) as events,
    ):
        yield events


@asynccontextmanager
async def _decoded(
    mailbox: Mailbox[Inbound], decode: Decode, first: Sequence[Inbound] = ()
) -> AsyncIterator[AsyncIterator[Sequence[Event]]]:
    """What comes into `mailbox` after `first`, in lists; what is no event of ours is logged and left out."""

    def decoded(messages: Sequence[Inbound], *_: object) -> Sequence[Event]:
        return [event for message in messages if (event := _event(message, decode)) is not None]

    async with (
        aclosing(_arrivals(mailbox, first)) as arrivals,
        (stream.preserve(arrivals) | pipe.map(decoded)).stream() as bursts,
    ):
        yield bursts


async def _arrivals(
    mailbox: Mailbox[Inbound], first: Sequence[Inbound]
) -> AsyncGenerator[Sequence[Inbound], None]:
    if first:
        yield first
    while True:
        yield await mailbox.receive()


async def _one_by_one(bursts: AsyncIterator[Sequence[Event]]) -> AsyncGenerator[Event, None]:
    async for burst in bursts:
        for event in burst:
            yield event


async def _until_answer(bursts: AsyncIterator[Sequence[Event]], story: str) -> AsyncGenerator[Event, None]:
    async for burst in bursts:
        for event in burst:
            # An alert stops the whole session, and with it this story, whichever one it names.
            if event.story_id == story or isinstance(event, Alert):
                yield event
                if isinstance(event, Report | Rejection):
                    return


def _event(message: Inbound, decode: Decode) -> Event | None:
    try:
        return decode(message)
    except msgspec.MsgspecError as error:
        log.warning("foreign message", extra={"subject": message.subject, "problem": str(error)})
        return None


def decode_event(message: Inbound) -> Event:
    """The event in a message that storycast published. Raises `msgspec.ValidationError` if it is none."""
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


def decode_answer(data: bytes) -> Answer:
    """A request is answered by its report, or by its rejection, which alone has a code."""
    is_rejection = "code" in msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    if is_rejection:
        return msgspec.json.decode(data, type=Rejection)
    return msgspec.json.decode(data, type=Report)
