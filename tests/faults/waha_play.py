"""A play over loopback WAHAs: a session for each kind of failure, one worker for all, killed in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import trio
from msgspec import Struct

from stages.errors import (
    ContentRefused,
    EngineFailure,
    OutcomeUnknown,
    RateLimited,
    RecipientsRejected,
    TooLarge,
    Unavailable,
)
from stages.messages import Alert, Report
from tests.faults.processes import AT_MOST, Child, storycast, until
from tests.nats_support import Ear, eventually, open_ear, open_nats, publish_story, stored, url_of
from tests.waha.ledger import Ledger
from tests.waha.server import LoopbackWaha, open_loopback
from tests.waha.signals import SIGNALS
from tests.waha.world import Settings
from transports.bus import Bus
from transports.parking import all_parked

RECIPIENTS = 5_000
LATER = 3
"""Calls of a session before the first that meets something."""
KILL_AFTER = 6
"""Calls of the undisturbed session after which the worker is killed."""
MET: dict[str, type[EngineFailure] | None] = {
    "undisturbed": None,
    "rate-limited": RateLimited,
    "unavailable": Unavailable,
    "outcome-unknown": OutcomeUnknown,
    "recipients-rejected": RecipientsRejected,
    "too-large": TooLarge,
    "content-refused": ContentRefused,
}
"""Sessions, and the failure whose signals their calls meet, every one of them."""
STOPPED = {"account-restricted": "463 by WhatsApp", "session-lost": "422 SCAN_QR_CODE"}
"""Sessions that are stopped by a signal, and wait for a person."""
SETTINGS = {
    "STORYCAST_ENGINE": "waha",
    "STORYCAST_WAHA_TIMEOUT": "2",
    "STORYCAST_UNSURE_PAUSE": "0",
    "SMART_SEND_STRATEGY": "fixed",
    "SMART_SEND_MAX_BATCHES_PER_SECOND": "5",
    "SMART_SEND_BATCH_DELAY": "0",
    "SMART_SEND_MAX_RETRIES": "20",  # every other call meets something: for some of them that is often
}


class Played(Struct):
    """What one session came to."""

    ledger: Ledger
    asked_ids: set[str]
    """The message ids in all calls, whatever became of them."""
    reports: Sequence[Report]
    alerts: Sequence[Alert]
    posts: int
    posts_when_stopped: int = 0


async def play(home: Path) -> dict[str, Played]:
    """A story to 5,000 in each session, under all faults, with the worker killed in its middle."""
    async with AsyncExitStack() as stack:
        wahas = {
            name: await stack.enter_async_context(open_loopback(Settings(session=name)))
            for name in (*MET, *STOPPED)
        }
        _configure(home, wahas)
        bus = await stack.enter_async_context(open_nats())
        ear = await stack.enter_async_context(open_ear(bus))
        first = stack.enter_context(_worker("first", home, bus))
        await first.until_says("serving requests")
        nursery = await stack.enter_async_context(trio.open_nursery())
        for name, waha in wahas.items():
            nursery.start_soon(_meet, name, waha)
            await publish_story(bus, "sale", RECIPIENTS, session=name)
        await wahas["undisturbed"].arrived(KILL_AFTER)
        await eventually(lambda: all_parked(bus), lambda found: len(found) == len(STOPPED))
        first.kill()
        second = stack.enter_context(_worker("second", home, bus))
        await _until_reported(ear, set(MET), first=first, second=second)
        stopped = {name: wahas[name].posts for name in STOPPED}
        # The stories of stopped sessions wait; the others are acknowledged after their reports are there.
        await eventually(lambda: stored(bus), lambda state: state.messages == len(STOPPED))
        await _resume(home, bus, wahas)
        await _until_reported(ear, {*MET, *STOPPED}, first=first, second=second)
        nursery.cancel_scope.cancel()
        return {name: _played(name, waha, ear, stopped) for name, waha in wahas.items()}


def _configure(home: Path, wahas: dict[str, LoopbackWaha]) -> None:
    tables = [f'[sessions.{name}.waha]\nurl = "{waha.url}"\n' for name, waha in wahas.items()]
    (home / "storycast.toml").write_text("\n".join(tables))


def _worker(name: str, home: Path, bus: Bus) -> Child:
    return storycast(name, "worker", "--url", url_of(bus), home=home, settings=SETTINGS)


async def _meet(name: str, waha: LoopbackWaha) -> None:
    """Have every other call of a session meet the next signal of its kind."""
    if name in STOPPED:
        await waha.arrived(LATER)
        SIGNALS[STOPPED[name]].arrange(waha)
        return
    kind = MET[name]
    signals = [signal for signal in SIGNALS.values() if signal.failure is kind]
    for number, signal in enumerate(signals):
        await waha.arrived(LATER + 2 * number)
        signal.arrange(waha)


async def _until_reported(ear: Ear, sessions: set[str], *, first: Child, second: Child) -> None:
    async def reported() -> bool:
        return {report.session_id for report in ear.reports} >= sessions

    def missing() -> str:
        return (
            f"reports of {sessions - {report.session_id for report in ear.reports}}: {first.err}{second.err}"
        )

    with trio.fail_after(AT_MOST):
        await until(reported, missing, every=0.02)


async def _resume(home: Path, bus: Bus, wahas: dict[str, LoopbackWaha]) -> None:
    """A person has acted; what the sessions are asked to do next is done."""
    for name in STOPPED:
        wahas[name].settings.restricted = False
        wahas[name].settings.state = "WORKING"
        arguments = ("resume", "--session", name, "--url", url_of(bus))
        with storycast(f"resume-{name}", *arguments, home=home, settings={}) as command:
            await trio.to_thread.run_sync(command.process.wait)
            assert command.process.returncode == 0, command.err
        await publish_story(bus, "next", RECIPIENTS, session=name)


def _played(name: str, waha: LoopbackWaha, ear: Ear, stopped: dict[str, int]) -> Played:
    asked = [msgspec.json.decode(one.body) for one in waha.requests if one.method == "POST"]
    return Played(
        ledger=waha.ledger,
        asked_ids={body["id"] for body in asked},
        reports=[report for report in ear.reports if report.session_id == name],
        alerts=[alert for alert in ear.alerts if alert.session_id == name],
        posts=waha.posts,
        posts_when_stopped=stopped.get(name, 0),
    )
