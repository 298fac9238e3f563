"""The client: what other programs use storycast by, over NATS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager

import anyio

from pipeline.client.controls import control
from pipeline.client.following import Events, all_events, answered_events, story_events
from pipeline.client.sending import submit
from pipeline.presence import LATE_ANSWERS, roll_call
from stages.errors import BadRequest, NotFinished
from stages.messages import (
    SESSION_ID,
    STORY_ID,
    Action,
    Alert,
    Level,
    Rejection,
    Report,
    SendRequest,
    StoryStatus,
    WorkerInfo,
)
from transports.bus import CALL_TIMEOUT, Bus, OnEvent, Stored, open_bus
from transports.errors import NoResponders
from transports.parking import all_parked, unpark


class Client:
    """Sends stories, follows and controls them; `open_client` makes one.

    Its methods may be called by many tasks at once. All raise `Unreachable` where NATS does not answer, and
    `BadRequest` for names that no session or story can have.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def send(
        self, request: SendRequest, *, recipients: Iterable[str] | None = None, level: Level = "normal"
    ) -> Stored:
        """Publish `request`; once this returns it is stored, and will be sent come what may.

        `recipients` replace those of the request. Any iterable will do, also a generator that reads a file: it is
        read once, piece by piece. Lists beyond 512 KiB go into the object store, and the request refers to them
        there; recipients with a priority of their own can only be in the request.

        Sending the same story again is harmless: it is posted once. Raises `BadRequest` if the request is wrong,
        `PublishRefused` if too many wait already; then nothing is stored. After `Unreachable` it may be: send it again.
        """
        return await submit(self._bus, request, recipients, level=level)

    @asynccontextmanager
    async def send_and_follow(
        self, request: SendRequest, *, recipients: Iterable[str] | None = None, level: Level = "normal"
    ) -> AsyncIterator[Events]:
        """Send as `send` does, and hear what becomes of it until the `Report`, or the `Rejection`, of this request.

        async with client.send_and_follow(request) as events:
            async for event in events: ...
        """
        names = _checked(request.session_id, request.story_id)
        reply_to = self._bus.client.new_inbox()
        async with answered_events(self._bus, *names, reply_to) as events:
            await submit(self._bus, request, recipients, level=level, reply_to=reply_to)
            yield events

    def events(self, session: str, story: str) -> AbstractAsyncContextManager[Events]:
        """The events of a story from now on, until its `Report` or a `Rejection`; the report alone if it is there.

        async with client.events("main", "sale-1") as events:
            async for event in events: ...

        What is published after the block is entered is heard, and nothing is left behind when it is left. Alerts
        about the story's session are among the events. Read steadily: NATS drops what waits too long.
        """
        return story_events(self._bus, *_checked(session, story))

    def watch(self, session: str | None = None) -> AbstractAsyncContextManager[Events]:
        """All events of all stories, or of those of one session; they never end by themselves."""
        if session is not None:
            _check_session(session)
        return all_events(self._bus, session)

    async def report(self, session: str, story: str, *, timeout: float) -> Report:
        """The report of a story that was sent, waiting for it `timeout` seconds at most.

        Raises `NotFinished` if there is none by then, `BadRequest` if meanwhile a worker refuses the story. Of one
        that was refused before, and of a dry run, only `send_and_follow` tells.
        """
        with anyio.move_on_after(timeout):
            async with self.events(session, story) as events:
                async for event in events:
                    if isinstance(event, Report):
                        return event
                    if isinstance(event, Rejection):
                        raise refusal(event)
        raise NotFinished(f"story {story} of session {session} has no report after {timeout:g} s")

    async def control(
        self, session: str, story: str | None, action: Action, *, timeout: float = CALL_TIMEOUT
    ) -> StoryStatus:
        """Carry out `action`. Without a story it is for the session: `resume` serves one again that was stopped."""
        if story is None:
            _check_session(session)
        else:
            _checked(session, story)
        return await control(self._bus, session, story, action, timeout=timeout)

    async def stopped(self) -> Sequence[Alert]:
        """The sessions that nobody serves until a person has acted, each with its alert."""
        return await all_parked(self._bus)

    async def serve_again(self, session: str) -> StoryStatus | None:
        """Have a session served again that was stopped; None: no worker is there, and the next one will.

        Raises `ControlRefused` if the worker will not.
        """
        try:
            return await self.control(session, None, "resume")
        except NoResponders:
            await unpark(self._bus, session)
            return None

    async def workers(self, *, seconds: float = LATE_ANSWERS) -> Sequence[WorkerInfo]:
        """The workers that answer within `seconds`, and what each of them serves."""
        return await roll_call(self._bus, seconds=seconds)

    async def status(self, session: str, story: str, *, timeout: float = CALL_TIMEOUT) -> StoryStatus:
        """Where a story stands. Raises `ControlRefused` if the worker will not, as the other three do."""
        return await control(self._bus, *_checked(session, story), "status", timeout=timeout)

    async def pause(self, session: str, story: str, *, timeout: float = CALL_TIMEOUT) -> StoryStatus:
        """Let the batch under way end, and begin no other one."""
        return await control(self._bus, *_checked(session, story), "pause", timeout=timeout)

    async def resume(self, session: str, story: str, *, timeout: float = CALL_TIMEOUT) -> StoryStatus:
        """Go on with a story that is paused."""
        return await control(self._bus, *_checked(session, story), "resume", timeout=timeout)

    async def cancel(self, session: str, story: str, *, timeout: float = CALL_TIMEOUT) -> StoryStatus:
        """End a story where it stands; whoever was not sent to yet will not be."""
        return await control(self._bus, *_checked(session, story), "cancel", timeout=timeout)


@asynccontextmanager
async def open_client(
    url: str, *, name: str = "storycast client", on_event: OnEvent | None = None
) -> AsyncIterator[Client]:
    """Connect to the NATS server at `url` for as long as the block lasts, on Trio or on asyncio.

    `on_event` hears in words when the connection is lost and found. Raises `Unreachable` if no server answers within
    5 s, and ends the block with it when the connection is lost for good.
    """
    with _alone():
        async with open_bus(url, name=name, on_event=on_event) as bus:
            yield Client(bus)


def refusal(rejection: Rejection) -> BadRequest:
    """The error for a request that a worker refused."""
    return BadRequest(rejection.code, field=rejection.field, found=rejection.found, allowed=rejection.allowed)


@contextmanager
def _alone() -> Iterator[None]:
    """Take an error that left the bus by itself out of the group that the bus made around it."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        [error] = group.exceptions
        context = error.__context__
        try:
            raise error
        finally:
            error.__context__ = context  # Python would put the group there, which only wraps it


def _checked(session: str, story: str) -> tuple[str, str]:
    """Both names, which are going to be part of subjects."""
    _check_session(session)
    if not STORY_ID.fullmatch(story):
        raise BadRequest(
            "out-of-range", field="storyId", found=story, allowed="1-128 letters, digits, `_` or `-`"
        )
    return session, story


def _check_session(session: str) -> None:
    if not SESSION_ID.fullmatch(session):
        raise BadRequest(
            "out-of-range", field="sessionId", found=session, allowed="1-64 letters, digits, `_` or `-`"
        )
