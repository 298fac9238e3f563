"""What goes wrong between storycast and the outside, mapped once at the edge of each adapter."""

from __future__ import annotations

from stages.errors import StorycastError


class TransportError(StorycastError):
    """The root of what the adapters raise, engines' typed failures aside."""


class Unreachable(TransportError):
    """No NATS server answers at the address, or the connection to it ended for good."""


class ServerFailed(TransportError):
    """The embedded nats-server did not start, or died while in use."""


class PublishRefused(TransportError):
    """NATS answered a publish with a refusal: too large, no such stream, or the stream is full."""


class ProfileError(TransportError):
    """A profile of the simulated engine that cannot be read: which file, which field, what is allowed."""
