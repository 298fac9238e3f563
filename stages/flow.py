"""What travels between the actors: each stage turns one of these into the next.

    Delivery -> ingest -> Story -> planner -> Batch -> anchor, resend -> BatchResult
             -> controller -> Feedback (back to the planner, which makes it durable)
             -> BatchSettled -> reporter -> Outgoing (to whoever publishes)

All are immutable and shared by reference; a list of a million recipients is never copied whole.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from typing import Literal

from msgspec import Struct, field

from stages.cadence import NO_LIMIT, Pace
from stages.checkpoint import BatchRecord, Checkpoint, Counts
from stages.history import History
from stages.messages import (
    Alert,
    BatchOutcome,
    Content,
    Level,
    ProgressEvent,
    Rejection,
    Report,
    Scaling,
    SessionLearning,
)
from stages.options import SmartSend
from stages.policy import TRIES

Role = Literal["anchor", "batch", "plain"]


class Delivery(Struct, frozen=True, kw_only=True):
    """One request as it came, not yet looked into.

    `key` names it to whoever delivered it, and comes back in the item that settles it. `attempt` counts how often it
    was delivered, from 1: above that an earlier delivery may have got anywhere.
    """

    key: Hashable
    session: str
    data: bytes
    level: Level = "normal"
    content_type: str = "application/json"
    reply_to: str | None = None
    attempt: int = 1


class Skipped(Struct, frozen=True):
    """A recipient that is not sent to: as it was written, and why."""

    recipient: str
    reason: str


class Story(Struct, frozen=True, kw_only=True, eq=False):
    """A request that was checked: unique canonical recipients, merged options, and where it stood when it was left."""

    delivery: Delivery
    story_id: str
    session_id: str
    content: Content
    recipients: Sequence[str]
    options: SmartSend
    priorities: Mapping[str, int] = field(default_factory=dict)
    skipped: Sequence[Skipped] = ()
    priority: int = 5
    dry_run: bool = False
    checkpoint: Checkpoint | None = None
    unable: str | None = None
    """Why it cannot go on, though some may have it already: the present engine cannot do what it needs."""

    @property
    def total(self) -> int:
        """How many recipients the request named, the skipped included."""
        return len(self.recipients) + len(self.skipped)


class Standing(Struct, frozen=True, kw_only=True):
    """Where a story stands: recipients by what became of them, batches after the anchor, and its message id."""

    sent: int = 0
    failed: int = 0
    unknown: int = 0
    index: int = 0
    message_id: str | None = None


class StoryOpened(Struct, frozen=True, kw_only=True):
    """The planner took a story up, at its beginning or where it was left; `reason`: why it could not go on there.

    `anchoring`: it goes to one contact first.
    """

    story: Story
    standing: Standing = Standing()
    anchoring: bool = False
    reason: str | None = None


class Batch(Struct, frozen=True, kw_only=True):
    """The recipients of one resend, or with role `anchor` the candidates to be tried one by one.

    `places` are theirs in the sending order. `planned` is the size the policy asked for, before what remains
    and the caps cut it. `forecast` is how many batches after the anchor the planner expects, this one included.
    `attempt` counts from 1. `waiting` recipients are still to be sent to after this batch. A call of it may fail
    `tries` times although the engine is ready, before what is left of it comes back. `pace` is what the session is
    known to be limited to.
    """

    story: Story
    role: Role
    index: int
    recipients: Sequence[str]
    places: Sequence[int]
    planned: int
    forecast: int
    attempt: int = 1
    message_id: str | None = None
    waiting: int = 0
    tries: int = TRIES
    pace: Pace = NO_LIMIT


class BatchResult(Struct, frozen=True, kw_only=True):
    """How a batch went. Its recipients are each in one of sent, failed, unsent and unsure, or untried.

    `unsent` (certainly not sent) and `unsure` (a call timed out) want another attempt. In seconds, `duration` is the
    time of the last engine call, a fair sample of the size if `whole`, that is if one call took the batch; `elapsed` is
    the time from the first call's start to the last one's end, waits included. In the mean `beside` other calls were
    under way during the last one; `pace` is what is known by now of the far side's limits.
    """

    batch: Batch
    outcome: BatchOutcome
    sent: Sequence[str] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    unsent: Sequence[str] = ()
    unsure: Sequence[str] = ()
    untried: int = 0
    """The last so many of an anchor's candidates were not tried."""
    duration: float = 0.0
    elapsed: float = 0.0
    whole: bool = True
    beside: float = 0.0
    gap: float = 0.0
    pace: Pace = NO_LIMIT
    ceiling: int = 0
    message_ids: Sequence[str] = ()
    """Those that its calls went out under, each once."""
    failure: str | None = None
    """The kind of the failure that ended it."""
    reason: str | None = None
    """The failure in words."""


