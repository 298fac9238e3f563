"""ingest: from deliveries to stories.

Decodes and checks every request, refuses the bad ones with a reason, answers repeated ones, postpones those
that are not due, and puts the rest into the line the planner serves by urgency. A bad request never stops it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from anyio import TASK_STATUS_IGNORED
from anyio.abc import ObjectReceiveStream, ObjectSendStream, TaskStatus
from msgspec import Struct

from stages.engine import Capabilities
from stages.errors import BadRequest, StoreFailed
from stages.flow import Delivery, Outgoing, Postponed, Refused, Repeated, Story
from stages.history import Now
from stages.messages import Rejection, SendRequest
from stages.options import SmartSend
from stages.recipients import sort_out
from stages.requests import check_content, check_session, decode, story_id_in, to_story

REMEMBERED = 100_000
REMEMBERED_FOR = timedelta(hours=24)
STORE_RETRY = timedelta(seconds=5)


class ReportStore(Protocol):
    """The reports of finished stories. Raises `StoreFailed` if it cannot answer now."""

    async def find(self, session_id: str, story_id: str) -> bytes | None:
        """The report of that story as it was published, or None if it has not finished."""
        ...


class MemoryReports:
    """No finished stories but those put in: for embedding single stages, and for tests."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}

    async def find(self, session_id: str, story_id: str) -> bytes | None:
        """The report, or None."""
        return self.kept.get((session_id, story_id))


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
        reports: ReportStore,
        now: Now,
        suppressed: Container[str] = frozenset(),
    ) -> None:
        self._inbox = inbox
        self._stories = stories
        self._outgoing = outgoing
        self._defaults = defaults
        self._capabilities = capabilities
        self._reports = reports
        self._now = now
        self._suppressed = suppressed
        self._seen: OrderedDict[str, datetime] = OrderedDict()
        self._accepted = self._refused = self._repeated = self._postponed = 0

    async def __call__(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run until the inbox is closed."""
        async with self._inbox, self._stories, self._outgoing:
            task_status.started()
            async for deliveries in self._inbox:
                for delivery in deliveries:
                    await self._take(delivery)

    def statistics(self) -> IngestStatistics:
        """Counts since the start."""
        return IngestStatistics(self._accepted, self._refused, self._repeated, self._postponed)

    async def _take(self, delivery: Delivery) -> None:
        try:
            settled = await self._judge(delivery)
        except BadRequest as why:
            self._refused += 1
            settled = refusal(delivery, why, now=self._now)
        except StoreFailed:
            self._postponed += 1
            settled = Postponed(delivery=delivery, until=self._now() + STORE_RETRY)
        if isinstance(settled, Story):
            if not settled.dry_run:
                self._remember(settled.story_id)
            await self._stories.send(settled)
        else:
            await self._outgoing.send(settled)

    async def _judge(self, delivery: Delivery) -> Story | Refused | Repeated | Postponed:
        request = decode(delivery.data, delivery.content_type)
        check_session(delivery, request)
        if not request.dry_run and await self._is_known(request):
            self._repeated += 1
            return Repeated(delivery=delivery, story_id=request.story_id)
        check_content(request)
        story = to_story(
            delivery, request, sort_out(request.recipients, self._suppressed), defaults=self._defaults
        )
        check_capabilities(request, self._capabilities)
        if request.not_before is not None and request.not_before > self._now():
            self._postponed += 1
            return Postponed(delivery=delivery, until=request.not_before)
        self._accepted += 1
        return story

    async def _is_known(self, request: SendRequest) -> bool:
        seen = self._seen.get(request.story_id)
        if seen is not None and self._now() - seen < REMEMBERED_FOR:
            return True
        return await self._reports.find(request.session_id, request.story_id) is not None

    def _remember(self, story_id: str) -> None:
        self._seen[story_id] = self._now()
        self._seen.move_to_end(story_id)
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)


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


def check_capabilities(request: SendRequest, capabilities: Capabilities) -> None:
    """Raise `BadRequest` if the engine cannot do what `request` asks for."""
    kind = request.content.__struct_config__.tag
    if kind not in capabilities.kinds:
        allowed = ", ".join(sorted(capabilities.kinds))
        raise BadRequest(
            "engine-cannot", field="content.type", found=str(kind), allowed=f"with this engine: {allowed}"
        )
    if not request.can_be_reshared and not capabilities.limits_resharing:
        raise BadRequest(
            "engine-cannot", field="canBeReshared", found="false", allowed="true, with this engine"
        )
    if not capabilities.targets_recipients:
        raise BadRequest(
            "engine-cannot",
            field="recipients",
            found="a list",
            allowed="an engine that targets recipients, such as waha",
        )
