"""Who exists: accounts with their linked devices, contacts with theirs; and what happened to them."""

from __future__ import annotations

from typing import Any

from tests.whatsapp.faults import Faults
from tests.whatsapp.ledger import Ledger
from tests.whatsapp.nodes import user
from tests.whatsapp.pairing import Account
from tests.whatsapp.people import Device


class World:
    """Everything the server knows. Every number is somebody's, who has one device unless told otherwise."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.faults = Faults()
        self.ledger = Ledger()
        self.more_devices: dict[str, tuple[int, ...]] = {}
        """Numbers of the linked devices of a contact, beside its phone."""
        self.media_host = ""
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
        for jid in self.ledger.posts[index].to:
            self.device(jid)
        return self.ledger.read(index, self._devices)
