"""Who exists: accounts with their linked devices, contacts with theirs; and what happened to them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from tests.whatsapp.faults import Faults
from tests.whatsapp.ledger import Ledger
from tests.whatsapp.media import KINDS
from tests.whatsapp.nodes import user
from tests.whatsapp.pairing import Account
from tests.whatsapp.people import Device


@dataclass(frozen=True)
class Call:
    """One post that reached somebody, however many frames it took."""

    message_id: str
    recipients: tuple[str, ...]
    """Contacts, sorted; the account itself left out."""
    content: str
    """Equal for equal content."""


@dataclass(frozen=True)
class Privacy:
    """Whom the phone shares its status with."""

    kind: Literal["contacts", "blacklist", "whitelist"] = "contacts"
    jids: tuple[str, ...] = ()


class World:
    """Everything the server knows. Every number is somebody's, who has one device unless told otherwise."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.faults = Faults()
        self.ledger = Ledger()
        self.more_devices: dict[str, tuple[int, ...]] = {}
        """Numbers of the linked devices of a contact, beside its phone."""
        self.media_host = ""
        self.privacy = Privacy()
        self._devices: dict[str, Device] = {}

    def account(self, phone: str) -> Account:
        """The account of a number, which is made when it is first asked for."""
        return self.accounts.setdefault(phone, Account(phone))

    def devices_of(self, jid: str) -> tuple[int, ...]:
        """The numbers of all devices of somebody: 0 is the phone."""
        account = self.accounts.get(jid.partition("@")[0])
        return (0, *(account.devices if account else self.more_devices.get(jid, ())))

    def device(self, jid: str) -> Device:
        """One device of somebody."""
        if jid not in self._devices:
            account = self.accounts.get(user(jid).partition("@")[0])
            self._devices[jid] = Device(jid, account.key if account else None)
        return self._devices[jid]

    def read(self, index: int = -1) -> dict[str, Any]:
        """What each recipient's devices read of a post: by default of the last one."""
        index %= len(self.ledger.posts)
        for post in self.ledger.posts[: index + 1]:
            for jid in post.to:
                self.device(jid)
        return self.ledger.read(index, self._devices)

    def calls(self) -> list[Call]:
        """The posts that reached somebody, oldest first. A frame that was repeated is the same call."""
        calls: dict[bytes, Call] = {}
        for index, post in enumerate(self.ledger.posts):
            if post.delivered and post.recipients and post.to_all.content not in calls:
                contents = {digest(message) for message in self.read(index).values()}
                assert len(contents) == 1, "recipients read different things"
                recipients = tuple(sorted(post.recipients))
                calls[post.to_all.content] = Call(post.message_id, recipients, contents.pop())
        return list(calls.values())


def digest(message: Any) -> str:
    """Equal for messages that a person could not tell apart: the same words, or the same file and caption."""
    for field in KINDS:
        if message.HasField(field):
            named = getattr(message, field)
            words = named.caption if field != "audioMessage" else ""
            return hashlib.sha256(named.fileSha256 + words.encode()).hexdigest()
    text = message.conversation or message.extendedTextMessage.text
    return hashlib.sha256(text.encode()).hexdigest()
