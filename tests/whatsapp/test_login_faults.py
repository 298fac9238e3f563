"""What the real library tells when the server ends its connection or does not let it in."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.whatsapp.clients import AT_MOST, Client, Failed, numbers, open_paired
from tests.whatsapp.faults import Hangup, LoginFailure, Stream
from tests.whatsapp.server import open_whatsapp
from tests.whatsapp.test_posts import texts

pytestmark = [pytest.mark.whatsapp, pytest.mark.trio]

NOT_CONNECTED = "failed to get status privacy: (websocket not connected|frame socket is closed)$"
NO_DEVICE = "the store doesn't contain a device JID"
BAN = LoginFailure(402, (("code", "101"), ("expire", "3600")))


REFUSALS: list[tuple[LoginFailure, dict[str, Any], str]] = [
    (BAN, {"event": "TemporaryBan", "Code": "SEND_TO_TOO_MANY_PEOPLE", "Expire": "3600"}, NOT_CONNECTED),
    (LoginFailure(400), {"event": "ConnectFailure", "Reason": "GENERIC"}, NOT_CONNECTED),
    (LoginFailure(401), {"event": "LoggedOut", "OnConnect": True, "Reason": "LOGGED_OUT"}, NO_DEVICE),
    (LoginFailure(403), {"event": "LoggedOut", "OnConnect": True, "Reason": "MAIN_DEVICE_GONE"}, NO_DEVICE),
    (LoginFailure(405), {"event": "ClientOutdated"}, NOT_CONNECTED),
    (LoginFailure(406), {"event": "LoggedOut", "OnConnect": True, "Reason": "UNKNOWN_LOGOUT"}, NO_DEVICE),
    (LoginFailure(409), {"event": "ConnectFailure", "Reason": "BAD_USER_AGENT"}, NOT_CONNECTED),
]


async def test_a_refused_login_is_an_event_and_sends_fail() -> None:
    async with trio.open_nursery() as nursery:
        for refusal in REFUSALS:
            nursery.start_soon(is_told, *refusal)


async def is_told(failure: LoginFailure, told: dict[str, Any], then: str) -> None:
    """A client that comes back and meets this says so, and can send nothing."""
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(1)) as client:
        whatsapp.world.faults.add("login", failure)
        whatsapp.cut_off()
        await client.until(event="Disconnected")
        await client.until(**told)
        await offline(client)
        with pytest.raises(Failed, match=then):
            await client.do("status", text="one")


async def test_a_client_that_was_refused_still_says_that_it_is_logged_in_but_not_that_it_is_connected() -> (
    None
):
    async with open_whatsapp() as whatsapp, open_paired(whatsapp) as client:
        whatsapp.world.faults.add("login", BAN)
        whatsapp.cut_off()
        await client.until(event="TemporaryBan")
        await offline(client)
        assert await client.do("is_logged_in")
        assert not await client.do("is_connected")


async def test_a_server_that_is_unavailable_is_asked_again() -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(1)) as client:
        whatsapp.world.faults.add("login", LoginFailure(503))
        whatsapp.cut_off()
        await client.count(2, event="Disconnected")
        await client.count(2, event="Connected")
        await client.do("status", text="one")
        assert texts(whatsapp) == {"one"}


async def test_a_connection_cut_off_in_the_login_is_made_again() -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(1)) as client:
        whatsapp.world.faults.add("login", Hangup())
        whatsapp.cut_off()
        await client.count(2, event="Connected")
        assert not client.said(event="LoggedOut")


async def test_a_logout_by_the_phone_ends_the_session_for_good() -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(1)) as client:
        await whatsapp.log_out(whatsapp.online()[0].phone)
        await client.until(event="LoggedOut", OnConnect=False, Reason="LOGGED_OUT")
        await offline(client)
        with pytest.raises(Failed, match=NO_DEVICE):
            await client.do("status", text="one")


async def test_a_stream_that_was_replaced_does_not_come_back() -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(1)) as client:
        await whatsapp.end_streams(Stream(conflict="replaced"))
        await client.until(event="StreamReplaced")
        await offline(client)
        assert not client.said(event="Disconnected")
        with pytest.raises(Failed, match=NOT_CONNECTED):
            await client.do("status", text="one")


@pytest.mark.parametrize(("code", "event"), [("503", "Disconnected"), ("500", "StreamError")])
async def test_other_errors_of_the_stream_are_got_over(code: str, event: str) -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(1)) as client:
        await whatsapp.end_streams(Stream(code))
        await client.until(event=event)
        await client.count(2, event="Connected")
        await client.do("status", text="one")
        assert texts(whatsapp) == {"one"}


async def offline(client: Client) -> None:
    """Wait until the library has noticed that it is alone."""
    with trio.fail_after(AT_MOST):
        while await client.do("is_connected"):
            await trio.lowlevel.checkpoint()
