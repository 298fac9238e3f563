"""The doctor: looks at everything a worker needs, and says of each thing that is wrong how to mend it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import trio
from msgspec import Struct, structs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ops.exits import FAILED, SUCCESS, UNREACHABLE
from pipeline.engines import look_at_engine
from pipeline.resolution import unknown_variables
from pipeline.settings import EngineKind, Settings
from pipeline.suppression import read_suppressed
from stages.engine import EngineState
from stages.errors import StorycastError
from stages.masking import without_user
from stages.messages import Alert
from transports.bus import Bus, open_bus
from transports.errors import TransportError
from transports.neonize import InUse
from transports.parking import all_parked
from transports.streams import inspect

ENGINE_TIMEOUT = 20.0
_MENDS: dict[EngineState, str] = {
    "ready": "",
    "starting": "wait, and look again",
    "unavailable": "look at the engine's own log",
    "restricted": "WhatsApp restricted the account: see the phone, and wait it out",
    "lost": "link the account again",
}
_CONNECTING: frozenset[EngineKind] = frozenset({"neonize"})
"""To be asked, these connect the account: that makes a ban longer, and a lost session needs a person first."""
_FIRST = {
    "account-restricted": "see on the phone what WhatsApp says, and wait it out",
    "session-lost": "link the account again",
}


class Check(Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: str
    ok: bool
    found: str
    mend: str = ""


async def doctor(settings: Settings, environ: Mapping[str, str], session: str | None, *, json: bool) -> int:
    """Look, print, and return 0 if all is well, 3 if the server cannot be reached, else 1.

    The engine that is looked at is that of `session`, or else of `main` and every session with settings of its own.
    """
    sessions = [session] if session else sorted({"main", *settings.sessions})
    stopped: Sequence[Alert] | None = None
    checks = [_variables(environ), _suppression(settings)]
    reachable = True
    try:
        async with open_bus(settings.storycast.url) as bus:
            checks += [_server(bus), *(await _jetstream(bus, settings))]
            stopped, found = await _stopped(bus)
            checks += found
            checks += [await _engine(settings, name, bus, stopped) for name in sessions]
    except* TransportError as group:
        reachable = False
        mend = "storycast up starts a server; STORYCAST_URL says where another one is"
        checks.append(Check(name="server", ok=False, found=_first(group), mend=mend))
        checks += [await _engine(settings, name, None, stopped) for name in sessions]
    _print([structs.replace(check, mend="" if check.ok else check.mend) for check in checks], json=json)
    if not reachable:
        return UNREACHABLE
    return SUCCESS if all(check.ok for check in checks) else FAILED


def _variables(environ: Mapping[str, str]) -> Check:
    unknown = unknown_variables(environ)
    mend = "see `storycast settings` for the names there are"
    return Check(
        name="environment", ok=not unknown, found=", ".join(unknown) or "no unknown settings", mend=mend
    )


def _suppression(settings: Settings) -> Check:
    try:
        people = read_suppressed(settings.storycast.suppression_file)
    except StorycastError as error:
        return Check(
            name="suppression list", ok=False, found=str(error), mend="correct the file, or its path"
        )
    return Check(name="suppression list", ok=True, found=f"{len(people):,} recipients are never sent to")


async def _engine(
    settings: Settings, session: str, bus: Bus | None, stopped: Sequence[Alert] | None
) -> Check:
    kind = settings.of_session(session).engine
    name = f"engine of {session}: {kind}"
    if kind in _CONNECTING and (why := _unasked(session, stopped)):
        return Check(name=name, ok=True, found=why)
    try:
        with trio.fail_after(ENGINE_TIMEOUT):
            status = await look_at_engine(settings, session, bus)
    except InUse as held:
        return Check(name=name, ok=True, found=str(held))
    except (StorycastError, trio.TooSlowError) as error:
        mend = f"see docs/engines.md for {kind} and its settings"
        return Check(name=name, ok=False, found=str(error) or "no answer", mend=mend)
    found = f"{status.state} {status.reason}".strip()
    return Check(name=name, ok=status.state == "ready", found=found, mend=_MENDS[status.state])


def _unasked(session: str, stopped: Sequence[Alert] | None) -> str:
    """Why an engine is not asked, or nothing."""
    if stopped is None:
        return "not asked: it is not known whether the session is stopped"
    is_stopped = any(alert.session_id == session for alert in stopped)
    return "not asked while the session is stopped" if is_stopped else ""


async def _stopped(bus: Bus) -> tuple[Sequence[Alert] | None, list[Check]]:
    """The alerts of stopped sessions, None if they cannot be had, and what is to be said of that."""
    try:
        alerts = await all_parked(bus)
    except TransportError as error:
        return None, [Check(name="sessions", ok=False, found=str(error), mend="try again")]
    return alerts, _sessions(alerts)


def _sessions(alerts: Sequence[Alert]) -> list[Check]:
    if not alerts:
        return [Check(name="sessions", ok=True, found="none is stopped")]
    return [
        Check(
            name=f"session {alert.session_id}",
            ok=False,
            found=f"stopped since {alert.at:%Y-%m-%d %H:%M} UTC ({alert.kind}): {alert.reason}",
            mend=f"{_FIRST.get(alert.kind, 'see to it')}, then: storycast resume --session {alert.session_id}",
        )
        for alert in alerts
    ]


def _server(bus: Bus) -> Check:
    version = bus.client.connected_server_version
    number = f"{version.major}.{version.minor}.{version.patch}"
    return Check(name="server", ok=True, found=f"nats-server {number} at {without_user(bus.url)}")


async def _jetstream(bus: Bus, settings: Settings) -> list[Check]:
    try:
        account = await bus.call(bus.jetstream.account_info)
    except TransportError as error:
        mend = "start nats-server with JetStream: nats-server -js, or jetstream {} in its configuration"
        return [Check(name="JetStream", ok=False, found=str(error), mend=mend)]
    on = Check(name="JetStream", ok=True, found=f"{account.streams} streams, {account.consumers} consumers")
    findings = await inspect(
        bus,
        history_ttl=settings.smart_send.memory_ttl_hours * 3600,
        replicas=settings.storycast.replicas,
    )
    return [
        on,
        *(
            Check(name=it.name, ok=not it.wrong, found=it.wrong or "as expected", mend=it.mend)
            for it in findings
        ),
    ]


def _first(group: BaseExceptionGroup[TransportError]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


def _print(checks: list[Check], *, json: bool) -> None:
    if json:
        print(msgspec.json.format(msgspec.json.encode(checks)).decode())
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for check in checks:
        mark = Text("ok", style="green") if check.ok else Text("WRONG", style="bold red")
        table.add_row(mark, check.name, Text(check.found))
        if not check.ok:
            table.add_row("", "", Text(f"mend: {check.mend}", style="dim"))
    Console(highlight=False).print(table)
