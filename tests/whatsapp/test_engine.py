"""The neonize engine keeps the promises of the port over the real library, and tells truly who was left out."""

from __future__ import annotations

import pytest

from stages.messages import Text
from tests.whatsapp.faults import Hangup
from tests.whatsapp.rig import LIMITED, WhatsappRig, open_rig
from tests.whatsapp.world import Privacy
from transports.testing import Check, checks

pytestmark = [pytest.mark.whatsapp, pytest.mark.trio]

OFFER = Text(text="Open till eight")


@pytest.mark.parametrize("check", checks(WhatsappRig.signals), ids=str)
async def test_the_engine_conforms_over_the_real_library(check: Check) -> None:
    async with open_rig() as rig:
        await check.run(rig)


async def test_recipients_whose_keys_are_missing_are_told_as_failed() -> None:
    async with open_rig() as rig, rig.open() as engine:
        one, other, third = rig.people(3)
        rig.whatsapp.world.faults.without_bundle.update({one: "absent", other: "error"})
        receipt = await engine.send(OFFER, [one, other, third], None)
        assert set(receipt.failed) == {one, other}
        [call] = await rig.calls()
        assert call.recipients == (third,)


async def test_when_all_keys_are_refused_everybody_new_is_told_as_failed() -> None:
    async with open_rig() as rig, rig.open() as engine:
        people = rig.people(3)
        rig.whatsapp.world.faults.add("prekeys", LIMITED)
        receipt = await engine.send(OFFER, people, None)
        assert set(receipt.failed) == set(people)
        assert await rig.calls() == []


async def test_recipients_without_devices_are_told_as_failed() -> None:
    async with open_rig() as rig, rig.open() as engine:
        one, other = rig.people(2)
        rig.whatsapp.world.faults.without_devices.add(one)
        receipt = await engine.send(OFFER, [one, other], None)
        assert set(receipt.failed) == {one}
        [call] = await rig.calls()
        assert call.recipients == (other,)


async def test_a_lost_connection_that_the_library_makes_up_for_is_one_call() -> None:
    async with open_rig() as rig, rig.open() as engine:
        people = rig.people(3)
        rig.whatsapp.world.faults.add("send", Hangup(delivered=True))
        receipt = await engine.send(OFFER, people, None)
        [call] = await rig.calls()
        assert (call.message_id, list(call.recipients)) == (receipt.message_id, people)
        assert receipt.failed == {}


async def test_hidden_ids_in_the_audience_are_people_with_a_number_or_left_out() -> None:
    known, unknown, number = "111111111111111@lid", "222222222222222@lid", "4917700000001@s.whatsapp.net"
    async with open_rig("audience") as rig:
        people = rig.people(20)
        rig.hide(known, number)
        rig.hide(unknown)
        async with rig.open() as engine:
            listed = await engine.audience()
            assert sorted(listed) == sorted([*people, number])
            assert (await engine.send(OFFER, listed, None)).failed == {}
            [call] = await rig.calls()
            assert sorted(call.recipients) == sorted([*people, known])


async def test_a_post_to_the_audience_tells_whom_the_phone_does_not_share_it_with() -> None:
    async with open_rig("audience") as rig, rig.open() as engine:
        one, *others = rig.people(20)
        rig.whatsapp.world.privacy = Privacy("blacklist", (one,))
        assert await engine.audience() == others
        receipt = await engine.send(OFFER, [one, *others], None)
        assert set(receipt.failed) == {one}
        [call] = await rig.calls()
        assert list(call.recipients) == others
