"""The neonize engine over the real library, on the WhatsApp on loopback: a `Rig` for the suite of the engine port."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from stages.engine import ContentKind, Engine
from stages.errors import (
    AccountRestricted,
    ContentRefused,
    EngineFailure,
    OutcomeUnknown,
    RateLimited,
    RecipientsRejected,
    SessionLost,
    Unavailable,
)
from stages.messages import Content
from tests.whatsapp.clients import AT_MOST, OWNER, memory, numbers
from tests.whatsapp.faults import Fault, LoginFailure, Point, Refused, Silence
from tests.whatsapp.pairing import Account
from tests.whatsapp.server import Whatsapp, open_whatsapp
from transports.neonize import Neonize, open_linking, open_neonize
from transports.neonize.frames import Linked, Scan
from transports.neonize.options import Targeting
from transports.testing import SAMPLES, SILENCE, Call

SESSION = "main"
SHORT = 3.0
"""Seconds that a call may take where silence is waited out."""
LIMITED, BUSY = Refused(429, "rate-overlimit"), Refused(503, "service-unavailable")
BAN = LoginFailure(402, (("code", "101"), ("expire", "3600")))

CALLS: Mapping[str, tuple[Point, Fault, type[EngineFailure]]] = {
    "429 in the acknowledgement": ("send", Refused(429), RateLimited),
    "429 for the privacy": ("privacy", LIMITED, RateLimited),
    "429 for the device list": ("devices", LIMITED, RateLimited),
    "503 for the device list": ("devices", BUSY, Unavailable),
    "500 in the acknowledgement": ("send", Refused(500), Unavailable),
    "400 in the acknowledgement": ("send", Refused(400), RecipientsRejected),
    "479 in the acknowledgement": ("send", Refused(479), RecipientsRejected),
    "420 in the acknowledgement": ("send", Refused(420), ContentRefused),
    "463 in the acknowledgement": ("send", Refused(463), AccountRestricted),
    SILENCE: ("send", Silence(), OutcomeUnknown),
}
"""Signals that one call meets."""
LOGINS: Mapping[str, tuple[LoginFailure, type[EngineFailure]]] = {
    "temporary ban": (BAN, AccountRestricted),
    "logged out": (LoginFailure(401), SessionLost),
    "banned for good": (LoginFailure(403), SessionLost),
}
"""Signals that the client meets when it logs in."""


class WhatsappRig:
    """A linked session, whose contacts are whoever was asked for."""

    signals: Mapping[str, type[EngineFailure]] = {
        **{name: kind for name, (_, _, kind) in CALLS.items()},
        **{name: kind for name, (_, kind) in LOGINS.items()},
    }
    waits: Mapping[str, float] = {}
    contents: Mapping[ContentKind, Content] = SAMPLES

    def __init__(self, whatsapp: Whatsapp, folder: Path, targeting: Targeting, timeout: float) -> None:
        self.whatsapp = whatsapp
        self.options = options(folder, targeting, timeout)
        self.session = folder / SESSION
        self._database = self.session / "session.db"
        self._engine: Engine | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Engine]:
        """The engine."""
        async with open_neonize(self.options, SESSION, command=command(self.whatsapp.port)) as engine:
            self._engine = engine
            yield engine

    def people(self, count: int) -> list[str]:
        """Contacts, known by name to the linked device from here on."""
        jids = [f"{number}@s.whatsapp.net" for number in numbers(count)]
        self.name(jids)
        return jids

    def name(self, jids: Sequence[str]) -> None:
        """Have the linked device know these people by name."""
        with closing(sqlite3.connect(self._database, timeout=AT_MOST)) as connection, connection:
            connection.executemany(NAME, [(jid, f"Contact {jid}") for jid in jids])

    def names(self) -> dict[str, str]:
        """The contacts of the linked device that have a full name, as its store has them."""
        with closing(sqlite3.connect(self._database, timeout=AT_MOST)) as connection:
            rows = connection.execute(
                "SELECT their_jid, full_name FROM whatsmeow_contacts WHERE full_name <> ''"
            )
            return dict(rows.fetchall())

    def hide(self, jid: str, number: str = "") -> None:
        """One more contact, by a hidden id; the linked device knows the phone number if there is one."""
        with closing(sqlite3.connect(self._database, timeout=AT_MOST)) as connection, connection:
            connection.execute(NAME, (jid, f"Contact {jid}"))
            if number:
                pair = jid.partition("@")[0], number.partition("@")[0]
                connection.execute("INSERT INTO whatsmeow_lid_map (lid, pn) VALUES (?, ?)", pair)

    async def arrange(self, signal: str) -> None:
        """The next call meets `signal`."""
        if signal in CALLS:
            self.whatsapp.world.faults.add(*CALLS[signal][:2])
            return
        self.whatsapp.world.faults.add("login", LOGINS[signal][0])
        self.whatsapp.cut_off()
        assert self._engine is not None
        with trio.fail_after(AT_MOST):
            while (await self._engine.status()).state not in ("restricted", "lost"):
                await trio.lowlevel.checkpoint()

    async def calls(self) -> Sequence[Call]:
        """Posts that reached somebody."""
        return [
            Call(message_id=call.message_id, recipients=call.recipients, content=call.content)
            for call in self.whatsapp.world.calls()
        ]


NAME = (
    "INSERT OR IGNORE INTO whatsmeow_contacts (our_jid, their_jid, full_name) "
    "SELECT jid, ?, ? FROM whatsmeow_device"
)


@dataclass(frozen=True)
class Template:
    """A session that was linked once, to be copied."""

    folder: TemporaryDirectory[str]
    account: Account


_templates: list[Template] = []


@asynccontextmanager
async def open_rig(
    targeting: Targeting = "contact-staging", *, contacts: int = 20, timeout: float = 1.5
) -> AsyncIterator[WhatsappRig]:
    """A rig in a folder of its own, with so many contacts; a call may take `timeout` seconds."""
    async with open_whatsapp() as whatsapp:
        if not _templates:
            _templates.append(await _template(whatsapp))
        template = _templates[0]
        whatsapp.world.accounts[OWNER] = Account(OWNER, template.account.key, dict(template.account.devices))
        with TemporaryDirectory(dir=memory(), prefix="storycast-") as directory, environment(whatsapp):
            folder = Path(directory) / "sessions"
            shutil.copytree(template.folder.name, folder)
            rig = WhatsappRig(whatsapp, folder, targeting, timeout)
            rig.people(contacts)
            yield rig


async def _template(whatsapp: Whatsapp) -> Template:
    folder = TemporaryDirectory(dir=memory(), prefix="storycast-")
    await link(whatsapp, options(Path(folder.name), "audience"))
    return Template(folder, whatsapp.world.account(OWNER))


async def link(whatsapp: Whatsapp, neonize: Neonize) -> Linked:
    """Link a session as `storycast pair` does."""
    with trio.fail_after(AT_MOST):
        async with open_linking(neonize, SESSION, command=command(whatsapp.port)) as steps:
            async for step in steps:
                if isinstance(step, Scan):
                    await whatsapp.scan(step.code, OWNER)
                elif isinstance(step, Linked):
                    return step
    raise AssertionError(f"it ended without: {step}")


def options(folder: Path, targeting: Targeting, timeout: float = 1.5) -> Neonize:
    """Nothing takes long, and nothing is waited for long."""
    return Neonize(
        data=str(folder),
        targeting=targeting,
        timeout=timeout,
        start_timeout=AT_MOST,
        restart_delay=0.02,
        restart_delay_max=0.1,
    )


def command(port: int) -> Sequence[str]:
    """What hosts a client that knows only the server on this port."""
    child = ("-Wdefault", "-m", "tests.whatsapp.child", str(port), "transports.neonize.child")
    return (sys.executable, *child)


@contextmanager
def environment(whatsapp: Whatsapp) -> Iterator[None]:
    """Processes that are started in the block trust the server's media host."""
    before = dict(os.environ)
    os.environ.update(whatsapp.environment())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
