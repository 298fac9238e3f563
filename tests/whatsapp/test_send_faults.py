"""What the real library makes of each thing that goes wrong with a post: error text, who was reached, what it logs."""

from __future__ import annotations

import pytest
import trio

from tests.whatsapp.clients import AT_MOST, Client, Failed, numbers, open_paired
from tests.whatsapp.faults import ALWAYS, Fault, Hangup, Point, Refused, Silence, Slow
from tests.whatsapp.server import Whatsapp, open_whatsapp
from tests.whatsapp.test_posts import PICTURE, jids, texts

pytestmark = [pytest.mark.whatsapp, pytest.mark.trio]

LIMITED = Refused(429, "rate-overlimit")
BUSY = Refused(503, "service-unavailable")
NO_LIST = "failed to get broadcast list members: failed to get status privacy: "
NO_HOST = "failed to refresh media connections: failed to query media connections: "
STATUS_429 = "info query returned status 429: rate-overlimit"
STATUS_503 = "info query returned status 503: service-unavailable"
REFUSED_QUERIES: list[tuple[Point, Fault, str]] = [
    ("privacy", LIMITED, NO_LIST + STATUS_429),
    ("privacy", BUSY, NO_LIST + STATUS_503),
    ("devices", LIMITED, f"failed to get device list: failed to send usync query: {STATUS_429}"),
]


async def test_an_error_in_the_acknowledgement_is_an_error_of_the_send_and_the_next_one_goes_out() -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(3)) as client:
        for code in (400, 420, 429, 463, 479):
            whatsapp.world.faults.add("send", Refused(code))
            await fails(client, f"SendMessageError: server returned error {code}")
            await client.do("status", text="again")
            refused, accepted = whatsapp.world.ledger.posts[-2:]
            assert (refused.delivered, accepted.delivered) == (False, True)
            assert texts(whatsapp) == {"again"}


async def test_a_refused_query_fails_the_send_before_anybody_got_it() -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(3)) as client:
        for point, fault, text in REFUSED_QUERIES:
            whatsapp.world.faults.add(point, fault)
            await fails(client, f"SendMessageError: {text}")
        assert whatsapp.world.ledger.posts == []


async def test_refused_prekeys_leave_everybody_new_out_and_the_send_succeeds() -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(3)) as client:
        for fault in (LIMITED, BUSY):
            whatsapp.world.faults.add("prekeys", fault)
            message_id = await client.do("status", text="to nobody")
            assert whatsapp.world.ledger.posts[-1].to == {}
            assert await left_out(client, message_id) >= jids(numbers(3))
        await client.do("status", text="to all")
        assert whatsapp.world.ledger.posts[-1].recipients == jids(numbers(3))


async def test_refused_prekeys_leave_nobody_out_who_has_a_session() -> None:
    old, new = numbers(6)[:3], numbers(6)[3:]
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, old) as client:
        await client.do("status", text="one")
        await client.do("contacts", names=dict.fromkeys(new, "Somebody"))
        whatsapp.world.faults.add("prekeys", LIMITED)
        message_id = await client.do("status", text="two")
        assert whatsapp.world.ledger.posts[-1].recipients == jids(old)
        assert await left_out(client, message_id) == jids(new)


@pytest.mark.parametrize("how", ["absent", "error"])
async def test_a_missing_bundle_leaves_one_contact_out_and_the_send_succeeds(how: str) -> None:
    without, *others = sorted(jids(numbers(4)))
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(4)) as client:
        whatsapp.world.faults.without_bundle[without] = "absent" if how == "absent" else "error"
        message_id = await client.do("status", text="one")
        assert whatsapp.world.ledger.posts[0].recipients == set(others)
        assert await left_out(client, message_id) == {without}


async def test_a_contact_without_devices_is_left_out_and_no_warning_says_so() -> None:
    without, *others = sorted(jids(numbers(4)))
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(4)) as client:
        whatsapp.world.faults.without_devices.add(without)
        message_id = await client.do("status", text="one")
        assert whatsapp.world.ledger.posts[0].recipients == set(others)
        assert await left_out(client, message_id) == set()


