"""Why a session cannot be hosted here at all."""

from __future__ import annotations

from stages.errors import Unavailable
from transports.neonize.frames import Unusable


class NeonizeMissing(Unavailable):
    """neonize, or something that it needs, is not installed; the message says what to install."""


class InUse(Unavailable):
    """Another process hosts the session."""


def refused_to_host(refused: Unusable) -> Unavailable:
    """The error for what the hosting process said."""
    kind = {"missing": NeonizeMissing, "in-use": InUse}.get(refused.code, Unavailable)
    return kind(refused.reason)
