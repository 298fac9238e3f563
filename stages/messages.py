"""The messages on the wire: what is published onto storycast, and what it publishes.

JSON by default, MessagePack where `Content-Type: application/msgpack` says so; names are camelCase
outside and snake_case here. `storycast schema` prints JSON Schema and AsyncAPI made from this module.
Unknown fields are refused, so that a misspelt option never goes unnoticed.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from stages.options import BatchSize, Milliseconds, Strategy

SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
STORY_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
# `(?!\n)`, because `$` alone also matches before a trailing line break, and these become subject tokens.
SessionId = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}(?!\n)$", description="1-64 letters, digits, `_` or `-`")
]
StoryId = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_-]{1,128}(?!\n)$", description="1-128 letters, digits, `_` or `-`")
]
ListName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_./-]{0,254}(?!\n)$",
        description="An object in the object store `storycast_recipients`: 1-255 letters, digits, `_`, `-`, `.` or `/`",
    ),
]
Priority = Annotated[int, Meta(ge=0, le=9, description="0 (last) to 9 (first)")]
Timestamp = Annotated[datetime, Meta(tz=True)]
Level = Literal["high", "normal", "bulk"]
State = Literal["anchoring", "sending", "waiting", "paused", "parked", "completed", "cancelled", "failed"]
BatchOutcome = Literal["sent", "failed", "timed-out", "refused", "parked", "halted"]


class Wire(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What every message on the wire has in common: immutable, camelCase, no unknown fields."""


class Text(Wire, frozen=True, kw_only=True, tag="text", tag_field="type"):
    """A text story."""

    text: Annotated[str, Meta(min_length=1, max_length=65_536)]
    background_color: Annotated[str, Meta(pattern=r"^#[0-9a-fA-F]{6}(?!\n)$")] = "#38b42f"
    font: Annotated[int, Meta(ge=0, le=10)] = 0


Url = Annotated[str, Meta(pattern=r"^https?://[^\s]+(?!\n)$", max_length=4_096)]


class Media(Wire, frozen=True, kw_only=True):
    """Media by `url`, or inline as base64 in `data`: exactly one of the two."""

    mimetype: Annotated[str, Meta(pattern=r"^[\w.+-]+/[\w.+-]+( *;.*)?(?!\n)$", max_length=255)]
    url: Url | None = None
    data: bytes | None = None


class Image(Media, frozen=True, kw_only=True, tag="image", tag_field="type"):
    """A picture."""

    caption: str | None = None


class Video(Media, frozen=True, kw_only=True, tag="video", tag_field="type"):
    """A video."""

    caption: str | None = None


class Voice(Media, frozen=True, kw_only=True, tag="voice", tag_field="type"):
    """A voice note."""


Content = Text | Image | Video | Voice


class Recipient(Wire, frozen=True, kw_only=True):
    """One recipient with a priority: more active contacts first, and the first is the anchor."""

    jid: str
    priority: Priority = 5


class SmartSendConfig(Wire, frozen=True, kw_only=True):
    """What a request may choose of the sending options; what it leaves out comes from the settings.

    `batchSize` is the size of every batch with `fixed`, and the largest allowed with the others.
    """

    batch_size: BatchSize | None = None
    delay_ms: Milliseconds | None = None
    strategy: Strategy | None = None
    regional: bool | None = None


class SendRequest(Wire, frozen=True, kw_only=True, omit_defaults=True):
    """Post one story. `storyId` is the idempotency key: however often it is published, one post.

    To whom is in exactly one of `recipients`, `recipientsRef` (a list too long for a message) and `audience`: with
    "contacts" it goes to whom the account posts to by itself.
    """

    story_id: StoryId
    session_id: SessionId
    content: Content
    recipients: Annotated[list[str | Recipient], Meta(min_length=1)] = field(default_factory=list)
    recipients_ref: ListName | None = None
    audience: Literal["contacts"] | None = None
    priority: Priority = 5
    can_be_reshared: bool = True
    use_smart_send: bool | None = None
    smart_send_config: SmartSendConfig | None = None
    not_before: Timestamp | None = None
    dry_run: bool = False


class Progress(Wire, frozen=True, kw_only=True):
    """How far a story is: batches after the anchor, and recipients with a final result."""

    current: int
    total: Annotated[int, Meta(description="The planner's present forecast.")]
    percentage: Annotated[int, Meta(ge=0, le=100, description="Recipients done over recipients in total.")]
    recipients_sent: int
    recipients_total: int


class BatchEvent(Wire, frozen=True, kw_only=True):
    """One finished batch; index 0 is the anchor."""

    index: int
    size: int
    duration_ms: int
    attempt: int
    outcome: BatchOutcome


class ProgressEvent(Wire, frozen=True, kw_only=True, tag="story-send-progress", tag_field="event"):
    """One per finished batch and per change of state, on `storycast.progress.<session>.<story>`."""

    session_id: str
    story_id: str
    state: State
    at: Timestamp
    progress: Progress
    message_id: str | None = None
    batch: BatchEvent | None = None
    eta_ms: int | None = None
    reason: Annotated[str | None, Meta(description="Why a story waits, is parked, or failed.")] = None


