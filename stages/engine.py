"""The engine port: what storycast asks of whatever talks to WhatsApp for a session.

An adapter has four members and raises the typed failures of `stages.errors`, nothing else. It is opened by a context
manager that finds out what it can do; after that block nothing goes out any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Protocol

from msgspec import Meta, Struct, field

from stages.messages import Content

EngineState = Literal["ready", "starting", "unavailable", "restricted", "lost"]
ContentKind = Literal["text", "image", "video", "voice"]


class Capabilities(Struct, frozen=True, kw_only=True, rename="camel"):
    """What an engine can do, told truthfully: a story that needs more is refused with the reason."""

    reuses_message_id: bool
    """A call may bear the message id of an earlier one, and recipients see one story."""
    targets_recipients: bool
    """A call goes to exactly the recipients it names, and not to whom the account would post to by itself."""
    lists_audience: bool = False
    """It can say whom the account posts to by itself: its own status audience."""
    max_batch: Annotated[int, Meta(ge=1)] | None = None
    """Recipients one call can take, or None where the engine knows no limit."""
    limits_resharing: bool = False
    """It can forbid recipients to reshare a story."""
    acknowledges: bool = True
    """A receipt means that the server has acknowledged the call."""
    kinds: frozenset[ContentKind] = frozenset({"text", "image", "video", "voice"})
    """Kinds of content it can post."""


class Receipt(Struct, frozen=True, kw_only=True):
    """The answer to a call that went through.

    `failed` maps recipients the call left out to a reason, such as `not-on-whatsapp`; all others of
    the call have it.
    """

    message_id: str
    failed: Mapping[str, str] = field(default_factory=dict)


class EngineStatus(Struct, frozen=True, kw_only=True):
    """Whether the engine can send now; `reason` is for people."""

    state: EngineState
    reason: str = ""


class Engine(Protocol):
    """Sends for one session. Calls may run concurrently; each can be cancelled at any instant."""

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do; does not change while it is open."""
        ...

    async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
        """Post `content` to `recipients` (canonical JIDs) under `message_id`; None lets the engine choose.

        An engine that does not target recipients gets all of its audience, and posts to that. Raises `EngineFailure`:
        nobody got it, unless it is `OutcomeUnknown`.
        """
        ...

    async def status(self) -> EngineStatus:
        """Ask whether the engine can send now. Raises `Unavailable` where even that has no answer."""
        ...

    async def audience(self) -> Sequence[str]:
        """Canonical JIDs of those whom the account posts to by itself; asked only of an engine that lists them.

        Raises `EngineFailure`; `ContentRefused` if it never can.
        """
        ...
