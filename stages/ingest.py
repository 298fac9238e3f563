"""ingest: from deliveries to stories.

Decodes and checks every request, refuses the bad ones with a reason, answers repeated ones, postpones those
that are not due, keeps those that are paused, and puts the rest into the line the planner serves by urgency, each with
the checkpoint where it was left. A bad request never stops it; an account that turns out to be lost does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Container, Sequence
from datetime import datetime, timedelta

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import ObjectReceiveStream, ObjectSendStream, TaskStatus
from msgspec import Struct, structs

from stages.ability import check_audience, check_capabilities
from stages.checkpoint import Checkpoint, JobStore, has_begun
from stages.engine import Capabilities
from stages.errors import (
    AccountRestricted,
    BadRequest,
    ContentRefused,
    EngineFailure,
    SessionLost,
    StoreFailed,
    Unavailable,
)
from stages.flow import Delivery, Outgoing, Paused, Postponed, Refused, Repeated, Story
from stages.history import Now
from stages.lists import RecipientLists, gather
from stages.messages import Rejection, SendRequest
from stages.options import SmartSend
from stages.recipients import Roster, sort_out
from stages.requests import check_content, check_session, decode, story_id_in, to_story

REMEMBERED = 100_000
REMEMBERED_FOR = timedelta(hours=24)
STORE_RETRY = timedelta(seconds=5)

AUDIENCE_TIMEOUT = 30.0
"""Seconds in which an engine must have listed its audience."""

Audience = Callable[[], Awaitable[Sequence[str]]]
"""`Engine.audience`."""


class InHand:
    """The stories that this lane has in hand, or had lately: a bounded memory with a time limit."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._since: OrderedDict[str, datetime] = OrderedDict()

    def __contains__(self, story_id: str) -> bool:
        since = self._since.get(story_id)
        return since is not None and self._now() - since < REMEMBERED_FOR

    def add(self, story_id: str) -> None:
        """It is in hand from now on."""
        self._since[story_id] = self._now()
        self._since.move_to_end(story_id)
        while len(self._since) > REMEMBERED:
            self._since.popitem(last=False)

    def forget(self, story_id: str) -> None:
        """It was left, and will come again."""
        self._since.pop(story_id, None)


class IngestStatistics(Struct, frozen=True):
    """What ingest has done with the deliveries it got."""

    accepted: int
    """Became stories."""
    refused: int
    """Were refused as bad requests."""
    repeated: int
    """Named a story that was known already."""
    postponed: int
    """Were not due yet, or could not be checked yet."""
    paused: int
    """Belong to a story that is paused."""


