"""A client is linked by QR code or by a typed code, and stays linked over its restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.whatsapp.clients import OWNER, numbers, open_client, open_paired
from tests.whatsapp.server import open_whatsapp

pytestmark = [pytest.mark.whatsapp, pytest.mark.trio]


async def test_a_scanned_code_links_the_client() -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp) as client:
        assert [one.jid for one in whatsapp.online()] == [f"{OWNER}:1@s.whatsapp.net"]
        [paired] = client.said(event="PairStatus")
        assert paired["ID"]["User"] == OWNER
        assert await client.do("is_connected")
        assert await client.do("is_logged_in")


async def test_a_typed_code_links_the_client(tmp_path: Path) -> None:
    async with open_whatsapp() as whatsapp, open_client(whatsapp, tmp_path / "session.db") as client:
        await client.begin("connect")
        await client.until(event="QRCode")
        code = await client.do("pair_phone", phone=OWNER)
        await whatsapp.type_code(code, OWNER)
        await client.until(event="Connected")
        await client.do("contacts", names={numbers(1)[0]: "Somebody"})
        await client.do("status", text="linked")
        assert {one.extendedTextMessage.text for one in whatsapp.world.read().values()} == {"linked"}


async def test_a_client_that_comes_back_is_still_linked(tmp_path: Path) -> None:
    store = tmp_path / "session.db"
    async with open_whatsapp() as whatsapp:
        async with open_client(whatsapp, store) as client:
            await client.begin("connect")
            await whatsapp.scan((await client.until(event="QRCode"))["code"], OWNER)
            await client.until(event="Connected")
            await client.do("stop")
        async with open_client(whatsapp, store) as client:
            await client.begin("connect")
            await client.until(event="Connected")
            assert not client.said(event="QRCode")
            assert len(whatsapp.world.account(OWNER).devices) == 1


async def test_a_client_of_a_device_that_was_removed_is_logged_out_when_it_comes_back(tmp_path: Path) -> None:
    store = tmp_path / "session.db"
    async with open_whatsapp() as whatsapp:
        async with open_client(whatsapp, store) as client:
            await client.begin("connect")
            await whatsapp.scan((await client.until(event="QRCode"))["code"], OWNER)
            await client.until(event="Connected")
            await client.do("stop")
        whatsapp.world.account(OWNER).devices.clear()
        async with open_client(whatsapp, store) as client:
            await client.begin("connect")
            assert (await client.until(event="LoggedOut"))["OnConnect"] is True
