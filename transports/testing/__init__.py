"""The conformance suite of the engine port: for the author of an engine to know when it is done.

    from transports.testing import checks

    @pytest.mark.parametrize("check", checks(MyRig.signals), ids=str)
    async def test_my_engine(check):
        async with open_my_rig() as rig:
            await check.run(rig)

A `Rig` joins the suite to an engine and to a stand-in for what the engine talks to. Without pytest, `conform` runs all
checks and says of each whether it holds.
"""

from transports.testing.contract import Check, Verdict, checks, conform
from transports.testing.rig import SAMPLES, SILENCE, Call, NotConforming, Rig

__all__ = [
    "SAMPLES",
    "SILENCE",
    "Call",
    "Check",
    "NotConforming",
    "Rig",
    "Verdict",
    "checks",
    "conform",
]