async def test_what_the_library_logs_when_it_tells_all_names_everybody_whom_a_post_was_sent_to() -> None:
    without, *others = sorted(jids(numbers(4)))
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(4), level="DEBUG") as client:
        whatsapp.world.faults.without_devices.add(without)
        message_id = await client.do("status", text="one")
        sent = [line for line in await client.logs() if "Client.Send" in line and message_id in line]
        assert len(sent) == 1
        assert {jid for jid in others if f'<to jid="{jid}">' in sent[0]} == set(others)
        assert without not in sent[0]


@pytest.mark.parametrize("delivered", [False, True])
async def test_a_connection_lost_before_the_acknowledgement_is_made_up_for(delivered: bool) -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(3)) as client:
        whatsapp.world.faults.add("send", Hangup(delivered=delivered))
        message_id = await client.do("status", text="one")
        lost, made_up = whatsapp.world.ledger.posts
        assert lost.message_id == made_up.message_id == message_id
        assert lost.to_all == made_up.to_all
        assert (lost.delivered, made_up.delivered) == (delivered, True)
        assert texts(whatsapp) == {"one"}


@pytest.mark.parametrize("point", ["devices", "prekeys"])
async def test_a_connection_lost_at_a_query_sends_the_same_stanza_twice(point: Point) -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(3)) as client:
        whatsapp.world.faults.add(point, Hangup())
        await client.do("status", text="one")
        await arrived(whatsapp, 2)
        first, second = whatsapp.world.ledger.posts
        assert (first.message_id, first.to, first.to_all) == (second.message_id, second.to, second.to_all)


@pytest.mark.parametrize("order", ["stop", "disconnect"])
async def test_a_send_that_waits_for_its_acknowledgement_ends_when_the_client_does(order: str) -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(3)) as client:
        whatsapp.world.faults.add("send", Silence())
        waiting = await client.begin("status", text="one")
        await arrived(whatsapp, 1)
        await client.do(order)
        error = (await client.until(number=waiting))["error"]
        assert error == "SendMessageError: websocket disconnected before message send returned response"
        assert texts(whatsapp) == {"one"}, "it was delivered all the same"


async def test_a_slow_acknowledgement_holds_up_the_next_send_but_no_query() -> None:
    gate = trio.Event()
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(3)) as client:
        whatsapp.world.faults.add("send", Slow(gate))
        first = await client.begin("status", text="one")
        await arrived(whatsapp, 1)
        second = await client.begin("status", text="two")
        assert await client.do("is_connected")
        assert not client.said(number=first)
        gate.set()
        await client.until(number=first)
        await client.until(number=second)
        assert [texts(whatsapp, at) for at in (0, 1)] == [{"one"}, {"two"}]


async def test_nothing_can_be_sent_once_the_client_was_stopped() -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(1)) as client:
        await client.do("stop")
        await fails(client, "SendMessageError: client is nil")


async def test_a_refused_upload_fails_before_anything_is_sent() -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(1)) as client:
        for code in (413, 429, 507):
            whatsapp.world.faults.add("upload", Refused(code))
            with pytest.raises(Failed, match=f"UploadError: upload failed with status code {code}"):
                await client.do("image", content=PICTURE.hex(), caption="")
        assert whatsapp.world.ledger.posts == []


async def test_without_a_host_for_media_the_upload_fails() -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(1)) as client:
        whatsapp.world.faults.add("media", LIMITED, ALWAYS)
        with pytest.raises(Failed, match=f"UploadError: {NO_HOST}{STATUS_429}"):
            await client.do("image", content=PICTURE.hex(), caption="")
        whatsapp.world.faults.lift("media")
        await client.do("image", content=PICTURE.hex(), caption="")


async def fails(client: Client, text: str) -> None:
    """A post fails with exactly this."""
    with pytest.raises(Failed) as failed:
        await client.do("status", text="one")
    assert str(failed.value) == text


async def left_out(client: Client, message_id: str) -> set[str]:
    """Whom the library says at the level of warnings that it did not encrypt a message for."""
    start = f"whatsmeow.Client WARNING Failed to encrypt {message_id} for "
    lines = [line for line in await client.logs() if line.startswith(start)]
    assert all("no signal session established with" in line for line in lines)
    return {line.removeprefix(start).partition(": ")[0] for line in lines}


async def arrived(whatsapp: Whatsapp, count: int) -> None:
    with trio.fail_after(AT_MOST):
        await whatsapp.world.ledger.until(count)
