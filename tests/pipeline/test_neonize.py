"""The real neonize under a real worker, without a network: what goes wrong with it stays with its session."""

from __future__ import annotations

import importlib.util
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from pipeline.engines import engine_opener, tell_of_death
from pipeline.settings import Infrastructure, Session, Settings
from stages.engine import Engine
from stages.options import SmartSend
from tests.nats_support import open_ear, open_nats, open_worker, publish, publish_story, quick, stored
from tests.support import request
from tests.transports.test_neonize_library import PANICKING
from transports.bus import Bus
from transports.neonize import Neonize, open_neonize
from transports.parking import all_parked

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("neonize") is None, reason="the neonize extra is not installed"
)


def settings(folder: Path) -> Settings:
    """Session `main` on neonize, all others simulated."""
    common = quick()
    neonize = Neonize(data=str(folder / "sessions"))
    main = Session(smart_send=SmartSend(), engine="neonize", waha=common.waha, neonize=neonize)
    own = Infrastructure(engine="simulated", speed=1_000)
    return Settings(smart_send=common.smart_send, storycast=own, neonize=neonize, sessions={"main": main})


@pytest.mark.trio
async def test_a_session_without_a_device_is_stopped_with_an_alert_and_no_other_is(tmp_path: Path) -> None:
    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, engine_opener(settings(tmp_path), bus), settings(tmp_path)):
            asked = {name: value for name, value in request("sale", 1).items() if name != "recipients"}
            await publish(bus, {**asked, "audience": "contacts"})
            await ear.until(lambda: bool(ear.alerts))
            await publish_story(bus, "theirs", session="other")
            [report] = await ear.until_reports(1)
        [alert] = ear.alerts
        assert (alert.session_id, alert.kind) == ("main", "session-lost")
        assert "storycast pair --session main" in alert.reason
        assert [stopped.reason for stopped in await all_parked(bus)] == [alert.reason]
        assert (report.session_id, report.state) == ("other", "completed")
        assert (await stored(bus)).messages == 1


@pytest.mark.trio
async def test_a_panic_of_its_go_core_leaves_the_worker_running_with_an_alert_and_the_next_start_works(
    tmp_path: Path,
) -> None:
    async with open_nats() as bus, open_ear(bus) as ear:
        opener = engine_opener(settings(tmp_path), bus)

        def open_engine(session: str) -> AbstractAsyncContextManager[Engine]:
            return _panicking(bus, tmp_path) if session == "main" else opener(session)

        async with open_worker(bus, open_engine, settings(tmp_path)):
            # Each call meets a panic in a process of its own: so the second one is a start that worked.
            for number in (1, 2):
                await publish_story(bus, f"sale-{number}")
                await ear.until_reports(number)
            await publish_story(bus, "theirs", session="other")
            *ours, theirs = await ear.until_reports(3)
        await ear.until(lambda: len(ear.alerts) == 2)
    assert {(alert.session_id, alert.kind) for alert in ear.alerts} == {("main", "unavailable")}
    assert all("panic" in alert.reason for alert in ear.alerts)
    assert [(report.sent_successfully, report.unknown) for report in ours] == [(0, 3), (0, 3)]
    assert theirs.sent_successfully == 3


def _panicking(bus: Bus, folder: Path) -> AbstractAsyncContextManager[Engine]:
    staging = Neonize(data=str(folder / "sessions"), targeting="contact-staging", restart_delay=0.05)
    return open_neonize(staging, "main", command=PANICKING, on_death=partial(tell_of_death, bus, "main"))
