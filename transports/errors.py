"""What goes wrong between storycast and the outside, mapped once at the edge of each adapter."""

from __future__ import annotations

from stages.errors import StorycastError


class TransportError(StorycastError):
    """The root of what the adapters raise, engines' typed failures aside."""


class Unreachable(TransportError):
    """No NATS server answers at the address, or the connection to it ended for good."""


class NoResponders(Unreachable):
    """NATS is there, but nobody serves the subject of a request."""


class NotStored(TransportError):
    """JetStream knows nothing by that name."""


class ServerFailed(TransportError):
    """The embedded nats-server did not start, or died while in use."""


class PublishRefused(TransportError):
    """NATS answered with a refusal: too large, or the stream is full. `code` is JetStream's error code, if any."""

    def __init__(self, message: str, *, code: int | None = None):
        super().__init__(message)
        self.code = code


class StreamMismatch(TransportError):
    """A stream, consumer or bucket is there, but not as storycast needs it; the message says how to mend it."""


class CheckpointTooLarge(TransportError):
    """A story's checkpoint that the server will never take: trying again does not help, a larger max_payload does."""


class ProfileError(TransportError):
    """A profile of the simulated engine that cannot be read: which file, which field, what is allowed."""
