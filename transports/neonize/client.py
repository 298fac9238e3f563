"""What the host needs of a WhatsApp client. `library` makes one of the installed neonize; tests bring their own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct

from stages.messages import Content
from transports.neonize.frames import Abilities

PrivacyKind = Literal["contacts", "blacklist", "whitelist"]


class ClientError(Exception):
    """The library refused or failed; the message is its own text."""


class LibraryMissing(Exception):
    """The library, or something that it needs, is not installed; the message says what to install."""


class Contact(Struct, frozen=True):
    """An entry of the contact list of this linked device."""

    jid: str
    full_name: str = ""
    first_name: str = ""


class Privacy(Struct, frozen=True):
    """Whom the account shares its status with, as it is set on the phone."""

    kind: PrivacyKind = "contacts"
    jids: frozenset[str] = frozenset()


class Sent(Struct, frozen=True):
    """A post that was acknowledged; `dropped` are the device JIDs that the library left out without an error."""

    message_id: str
    dropped: Sequence[str] = ()


class Heard(Struct, frozen=True):
    """Something that the library reported: the name of its event, and what it said about it."""

    name: str
    detail: str = ""
    seconds: float | None = None


class Client(Protocol):
    """One session's client. `run` blocks; everything else is called while it does, from other threads.

    All raise `ClientError`.
    """

    @property
    def abilities(self) -> Abilities:
        """What the installed version can do."""
        ...

    @property
    def linked(self) -> bool:
        """Whether it still has an account; only once `run` has reported something."""
        ...

    def run(self, heard: Callable[[Heard], None]) -> None:
        """Connect, and report events from any thread until `stop`."""
        ...

    def stop(self) -> None:
        """End `run`."""
        ...

    def build(self, content: Content, data: bytes | None) -> object:
        """The message for `content`, its media (`data`) uploaded."""
        ...

    def send(self, message: object, recipients: Sequence[str] | None, message_id: str | None) -> Sent:
        """Post what `build` made. `recipients` and `message_id` are None unless `abilities` has them."""
        ...

    def contacts(self) -> Sequence[Contact]:
        """The contact list of this linked device."""
        ...

    def rename(self, contacts: Sequence[Contact]) -> None:
        """Write these names into the contact list of this linked device."""
        ...

    def privacy(self) -> Privacy:
        """Whom the account shares its status with."""
        ...

    def numbers(self, hidden: Collection[str]) -> Mapping[str, str]:
        """The JIDs with a phone number behind hidden ids (`...@lid`), of those that this device knows it of."""
        ...

    def without_devices(self, jids: Collection[str]) -> Collection[str]:
        """Those of `jids` that have no device to send to: they are not on WhatsApp."""
        ...

    def pairing_code(self, phone: str) -> str:
        """Ask for a code that links this device when it is typed in on the phone with that number (digits)."""
        ...


MakeClient = Callable[[Path, Callable[[str], None]], Client]
"""Makes a client on a database file; the callable takes lines for the log. Raises `LibraryMissing`."""