class BatchCounts(Wire, frozen=True, kw_only=True):
    """The batches of a story, its anchor included."""

    total: int
    successful: int
    failed: int
    retried: int


class SessionLearning(Wire, frozen=True, kw_only=True):
    """What the session knows after this story."""

    max_proven_batch_size: int
    used_historical_data: bool
    will_skip_ramping_next_time: bool


class Report(Wire, frozen=True, kw_only=True):
    """The one result of a story, on `storycast.report.<session>.<story>`.

    `totalRecipients` is always `sentSuccessfully + failed + skipped + unknown`. The lists of names
    hold the first 5,000 each; the counts are always whole. Of a longer list, the whole is an object in the object
    store `storycast_recipients`, which the `Ref` beside it names.
    """

    success: bool
    story_id: str
    session_id: str
    message_id: str | None
    state: State
    total_recipients: int
    sent_successfully: int
    failed: int
    skipped: int
    unknown: int
    batches: BatchCounts
    batch_sequence: Annotated[list[int], Meta(description="Sizes of the batches after the anchor, in order.")]
    total_duration: Annotated[int, Meta(description="Milliseconds from the first call to the end.")]
    failed_recipients: list[str]
    failure_reasons: Annotated[dict[str, str], Meta(description="Failed recipient to reason.")]
    failures: Annotated[dict[str, int], Meta(description="Reason to number of failed recipients.")]
    skips: Annotated[dict[str, int], Meta(description="duplicate, invalid, suppressed, dry-run: how many.")]
    skipped_recipients: Annotated[list[str], Meta(description="As they were written in the request.")]
    unknown_recipients: list[str]
    session_learning: SessionLearning
    message_ids: Annotated[
        list[str], Meta(description="More than one where the engine cannot reuse an id: the first 1,000.")
    ] = []
    failed_ref: Annotated[
        str | None, Meta(description="All who failed: recipient, tab, reason on each line.")
    ] = None
    skipped_ref: Annotated[
        str | None, Meta(description="All who were skipped: recipient, tab, reason on each line.")
    ] = None
    unknown_ref: Annotated[
        str | None, Meta(description="All who are unknown: one on each line, fit for a `recipientsRef`.")
    ] = None
    dry_run: bool = False
    reason: Annotated[str | None, Meta(description="Why the story failed as a whole.")] = None


class Rejection(Wire, frozen=True, kw_only=True):
    """Why a request was refused.

    On `storycast.rejected.<session>` it is the header `Storycast-Rejection`, and the payload is the request as it
    came, byte for byte.
    """

    code: str
    field: Annotated[str, Meta(description="A path like `content.mimetype`; empty: the whole request.")]
    found: str
    allowed: str
    message: str
    session_id: str
    at: Timestamp
    story_id: str | None = None


class Scaling(Wire, frozen=True, kw_only=True):
    """A decision of the controller, on `storycast.scaling.<session>`: the size of the next batch, and why."""

    session_id: str
    story_id: str
    size: int
    gap_ms: int
    reason: str
    at: Timestamp


class Alert(Wire, frozen=True, kw_only=True):
    """A session stopped and needs a person, on `storycast.alerts.<session>`."""

    session_id: str
    kind: Annotated[
        str, Meta(description="account-restricted, session-lost, unavailable, rate-limited, lane-failed, ...")
    ]
    reason: str
    at: Timestamp
    story_id: str | None = None


Action = Literal["pause", "resume", "cancel", "status"]
Standstill = Literal["waiting", "under way", "pausing", "paused", "cancelling", "finished", "unknown"]


class ControlRequest(Wire, frozen=True, kw_only=True):
    """What is wanted of a story, as a request on `storycast.control.<session>.<story>`.

    `resume` on `storycast.control.<session>` serves a session again that was stopped until a person has acted.
    """

    action: Action


class StoryStatus(Wire, frozen=True, kw_only=True):
    """The answer to a control request: where the story is after it.

    `waiting`: accepted, not begun. `pausing` and `cancelling`: once the call under way has ended. `unknown`: no worker
    has seen it; it may still wait in its stream. `sent`, `failed`, `unknown_recipients` are as last stored.
    """

    session_id: str
    story_id: str | None
    state: Standstill
    worker: Annotated[str | None, Meta(description="The worker that owns the session, if one does.")] = None
    message_id: str | None = None
    total: int = 0
    sent: int = 0
    failed: int = 0
    unknown: int = 0
    reason: str | None = None


class ControlError(Wire, frozen=True, kw_only=True):
    """The answer to a control request that cannot be carried out, and why."""

    code: str
    message: str


class SessionInfo(Wire, frozen=True, kw_only=True):
    """A session as the worker that owns it sees it. `parked`: the kind of the failure that waits for a person."""

    session_id: str
    story_id: Annotated[str | None, Meta(description="The story under way.")] = None
    waiting: Annotated[int, Meta(description="Requests held that have not begun.")] = 0
    paused: Annotated[list[str], Meta(description="Its paused stories.")] = []
    parked: str | None = None


class WorkerInfo(Wire, frozen=True, kw_only=True):
    """A worker, and the sessions it owns: its answer to a request on `storycast.workers.roll-call`."""

    worker: str
    host: str
    pid: int
    since: Timestamp
    sessions: list[SessionInfo]
