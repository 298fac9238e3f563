"""The waha engine keeps the promises of the engine port, with each of WAHA's engines that can."""

from __future__ import annotations

import pytest
from msgspec import structs

from tests.waha import Settings
from tests.waha.rig import WahaRig, open_rig
from transports.testing import Check, checks

WAHAS = {
    "GOWS": Settings(engine="GOWS"),
    "NOWEB": Settings(engine="NOWEB"),
    "an old NOWEB": Settings(engine="NOWEB", version="2025.2.1", tier="PLUS"),
}
PROMISES = [(name, check) for name in WAHAS for check in checks({})]
SIGNALS = [("GOWS", check) for check in checks(WahaRig.signals)[len(checks({})) :]]


@pytest.mark.trio
@pytest.mark.parametrize(("name", "check"), PROMISES + SIGNALS, ids=str)
async def test_waha_keeps_what_every_engine_promises(name: str, check: Check) -> None:
    async with open_rig(structs.replace(WAHAS[name])) as rig:
        await check.run(rig)
        assert rig.waha.ledger.problems == []