class BatchSettled(Struct, frozen=True, kw_only=True):
    """A batch counts: its result is part of the standing that is stored. `scaling` is what follows from it."""

    result: BatchResult
    standing: Standing
    scaling: Scaling | None = None


class Held(Struct, frozen=True, kw_only=True):
    """A batch waits before its next call, for `seconds`, because of `reason`."""

    batch: Batch
    seconds: float
    reason: str


class Feedback(Struct, frozen=True, kw_only=True):
    """The controller's answer to one batch result: what to do next, and what the session knows.

    `planned` is the size the policy wants, `size` what the caps leave of it. At most `width` batches are to be out at
    once (None: as many as the story allows), each of which comes back after `tries` failures. `pace` is what the
    session is known to be limited to. `history` is what it goes by now, `scaling` the decision, if there was something
    to decide.
    """

    result: BatchResult
    size: int
    planned: int
    learning: SessionLearning
    width: int | None = None
    tries: int = TRIES
    pace: Pace = NO_LIMIT
    history: History | None = None
    scaling: Scaling | None = None


class StoryClosed(Struct, frozen=True, kw_only=True):
    """A story is over: where every recipient ended, and why it ended if it did not run to its end.

    `batches` names the first ones, `counts` counts all.
    """

    story: Story
    began: datetime
    sent: int
    failed: Mapping[str, str]
    unknown: Sequence[str]
    skipped: Sequence[Skipped]
    message_id: str | None = None
    message_ids: Sequence[str] = ()
    learning: SessionLearning | None = None
    reason: str | None = None
    batches: Sequence[BatchRecord] = ()
    counts: Counts = Counts()


class StoryParked(Struct, frozen=True, kw_only=True):
    """A story is left where it stands, to go on from there another time.

    Because the session was stopped, with the failure's kind; or it is `paused`, or `handed-over` to another worker.
    """

    story: Story
    kind: str
    reason: str


PAUSED = "paused"
HANDED_OVER = "handed-over"
CANCELLED = "cancelled"
POISON = "poison"

Onward = StoryOpened | Batch | BatchResult | BatchSettled | Held | StoryClosed | StoryParked
"""What flows from the planner to the reporter; a stage passes on what is not its own work."""


class Refused(Struct, frozen=True, kw_only=True):
    """A delivery that is settled by a rejection."""

    delivery: Delivery
    rejection: Rejection


class Postponed(Struct, frozen=True, kw_only=True):
    """A delivery that is not due before `until`, and should be delivered again then."""

    delivery: Delivery
    until: datetime


class Repeated(Struct, frozen=True, kw_only=True):
    """A delivery whose story is known already: it gets the answer of the first one."""

    delivery: Delivery
    story_id: str


class Paused(Struct, frozen=True, kw_only=True):
    """A delivery whose story is paused: to be kept, and delivered again when it is resumed."""

    delivery: Delivery
    story_id: str


class Reported(Struct, frozen=True, kw_only=True):
    """A story's report. Its delivery is settled once the report is stored.

    `closed` has the lists of recipients whole. With a `rejection` the request is a dead letter too: it was taken up
    again and again and got nowhere.
    """

    delivery: Delivery
    report: Report
    closed: StoryClosed | None = None
    rejection: Rejection | None = None


class SessionLeft(Struct, frozen=True, kw_only=True):
    """The stories of a session are under way here no longer: what was not reported goes on elsewhere, or later."""

    session_id: str


Outgoing = Refused | Postponed | Repeated | Paused | Reported | SessionLeft | ProgressEvent | Scaling | Alert
"""What leaves a lane, for whoever publishes and settles."""
