"""A client that talks to a `FarSide` instead of to WhatsApp, and is otherwise as surprising as the real one."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import msgspec

from stages.messages import Content
from tests.neonize.far_side import OWN, FarSide, Signal
from transports.neonize.client import Client, ClientError, Contact, Heard, LibraryMissing, Privacy, Sent
from transports.neonize.drops import Drops
from transports.neonize.frames import Abilities
from transports.testing import Call


class FakeClient:
    """See `Client`."""

    def __init__(self, far: FarSide, note: Callable[[str], None]) -> None:
        self._far = far
        self._note = note
        self._drops = Drops()
        self._heard: Callable[[Heard], None] = lambda _: None
        self._stopped = threading.Event()
        self._sent = len(far.state().calls)

    @property
    def abilities(self) -> Abilities:
        return self._far.state().abilities

    @property
    def linked(self) -> bool:
        return self._far.state().account is not None

    def run(self, heard: Callable[[Heard], None]) -> None:
        self._heard = self._forgetting(heard)
        heard = self._heard
        state = self._far.state()
        self._far.set(starts=state.starts + 1)
        for event in state.greeting:
            heard(event)
            if event.name == "Failed":
                raise ClientError(event.detail)
        threading.Thread(target=self._relay, daemon=True).start()
        self._stopped.wait()

    def stop(self) -> None:
        self._stopped.set()

    def build(self, content: Content, data: bytes | None) -> object:
        self._far.set(builds=self._far.state().builds + 1)
        self._come_to("build")
        return sha256(msgspec.json.encode(content) + (data or b"")).hexdigest()

    def send(self, message: object, recipients: Sequence[str] | None, message_id: str | None) -> Sent:
        signal = self._far.signal()
        self._meet(signal)
        self._sent += 1
        name = message_id or f"3EB0FAKE{os.getpid()}X{self._sent}"
        for device in signal.drops:
            self._drops.hear(f"Failed to encrypt {name} for {device}: can't encrypt message for device")
        targets = self._audience() if recipients is None else set(recipients)
        dropped = {device.replace(":0@", "@") for device in signal.drops}
        reached = targets - dropped - set(self._far.state().missing) - {f"{OWN}@s.whatsapp.net"}
        self._far.note(Call(message_id=name, recipients=tuple(sorted(reached)), content=str(message)))
        if signal.does == "abort":
            print("panic: runtime error: invalid memory address", flush=True)
            os.abort()
        return Sent(name, self._drops.take(name))

    def contacts(self) -> Sequence[Contact]:
        return self._far.state().contacts

    def rename(self, contacts: Sequence[Contact]) -> None:
        self._far.name(*contacts)

    def privacy(self) -> Privacy:
        return self._far.state().privacy

    def numbers(self, hidden: Collection[str]) -> Mapping[str, str]:
        known = self._far.state().numbers
        return {jid: known[jid] for jid in hidden if jid in known}

    def without_devices(self, jids: Collection[str]) -> Collection[str]:
        self._come_to("devices")
        return set(jids) & set(self._far.state().missing)

    def pairing_code(self, phone: str) -> str:
        return f"CODE-{phone[-4:]}"

    def _audience(self) -> set[str]:
        privacy = self._far.state().privacy
        if privacy.kind == "whitelist":
            return set(privacy.jids)
        named = {contact.jid for contact in self._far.state().contacts if contact.full_name}
        return named - privacy.jids if privacy.kind == "blacklist" else named

    def _come_to(self, step: str) -> None:
        signal = self._far.state().signal
        if signal and signal.at == step:
            self._meet(self._far.signal())

    def _meet(self, signal: Signal) -> None:
        for event in signal.events:
            self._heard(event)
        if signal.does == "hang":
            threading.Event().wait()
        if signal.does == "late":
            with self._far.releases.open("rb") as releases:
                releases.readline()
        if signal.does == "break":
            raise SyntaxError("Failed to decode frame 0: Truncated data")
        if signal.error:
            raise ClientError(signal.error)

    def _forgetting(self, heard: Callable[[Heard], None]) -> Callable[[Heard], None]:
        """As the library does, it removes the account after it has said that it is logged out."""

        def told(event: Heard) -> None:
            heard(event)
            if event.name == "LoggedOut":
                self._far.set(account=None, greeting=self._far.state().afterwards)

        return told

    def _relay(self) -> None:
        while True:
            with self._far.events.open("rb") as events:
                for line in events:
                    self._heard(msgspec.json.decode(line, type=Heard))


def make_fake(folder: Path) -> Callable[[Path, Callable[[str], None]], Client]:
    """Makes clients on the far side in `folder`."""

    def make(database: Path, note: Callable[[str], None]) -> Client:
        far = FarSide(folder)
        state = far.state()
        if state.refuses:
            raise LibraryMissing(state.refuses)
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS whatsmeow_device (jid TEXT)")
            connection.execute("DELETE FROM whatsmeow_device")
            if state.account:
                connection.execute("INSERT INTO whatsmeow_device VALUES (?)", (state.account,))
        return FakeClient(far, note)

    return make
