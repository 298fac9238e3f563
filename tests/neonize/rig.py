"""The neonize engine on a fake far side, as tests of any engine need it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from stages.engine import ContentKind, Engine
from stages.errors import (
    AccountRestricted,
    ContentRefused,
    EngineFailure,
    OutcomeUnknown,
    RateLimited,
    RecipientsRejected,
    SessionLost,
    TooLarge,
    Unavailable,
)
from stages.messages import Content
from tests.neonize.far_side import FarSide, Signal
from tests.support import people
from transports.neonize import Neonize, open_neonize
from transports.neonize.client import Contact, Heard
from transports.neonize.frames import Abilities
from transports.neonize.options import Targeting
from transports.testing import SAMPLES, SILENCE, Call

_LIST = "failed to get device list: failed to send usync query: "
_MEMBERS = "failed to get broadcast list members: failed to get status privacy: "

SIGNALS: Mapping[str, tuple[Signal, type[EngineFailure]]] = {
    "429 in the acknowledgement": (Signal("server returned error 429"), RateLimited),
    "429 for the device list": (
        Signal(f"{_LIST}info query returned status 429: rate-overlimit"),
        RateLimited,
    ),
    "400 in the acknowledgement": (Signal("server returned error 400"), RecipientsRejected),
    "479 in the acknowledgement": (Signal("server returned error 479"), RecipientsRejected),
    "420 in the acknowledgement": (Signal("server returned error 420"), ContentRefused),
    "500 in the acknowledgement": (Signal("server returned error 500"), Unavailable),
    "503 for the device list": (
        Signal(f"{_LIST}info query returned status 503: service-unavailable"),
        Unavailable,
    ),
    "not connected": (Signal(f"{_MEMBERS}websocket not connected"), Unavailable),
    "connection lost before it was sent": (
        Signal("failed to send message node: frame socket is closed"),
        Unavailable,
    ),
    "connection lost after it was sent": (
        Signal("websocket disconnected before message send returned response"),
        OutcomeUnknown,
    ),
    "no acknowledgement within 75 s": (Signal("timed out waiting for message send response"), OutcomeUnknown),
    "frame too large": (Signal("failed to send message node: frame too large (20000000 bytes)"), TooLarge),
    "more recipients than its store looks up at once": (
        Signal("failed to fetch LID mappings: variable number must be between ?1 and ?32766"),
        TooLarge,
    ),
    "463 in the acknowledgement": (Signal("server returned error 463"), AccountRestricted),
    "no device in the store": (Signal("the store doesn't contain a device JID"), SessionLost),
    "logged out": (
        Signal("the store doesn't contain a device JID", events=(Heard("LoggedOut", "logged out"),)),
        SessionLost,
    ),
    "temporary ban": (
        Signal("server returned error 463", events=(Heard("TemporaryBan", "", 3600.0),)),
        AccountRestricted,
    ),
    SILENCE: (Signal(does="hang"), OutcomeUnknown),
    "a panic once it is sent": (Signal(does="abort"), OutcomeUnknown),
}


class NeonizeRig:
    """A `Rig`: one session with as many contacts as anybody asks for."""

    signals: Mapping[str, type[EngineFailure]] = {name: failure for name, (_, failure) in SIGNALS.items()}
    waits: Mapping[str, float] = {}
    contents: Mapping[ContentKind, Content] = SAMPLES

    def __init__(self, folder: Path, targeting: Targeting = "contact-staging", timeout: float = 1.5) -> None:
        self.far = FarSide(folder / "far")
        self.options = Neonize(
            data=str(folder / "sessions"),
            targeting=targeting,
            timeout=timeout,
            start_timeout=20,
            restart_delay=0.02,
            restart_delay_max=0.1,
        )

    @property
    def command(self) -> Sequence[str]:
        """What hosts the client."""
        return (sys.executable, "-m", "tests.neonize.fake_child", str(self.far.folder))

    def open(self) -> AbstractAsyncContextManager[Engine]:
        """The engine."""
        return open_neonize(self.options, "main", command=self.command, jitter=lambda: 0.0)

    def people(self, count: int) -> list[str]:
        """Reachable recipients; all of them are contacts from here on."""
        found = people(count)
        self.far.name(*(Contact(jid, f"Name {place}", f"First {place}") for place, jid in enumerate(found)))
        return found

    async def arrange(self, signal: str) -> None:
        """The next call meets `signal`."""
        self.far.set(signal=SIGNALS[signal][0])

    async def calls(self) -> Sequence[Call]:
        """Calls that reached somebody, oldest first."""
        return self.far.state().calls


@asynccontextmanager
async def open_neonize_rig(
    targeting: Targeting = "audience", abilities: Abilities | None = None
) -> AsyncIterator[NeonizeRig]:
    """A rig in a folder of its own, with an audience."""
    with tempfile.TemporaryDirectory(prefix="storycast-neonize-") as folder:
        rig = NeonizeRig(Path(folder), targeting)
        rig.people(20)
        if abilities:
            rig.far.set(abilities=abilities)
        try:
            yield rig
        finally:
            rig.far.close()
