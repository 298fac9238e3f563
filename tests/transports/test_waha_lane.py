"""A whole lane over the waha engine: what WAHA does to single calls, a story survives."""

from __future__ import annotations

import pytest
import trio

from stages.delivery import Limits
from stages.message_id import message_id_of
from stages.options import SmartSend
from tests.support import SESSION, delivery, people, request, run_through
from tests.waha import Settings
from tests.waha.faults import by_whatsapp, manner
from tests.waha.rig import open_rig
from tests.waha.signals import SIGNALS
from transports.waha import Waha

ID = message_id_of(SESSION, "sale")
QUICK = SmartSend(batch_delay=0, max_batches_per_second=50)
LIMITS = Limits(unsure_pause=0)


@pytest.mark.trio
@pytest.mark.parametrize("engine", ["GOWS", "NOWEB"])
async def test_everybody_sees_the_story_once_whatever_happens_to_single_calls(engine: str) -> None:
    faults = [manner("reset", delivers=True), by_whatsapp(400)]
    options = Waha(timeout=20)
    async with (
        open_rig(Settings(engine=engine), options=options) as rig,
        rig.open() as waha,
        trio.open_nursery() as more,
    ):

        async def after_the_anchor() -> None:
            await rig.waha.arrived(1)
            rig.waha.meets(*faults)
            for signal in ("no ack from WhatsApp", "frame too large", "reset, unread"):
                SIGNALS[signal].arrange(rig.waha)

        more.start_soon(after_the_anchor)
        run = await run_through(
            [delivery(request(recipients=800))], engine=waha, options=QUICK, limits=LIMITS
        )
    assert rig.waha.ledger.repeats > 0
    assert (run.report.state, run.report.sent_successfully) == ("completed", 800)
    assert rig.waha.ledger.audience(ID) == frozenset(people(800))
    assert set(rig.waha.ledger.sightings().values()) == {1}
    assert rig.waha.ledger.versions(ID) == 1
    assert all(call.own and call.stanzas == 1 for call in rig.waha.ledger.calls)
    assert rig.waha.ledger.problems == []


@pytest.mark.trio
async def test_a_restricted_account_stops_the_session_before_its_next_call() -> None:
    async with open_rig(options=Waha(timeout=20)) as rig, rig.open() as waha:
        SIGNALS["500"].arrange(rig.waha)
        SIGNALS["463 by WhatsApp"].arrange(rig.waha)
        run = await run_through(
            [delivery(request(recipients=500))], engine=waha, options=QUICK, limits=LIMITS
        )
    assert [alert.kind for alert in run.alerts] == ["account-restricted"]
    assert (rig.waha.posts, rig.waha.ledger.calls) == (2, [])
