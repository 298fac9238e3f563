"""Sessions that nobody is to serve until a person has acted: the alert of each, in the bucket of the leases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from stages.messages import Alert
from transports.bus import Bus, Outbound
from transports.entries import erase, read
from transports.errors import NotStored
from transports.subjects import BUCKET_LEASES, bucket_stream, key_subject

_SUFFIX = ".parked"


async def parked(bus: Bus, session: str) -> Alert | None:
    """Why `session` waits until a person has acted, if it does. Raises `TransportError`."""
    found = await read(bus, BUCKET_LEASES, _key(session))
    return None if found.value is None else _alert(session, found.value)


async def all_parked(bus: Bus) -> Sequence[Alert]:
    """Every session that waits until a person has acted. Raises `TransportError`."""
    subject = key_subject(BUCKET_LEASES, _key("*"))
    try:
        info = await bus.call(
            bus.jetstream.stream_info, bucket_stream(BUCKET_LEASES), subjects_filter=subject
        )
    except NotStored:
        return []
    sessions = sorted(name.split(".")[-2] for name in info.state.subjects or {})
    alerts = [await parked(bus, session) for session in sessions]
    return [alert for alert in alerts if alert is not None]


async def park(bus: Bus, alert: Alert) -> None:
    """Nobody is to serve the session of `alert` until `unpark`. Raises `TransportError`."""
    key = key_subject(BUCKET_LEASES, _key(alert.session_id))
    await bus.store(Outbound(key, msgspec.json.encode(alert)))


async def unpark(bus: Bus, session: str) -> None:
    """A person has acted. Raises `TransportError`."""
    found = await read(bus, BUCKET_LEASES, _key(session))
    if found.value is not None:
        await erase(bus, BUCKET_LEASES, _key(session), revision=found.revision)


def _alert(session: str, value: bytes) -> Alert:
    try:
        return msgspec.json.decode(value, type=Alert)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # An earlier version stored the kind alone; whatever it is, the session was stopped.
        kind = value[:64].decode(errors="replace")
        return Alert(session_id=session, kind=kind, reason=kind, at=datetime.fromtimestamp(0, UTC))


def _key(session: str) -> str:
    return f"{session}{_SUFFIX}"
