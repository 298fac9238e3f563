"""What WAHA says of itself and of a session: the engine behind it, its version, whose account it is."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

from stages.engine import Capabilities, ContentKind, EngineState, EngineStatus
from stages.recipients import canonical
from transports.waha.failures import failure_of_state, needs_person
from transports.waha.posts import Identity, contact_of

TARGETING = frozenset({"GOWS", "NOWEB"})
"""WAHA's engines that post to chosen recipients."""
_SINCE_ID = (2025, 3, 2)
_SINCE_SMALL_PARTS = (2026, 5, 1)
_SINCE_FREE = (2026, 6, 1)
_ALL: frozenset[ContentKind] = frozenset({"text", "image", "video", "voice"})
_STATES: dict[str, EngineState] = {"WORKING": "ready", "STARTING": "starting"}


class Server(Struct, frozen=True, kw_only=True):
    """The WAHA server; `version` is empty where it cannot be read: then what a number would say counts as new."""

    engine: str = ""
    version: tuple[int, ...] = ()
    tier: str = ""

    def since(self, version: tuple[int, ...]) -> bool:
        """Whether it is at least that version."""
        return not self.version or self.version >= version

    @property
    def has_ids(self) -> bool | None:
        """Whether this version gives message ids; None where it cannot be read."""
        return self.version >= _SINCE_ID if self.version else None


class Session(Struct, frozen=True, kw_only=True):
    """A session as WAHA has it. `own` is None until it is linked and working."""

    state: str
    engine: str = ""
    own: Identity | None = None
    restricted: bool = False


def server_in(body: bytes) -> Server:
    """What `server/version` says."""
    told = _object(body)
    found = re.match(r"([0-9]+)\.([0-9]+)\.([0-9]+)", _text(told.get("version")))
    return Server(
        engine=_text(told.get("engine")).upper(),
        version=tuple(map(int, found.groups())) if found else (),
        tier=_text(told.get("tier")).upper(),
    )


def session_in(body: bytes) -> Session:
    """What `sessions/{session}` says."""
    told = _object(body)
    me = _inner(told, "me")
    return Session(
        state=_text(told.get("status")),
        engine=_text(_inner(told, "engine").get("engine")).upper(),
        own=_identity(me),
        restricted=_inner(me, "reachoutTimelock").get("isActive") is True,
    )


def capabilities_of(server: Server, *, reuses: bool, max_batch: int) -> Capabilities:
    """What this WAHA can do. `reuses` is whether it gives message ids."""
    targets = server.engine in TARGETING and (server.engine == "NOWEB" or reuses)
    limited = server.tier == "CORE" and not server.since(_SINCE_FREE)
    return Capabilities(
        reuses_message_id=reuses and targets,
        targets_recipients=targets,
        max_batch=max_batch or _part(server) - 1,  # the account itself is in every call
        acknowledges=server.engine == "GOWS",
        kinds=frozenset({"text"}) if limited else _ALL,
    )


def status_of(session: Session) -> EngineStatus:
    """The session's status in the words of the port."""
    state = "lost" if needs_person(session.state) else _STATES.get(session.state, "unavailable")
    if state == "ready" and session.restricted:
        return EngineStatus(state="restricted", reason="WhatsApp restricts the account for a time")
    if state == "ready":
        return EngineStatus(state="ready")
    return EngineStatus(state=state, reason=str(failure_of_state(session.state)))


def _part(server: Server) -> int:
    """Contacts that WAHA puts into one call to WhatsApp before it splits."""
    return 500 if server.engine == "GOWS" and server.since(_SINCE_SMALL_PARTS) else 5_000


def _identity(me: dict[str, Any]) -> Identity | None:
    phone = canonical(_text(me.get("id")))
    if phone is None:
        return None
    hidden = canonical(_text(me.get("lid")))
    return Identity(contact=contact_of(phone), jids=frozenset(filter(None, (phone, hidden))))


def _inner(told: dict[str, Any], name: str) -> dict[str, Any]:
    found = told.get(name)
    return found if isinstance(found, dict) else {}


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
