"""What the recipients of a loopback WAHA have seen, which calls it got, and what was wrong with those."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import Struct


class Seen(Struct, frozen=True, kw_only=True):
    """One call that reached somebody, as WhatsApp would see it; recipients canonical, the account itself left out."""

    message_id: str
    recipients: tuple[str, ...]
    content: str
    """Equal for equal content."""
    kind: str
    own: bool
    """The account itself was among the contacts."""
    stanzas: int
    """Into how many WAHA split it."""


class Ledger:
    """Written by the server, read by tests."""

    def __init__(self) -> None:
        self.calls: list[Seen] = []
        self.problems: list[str] = []
        """What WAHA would not have taken, or not as it was meant."""
        self.repeats = 0
        self._audiences: dict[str, set[str]] = defaultdict(set)

    def note(self, seen: Seen) -> None:
        """A call reached its recipients; phones that had the message already drop it."""
        self.calls.append(seen)
        audience = self._audiences[seen.message_id]
        self.repeats += sum(jid in audience for jid in seen.recipients)
        audience.update(seen.recipients)

    def audience(self, message_id: str) -> frozenset[str]:
        """Who has seen the message."""
        return frozenset(self._audiences.get(message_id, ()))

    def sightings(self) -> Counter[str]:
        """How many different messages each recipient has seen."""
        return Counter(jid for audience in self._audiences.values() for jid in audience)

    def versions(self, message_id: str) -> int:
        """How many different contents went out under the id."""
        return len({call.content for call in self.calls if call.message_id == message_id})


def digest(body: Mapping[str, Any]) -> str:
    """Of what is posted, whoever it goes to and whatever its id."""
    content = {name: value for name, value in body.items() if name not in {"id", "contacts"}}
    return sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


def canonical_of(contacts: Sequence[str]) -> tuple[str, ...]:
    """Contacts as storycast writes recipients."""
    return tuple(contact.replace("@c.us", "@s.whatsapp.net") for contact in contacts)