class Ingest:
    """The first actor of a lane. Ends when its inbox is closed, and then closes its outboxes."""

    def __init__(
        self,
        inbox: ObjectReceiveStream[Sequence[Delivery]],
        stories: ObjectSendStream[Story],
        outgoing: ObjectSendStream[Outgoing],
        *,
        defaults: SmartSend,
        capabilities: Capabilities,
        jobs: JobStore,
        lists: RecipientLists,
        now: Now,
        audience: Audience | None = None,
        seen: InHand | None = None,
        suppressed: Container[str] = frozenset(),
    ) -> None:
        self._inbox = inbox
        self._stories = stories
        self._outgoing = outgoing
        self._defaults = defaults
        self._capabilities = capabilities
        self._jobs = jobs
        self._lists = lists
        self._audience = audience
        self._now = now
        self._seen = seen or InHand(now)
        self._suppressed = suppressed
        self._accepted = self._refused = self._repeated = self._postponed = self._paused = 0

    async def __call__(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until the inbox is closed. Raises `SessionLost` or `AccountRestricted` if the engine does."""
        async with self._inbox, self._stories, self._outgoing:
            task_status.started()
            async for deliveries in self._inbox:
                for delivery in deliveries:
                    await self._take(delivery)

    def statistics(self) -> IngestStatistics:
        """Counts since the start."""
        return IngestStatistics(self._accepted, self._refused, self._repeated, self._postponed, self._paused)

    async def _take(self, delivery: Delivery) -> None:
        try:
            settled = await self._judge(delivery)
        except BadRequest as why:
            self._refused += 1
            settled = refusal(delivery, why, now=self._now)
        except (SessionLost, AccountRestricted):
            raise
        except (StoreFailed, EngineFailure):
            self._postponed += 1
            settled = Postponed(delivery=delivery, until=self._now() + STORE_RETRY)
        except Exception as problem:  # whatever fault of ours it brings out, it must not stop the others
            self._refused += 1
            fault = BadRequest("not-processable", found=repr(problem), allowed="one that brings out no fault")
            settled = refusal(delivery, fault, now=self._now)
        if isinstance(settled, Story):
            self._accepted += 1
            if not settled.dry_run:
                self._seen.add(settled.story_id)
            await self._stories.send(settled)
        else:
            await self._outgoing.send(settled)

    async def _judge(self, delivery: Delivery) -> Story | Refused | Repeated | Postponed | Paused:
        request = decode(delivery.data, delivery.content_type)
        check_session(delivery, request)
        checkpoint = None
        if not request.dry_run:
            if request.story_id in self._seen:
                return self._known(delivery, request)
            checkpoint = await self._jobs.load(request.session_id, request.story_id)
            if checkpoint is not None and checkpoint.state == "finished":
                return self._known(delivery, request)
        check_content(request)
        unable = self._unable(request, checkpoint)
        if unable is not None and request.audience is not None:
            # Whom it went to is only known to an engine that lists them: it waits for one.
            self._postponed += 1
            return Postponed(delivery=delivery, until=self._now() + STORE_RETRY)
        # Recipients in the request are looked at now, lest a bad one waits; those elsewhere when its turn has come.
        story = await self._story(delivery, request) if request.recipients and unable is None else None
        if later := self._for_later(delivery, request, checkpoint):
            return later
        story = story or await self._story(delivery, request)
        return structs.replace(story, checkpoint=checkpoint, unable=unable)

    def _unable(self, request: SendRequest, checkpoint: Checkpoint | None) -> str | None:
        """Why the engine cannot go on with a story that some have; one that has not begun is refused for that."""
        try:
            check_capabilities(request, self._capabilities)
        except BadRequest as why:
            if checkpoint is None or not has_begun(checkpoint):
                raise
            return why.code
        return None

    async def _story(self, delivery: Delivery, request: SendRequest) -> Story:
        roster = await self._roster(request)
        return to_story(delivery, request, roster, defaults=self._defaults)

    async def _roster(self, request: SendRequest) -> Roster:
        if request.recipients_ref is not None:
            return await gather(self._lists, request.recipients_ref, self._suppressed)
        if request.audience is None:
            return sort_out(request.recipients, self._suppressed)
        roster = sort_out(await self._listed(), self._suppressed)
        if not self._capabilities.targets_recipients:
            check_audience(roster)
        return roster

    async def _listed(self) -> Sequence[str]:
        """The account's own audience. Raises `BadRequest` if there will never be one."""
        if self._audience is None:
            return []
        try:
            with anyio.fail_after(AUDIENCE_TIMEOUT):
                return await self._audience()
        except TimeoutError:
            raise Unavailable(f"the engine did not list its audience within {AUDIENCE_TIMEOUT:g} s") from None
        except ContentRefused as why:
            allowed = "an engine that can list its audience"
            raise BadRequest("engine-cannot", field="audience", found=str(why), allowed=allowed) from why

    def _for_later(
        self, delivery: Delivery, request: SendRequest, checkpoint: Checkpoint | None
    ) -> Paused | Postponed | None:
        """What keeps a story from being taken up now, if anything does."""
        state = "open" if checkpoint is None else checkpoint.state
        if state == "paused":
            self._paused += 1
            return Paused(delivery=delivery, story_id=request.story_id)
        if state != "cancelled" and request.not_before is not None and request.not_before > self._now():
            self._postponed += 1
            return Postponed(delivery=delivery, until=request.not_before)
        return None

    def _known(self, delivery: Delivery, request: SendRequest) -> Repeated:
        self._repeated += 1
        return Repeated(delivery=delivery, story_id=request.story_id)


def refusal(delivery: Delivery, why: BadRequest, *, now: Now) -> Refused:
    """The item that settles `delivery` as refused because of `why`."""
    rejection = Rejection(
        code=why.code,
        field=why.field,
        found=why.found,
        allowed=why.allowed,
        message=str(why),
        session_id=delivery.session,
        story_id=story_id_in(delivery.data),
        at=now(),
    )
    return Refused(delivery=delivery, rejection=rejection)
