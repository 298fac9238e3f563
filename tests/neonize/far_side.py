"""A WhatsApp that is a folder: what the client of `fake_child` finds, does and leaves there, across its restarts."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from transports.neonize.client import Contact, Heard, Privacy
from transports.neonize.frames import Abilities
from transports.testing import Call

OWN = "6289900000001"
DEVICE = f"{OWN}:7@s.whatsapp.net"


class Signal(Struct, frozen=True):
    """What the next call meets: an error text at a step, events, dropped devices, or silence and the like."""

    error: str = ""
    at: str = "send"
    events: Sequence[Heard] = ()
    drops: Sequence[str] = ()
    does: str = ""
    """`hang`: never answer. `late`: answer when told to. `abort`: what a Go panic does, once it is sent.

    `break`: raise what no library should raise.
    """


class State(Struct, frozen=True):
    """All there is."""

    account: str | None = DEVICE
    abilities: Abilities = Abilities(version="fake")
    contacts: Sequence[Contact] = ()
    privacy: Privacy = Privacy()
    missing: Sequence[str] = ()
    numbers: Mapping[str, str] = {}
    """Those behind hidden ids."""
    greeting: Sequence[Heard] = (Heard("Connected"),)
    afterwards: Sequence[Heard] = (Heard("Connected"),)
    """What greets after it was logged out."""
    refuses: str = ""
    signal: Signal | None = None
    renames: int = 0
    builds: int = 0
    starts: int = 0
    calls: Sequence[Call] = ()


class FarSide:
    """The folder, for both sides of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        for pipe in (self.events, self.releases):
            if not pipe.exists():
                os.mkfifo(pipe)
        # Open for both ways they wait for nobody, and what nobody has read yet stays for as long as one is open.
        self._open = {pipe: os.open(pipe, os.O_RDWR | os.O_CLOEXEC) for pipe in (self.events, self.releases)}
        with self._locked():
            if not self._file.exists():
                self._write(State())

    @property
    def events(self) -> Path:
        """A pipe of events, one a line."""
        return self.folder / "events"

    @property
    def releases(self) -> Path:
        """A pipe that a late call waits for."""
        return self.folder / "releases"

    @property
    def _file(self) -> Path:
        return self.folder / "state.msgpack"

    def state(self) -> State:
        """How it is now."""
        with self._locked():
            return self._read()

    def set(self, **fields: object) -> None:
        """Change it."""
        with self._locked():
            self._write(structs.replace(self._read(), **fields))

    def name(self, *contacts: Contact) -> None:
        """Write names into the contact list."""
        with self._locked():
            state = self._read()
            known = {contact.jid: contact for contact in state.contacts}
            known.update((contact.jid, contact) for contact in contacts)
            self._write(structs.replace(state, contacts=list(known.values()), renames=state.renames + 1))

    def note(self, call: Call) -> None:
        """A call reached somebody."""
        with self._locked():
            state = self._read()
            self._write(structs.replace(state, calls=[*state.calls, call]))

    def signal(self) -> Signal:
        """Take what the next call meets."""
        with self._locked():
            state = self._read()
            self._write(structs.replace(state, signal=None))
            return state.signal or Signal()

    def say(self, *events: Heard) -> None:
        """Have the client report events."""
        os.write(self._open[self.events], b"".join(msgspec.json.encode(event) + b"\n" for event in events))

    def release(self) -> None:
        """Let a late call go on."""
        os.write(self._open[self.releases], b"\n")

    def close(self) -> None:
        """Close the pipes at this end."""
        while self._open:
            os.close(self._open.popitem()[1])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> State:
        return msgspec.msgpack.decode(self._file.read_bytes(), type=State)

    def _write(self, state: State) -> None:
        draft = self._file.with_suffix(".draft")
        draft.write_bytes(msgspec.msgpack.encode(state))
        draft.replace(self._file)
