"""The one exception tree of storycast.

Everything storycast raises on purpose is a `StorycastError`. What an engine can answer is a closed
set of typed failures (`EngineFailure`): an engine maps its library's errors to these once, at its
edge, and nothing above it parses text. What the pipeline does about each is in `stages.delivery`.
"""

from __future__ import annotations

from collections.abc import Mapping


class StorycastError(Exception):
    """The root of every error that storycast raises on purpose."""


class EngineFailure(StorycastError):
    """An engine call that did not end in a receipt.

    `kind` is the machine-readable name that events and reports carry. The message is for people
    and holds neither content nor whole phone numbers.
    """

    kind: str = "engine-failure"


class RateLimited(EngineFailure):
    """The far side counts calls and refused this one: 429, `rate-overlimit`.

    `retry_after` is the server's own wait in seconds, or None where it named none.
    """

    kind = "rate-limited"

    def __init__(
        self, message: str = "the call was refused: too many calls", *, retry_after: float | None = None
    ):
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(EngineFailure):
    """The engine cannot send now, and certainly sent nothing: not connected, starting, 500, 503."""

    kind = "unavailable"


class OutcomeUnknown(EngineFailure):
    """The call timed out: the batch may or may not have been sent."""

    kind = "outcome-unknown"


class RecipientsRejected(EngineFailure):
    """The call was refused because of some recipients, and nobody got it: 400, 479, 421, 406.

    `rejected` maps each recipient the engine could name to a reason; empty where it named none,
    and then only bisection finds them.
    """

    kind = "recipients-rejected"

    def __init__(
        self, message: str = "some recipients were rejected", *, rejected: Mapping[str, str] | None = None
    ):
        super().__init__(message)
        self.rejected = dict(rejected or {})


class TooLarge(EngineFailure):
    """The batch does not fit in one frame (16 MiB, about 49,000 recipients); nobody got it."""

    kind = "too-large"


class AccountRestricted(EngineFailure):
    """WhatsApp restricted the account: 463, 475, temporary ban. Never retried by itself."""

    kind = "account-restricted"


class SessionLost(EngineFailure):
    """The session is not linked any more: logged out, replaced, no device. A person must link it."""

    kind = "session-lost"


class ContentRefused(EngineFailure):
    """The story itself was refused, whoever it goes to: other 4xx, upload errors."""

    kind = "content-refused"


class BadRequest(StorycastError):
    """A send request that is refused: which field, what was found, what is allowed.

    `code` is machine-readable and stable (see docs/wire.md); `field` is a path like
    `content.mimetype`, empty where the whole request is meant.
    """

    def __init__(self, code: str, *, field: str = "", found: str = "", allowed: str = ""):
        where = f"{field}: " if field else ""
        super().__init__(f"{where}{code}: found {found or 'nothing'}, allowed: {allowed}")
        self.code = code
        self.field = field
        self.found = found
        self.allowed = allowed


class StoreFailed(StorycastError):
    """A port behind a stage (history, finished reports) could not answer now."""


class Superseded(StorycastError):
    """Another worker has taken the story over: what this one still wants to say of it does not count."""


class ControlRefused(StorycastError):
    """The worker did not do what it was asked to do with a story. `code` is machine-readable."""

    def __init__(self, message: str, *, code: str):
        super().__init__(message)
        self.code = code


class NotFinished(StorycastError):
    """A story had no report within the time that it was waited for. It goes on all the same."""
