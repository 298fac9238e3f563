"""Every engine keeps every promise of the port: the same checks for each of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial

import pytest

from tests.contract.simulated import SimulatedRig
from tests.neonize.rig import NeonizeRig, open_neonize_rig
from tests.remote.rig import RemoteRig
from tests.remote.rig import open_rig as open_remote_rig
from transports.neonize.frames import Abilities as Library
from transports.simulated.profile import Abilities
from transports.testing import Check, Rig, checks

OpenRig = Callable[[], AbstractAsyncContextManager[Rig]]

AUDIENCE = Abilities(reuses_message_id=False, targets_recipients=False, contacts=30)
OWN_IDS = Abilities(reuses_message_id=False, contacts=30)

RIGS: dict[str, tuple[OpenRig, list[Check]]] = {
    "simulated": (lambda: nullcontext(SimulatedRig()), list(checks(SimulatedRig.signals))),
    "simulated, own ids": (lambda: nullcontext(SimulatedRig(OWN_IDS)), list(checks(SimulatedRig.signals))),
    "simulated, audience": (lambda: nullcontext(SimulatedRig(AUDIENCE)), list(checks(SimulatedRig.signals))),
    "remote": (open_remote_rig, list(checks(RemoteRig.signals))),
    "remote, own ids": (partial(open_remote_rig, OWN_IDS), list(checks(RemoteRig.signals))),
    "remote, audience": (partial(open_remote_rig, AUDIENCE), list(checks(RemoteRig.signals))),
    "neonize, audience": (open_neonize_rig, list(checks(NeonizeRig.signals))),
    "neonize, contact staging": (
        partial(open_neonize_rig, "contact-staging"),
        list(checks(NeonizeRig.signals)),
    ),
    "neonize, if it took ids and recipients": (
        partial(open_neonize_rig, abilities=Library(takes_message_id=True, takes_recipients=True)),
        list(checks(NeonizeRig.signals)),
    ),
}


@pytest.mark.trio
@pytest.mark.parametrize(
    ("open_rig", "check"),
    [
        pytest.param(open_rig, check, id=f"{engine}: {check}")
        for engine, (open_rig, held) in RIGS.items()
        for check in held
    ],
)
async def test_an_engine_conforms(open_rig: OpenRig, check: Check) -> None:
    async with open_rig() as rig:
        await check.run(rig)
