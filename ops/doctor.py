"""The doctor: looks at everything a worker needs, and says of each thing that is wrong how to mend it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import trio
from msgspec import Struct, structs
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ops.exits import FAILED, SUCCESS, UNREACHABLE
from pipeline.engines import engine_opener
from pipeline.resolution import unknown_variables
from pipeline.settings import Settings
from pipeline.suppression import read_suppressed
from stages.errors import StorycastError
from transports.bus import Bus, open_bus
from transports.errors import TransportError
from transports.streams import inspect

STATUS_TIMEOUT = 5.0


class Check(Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: str
    ok: bool
    found: str
    mend: str = ""


async def doctor(settings: Settings, environ: Mapping[str, str], *, json: bool) -> int:
    """Look, print, and return 0 if all is well, 3 if the server cannot be reached, else 1."""
    checks = [_variables(environ), _suppression(settings), await _engine(settings)]
    reachable = True
    try:
        async with open_bus(settings.storycast.url) as bus:
            checks += [_server(bus), *(await _jetstream(bus, settings))]
    except* TransportError as group:
        reachable = False
        mend = "storycast up starts a server; STORYCAST_URL says where another one is"
        checks.append(Check(name="server", ok=False, found=_first(group), mend=mend))
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


async def _engine(settings: Settings) -> Check:
    name = f"engine {settings.storycast.engine}"
    try:
        with trio.fail_after(STATUS_TIMEOUT):
            async with engine_opener(settings)("doctor") as engine:
                status = await engine.status()
    except (StorycastError, trio.TooSlowError) as error:
        return Check(
            name=name, ok=False, found=str(error) or "no answer", mend="see STORYCAST_ENGINE and its settings"
        )
    found = f"{status.state} {status.reason}".strip()
    return Check(name=name, ok=status.state == "ready", found=found, mend="look at the engine's own log")


def _server(bus: Bus) -> Check:
    version = bus.client.connected_server_version
    number = f"{version.major}.{version.minor}.{version.patch}"
    return Check(name="server", ok=True, found=f"nats-server {number} at {bus.url}")


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
