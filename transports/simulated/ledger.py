"""What the recipients of a simulated engine have seen, and which calls it got.

A phone shows a message once, however often it comes: it knows it by its sender and its message id. So
who counts in `audience` has seen the story, and `repeats` counts what phones dropped.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from hashlib import sha256

import msgspec
from msgspec import Struct

from stages.messages import Content


class Call(Struct, frozen=True, kw_only=True):
    """One call as the engine saw it; times are seconds since it was opened."""

    began: float
    ended: float
    recipients: int
    message_id: str
    outcome: str
    """`sent`, or the kind of the failure."""


class Delivered(Struct, frozen=True, kw_only=True):
    """One call that reached somebody; `content` is a digest."""

    message_id: str
    recipients: tuple[str, ...]
    content: str


class Ledger:
    """Written by the engine, read by tests and by people."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.deliveries: list[Delivered] = []
        self.repeats = 0
        self._audiences: dict[str, set[str]] = defaultdict(set)
        self._contents: dict[str, set[str]] = defaultdict(set)

    def note_call(self, call: Call) -> None:
        """A call has ended."""
        self.calls.append(call)

    def note_delivery(self, message_id: str, content: Content, recipients: Iterable[str]) -> None:
        """`recipients` got the message; phones that had it already drop it."""
        recipients = tuple(recipients)
        digest = sha256(msgspec.json.encode(content)).hexdigest()
        self.deliveries.append(Delivered(message_id=message_id, recipients=recipients, content=digest))
        audience = self._audiences[message_id]
        for recipient in recipients:
            self.repeats += recipient in audience
            audience.add(recipient)
        self._contents[message_id].add(digest)

    def audience(self, message_id: str) -> frozenset[str]:
        """Who has seen the message."""
        return frozenset(self._audiences.get(message_id, ()))

    def sightings(self) -> Counter[str]:
        """How many different messages each recipient has seen."""
        return Counter(recipient for audience in self._audiences.values() for recipient in audience)

    def versions(self, message_id: str) -> int:
        """How many different contents went out under the id: more than 1 is a fault of the sender."""
        return len(self._contents.get(message_id, ()))
