"""The waha engine posts what it is asked to, to whom it is asked to, under the id it is asked for."""

from __future__ import annotations

import logging
import re
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import trio

from stages.errors import ContentRefused, EngineFailure, OutcomeUnknown, SessionLost, TooLarge, Unavailable
from stages.message_id import message_id_of
from stages.messages import Content, Image, Text, Video, Voice
from tests.support import people
from tests.waha.faults import answer, by_whatsapp, manner, session_is
from tests.waha.rig import WahaRig, open_rig
from tests.waha.world import Settings
from transports.waha import Waha

HELLO = Text(text="Hello!", background_color="#102030", font=3)
PICTURE = bytes(range(256))
ID = message_id_of("main", "sale")
CONTENTS: Sequence[Content] = [
    HELLO,
    Image(mimetype="image/jpeg", url="https://media.example/a.jpg", caption="Look"),
    Image(mimetype="image/jpeg", data=PICTURE),
    Video(mimetype="video/mp4", url="https://media.example/a.mp4", caption="Look"),
    Video(mimetype="video/webm", data=PICTURE),
    Voice(mimetype="audio/ogg; codecs=opus", url="https://media.example/a.opus"),
    Voice(mimetype="audio/mpeg", data=PICTURE),
]


def bodies(rig: WahaRig) -> list[dict[str, Any]]:
    return [msgspec.json.decode(one.body) for one in rig.waha.requests if one.method == "POST"]


@pytest.mark.trio
@pytest.mark.parametrize("engine", ["GOWS", "NOWEB"])
@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: type(content).__name__)
async def test_every_kind_of_content_goes_out_as_waha_wants_it(content: Content, engine: str) -> None:
    async with open_rig(Settings(engine=engine)) as rig, rig.open() as waha:
        receipt = await waha.send(content, rig.people(3), ID)
        [call] = rig.waha.ledger.calls
    assert (receipt.message_id, receipt.failed) == (ID, {})
    assert (call.message_id, call.recipients) == (ID, tuple(rig.people(3)))
    assert call.kind == type(content).__name__.lower()
    assert rig.waha.ledger.problems == []


@pytest.mark.trio
async def test_a_text_keeps_its_colour_and_font_and_links_are_not_previewed_unless_wanted() -> None:
    for wanted in (False, True):
        options = Waha(timeout=5, link_preview=wanted)
        async with open_rig(options=options) as rig, rig.open() as waha:
            await waha.send(HELLO, rig.people(1), ID)
        [body] = bodies(rig)
        assert (body["text"], body["backgroundColor"], body["font"]) == ("Hello!", "#102030", 3)
        assert body["linkPreview"] is wanted


@pytest.mark.trio
async def test_media_goes_by_its_address_or_as_base64_with_mimetype_and_caption() -> None:
    async with open_rig() as rig, rig.open() as waha:
        for content in CONTENTS[1:3]:
            await waha.send(content, rig.people(1), ID)
    by_address, inline = bodies(rig)
    assert by_address["file"] == {"mimetype": "image/jpeg", "url": "https://media.example/a.jpg"}
    assert by_address["caption"] == "Look"
    assert b64decode(inline["file"]["data"], validate=True) == PICTURE
    assert "caption" not in inline


@pytest.mark.trio
async def test_only_media_that_whatsapp_cannot_play_is_converted() -> None:
    async with open_rig() as rig, rig.open() as waha:
        for content in CONTENTS[3:]:
            await waha.send(content, rig.people(1), ID)
    assert [body["convert"] for body in bodies(rig)] == [False, True, False, True]


@pytest.mark.trio
async def test_content_is_the_same_from_the_anchor_to_the_last_batch() -> None:
    async with open_rig() as rig, rig.open() as waha:
        for content in CONTENTS:
            for part in (rig.people(1), rig.people(40)[1:], rig.people(60)[40:]):
                await waha.send(content, part, ID)
    digests = [call.content for call in rig.waha.ledger.calls]
    assert all(len(set(digests[at : at + 3])) == 1 for at in range(0, len(digests), 3))


@pytest.mark.trio
async def test_the_account_itself_is_in_every_call_once_and_in_no_receipt() -> None:
    async with open_rig() as rig, rig.open() as waha:
        itself, hidden = "628110000001@s.whatsapp.net", "99110000001@lid"
        for recipients in (rig.people(2), [*rig.people(1), itself], [hidden, itself], [itself]):
            receipt = await waha.send(HELLO, recipients, ID)
            assert receipt.failed == {}
    assert [call.own for call in rig.waha.ledger.calls] == [True] * 4
    assert [body["contacts"].count("628110000001@c.us") for body in bodies(rig)] == [1] * 4
    assert [len(body["contacts"]) for body in bodies(rig)] == [3, 2, 1, 1]
    assert rig.waha.ledger.problems == []


@pytest.mark.trio
async def test_hidden_ids_stay_what_they_are() -> None:
    async with open_rig() as rig, rig.open() as waha:
        await waha.send(HELLO, ["123456789012345@lid"], ID)
    assert "123456789012345@lid" in bodies(rig)[0]["contacts"]
    assert rig.waha.ledger.problems == []


@pytest.mark.trio
async def test_without_an_id_waha_is_asked_for_one_before_the_call() -> None:
    async with open_rig() as rig, rig.open() as waha:
        receipts = [await waha.send(HELLO, rig.people(1), None) for _ in range(2)]
    asked = [body["id"] for body in bodies(rig)]
    assert [receipt.message_id for receipt in receipts] == asked
    assert len(set(asked)) == 2


@pytest.mark.trio
@pytest.mark.parametrize("given", [answer(200, {"id": ""}), answer(200, b"<html>"), answer(200, [])])
async def test_nothing_goes_out_without_an_id_that_can_be_read(given: Any) -> None:
    async with open_rig() as rig, rig.open() as waha:
        rig.waha.meets(given, on="new-id")
        with pytest.raises(Unavailable):
            await waha.send(HELLO, rig.people(1), None)
    assert rig.waha.posts == 0


@pytest.mark.trio
@pytest.mark.parametrize("serialized", [True, False])
async def test_the_receipt_has_the_id_in_both_shapes_of_answers(serialized: bool) -> None:
    async with open_rig(Settings(serialized=serialized)) as rig, rig.open() as waha:
        assert (await waha.send(HELLO, rig.people(1), ID)).message_id == ID


@pytest.mark.trio
async def test_a_receipt_says_so_when_waha_used_an_id_of_its_own() -> None:
    async with open_rig(Settings(answered_id="3EB0AAAAAAAAAAAAAAAAAA")) as rig, rig.open() as waha:
        assert (await waha.send(HELLO, rig.people(1), ID)).message_id == "3EB0AAAAAAAAAAAAAAAAAA"


@pytest.mark.trio
@pytest.mark.parametrize("shape", ["key", "id"])
async def test_an_answer_too_long_to_be_read_whole_still_gives_the_id(shape: str) -> None:
    start = {
        "key": f'{{"key":{{"fromMe":true,"id":"{ID}"}},',
        "id": f'{{"id":"true_status@broadcast_{ID}_1@c.us",',
    }
    async with open_rig(options=Waha(timeout=20)) as rig, rig.open() as waha:
        rig.waha.meets(manner("endless", body=start[shape].encode() + b'"_data":"'))
        assert (await waha.send(HELLO, rig.people(1), ID)).message_id == ID


@pytest.mark.trio
async def test_no_call_is_larger_than_what_waha_sends_in_one_piece() -> None:
    async with open_rig(options=Waha(timeout=20)) as rig, rig.open() as waha:
        most = waha.capabilities.max_batch
        assert most == 499
        await waha.send(HELLO, rig.people(most), ID)
        with pytest.raises(TooLarge):
            await waha.send(HELLO, rig.people(most + 1), ID)
    assert [(len(call.recipients), call.stanzas) for call in rig.waha.ledger.calls] == [(499, 1)]


@pytest.mark.trio
async def test_413_for_one_recipient_is_the_content_and_not_the_batch() -> None:
    async with open_rig() as rig, rig.open() as waha:
        rig.waha.meets(answer(413, {"message": "request entity too large"}))
        with pytest.raises(ContentRefused):
            await waha.send(HELLO, rig.people(1), ID)


@pytest.mark.trio
async def test_a_session_that_was_not_working_when_opened_sends_once_it_is() -> None:
    async with open_rig(Settings(state="STARTING")) as rig, rig.open() as waha:
        for state, failure in (("STARTING", Unavailable), ("SCAN_QR_CODE", SessionLost)):
            rig.waha.settings.state = state
            with pytest.raises(failure):
                await waha.send(HELLO, rig.people(1), ID)
        assert rig.waha.posts == 0
        rig.waha.settings.state = "WORKING"
        await waha.send(HELLO, rig.people(1), ID)
    assert rig.waha.ledger.problems == []


@pytest.mark.trio
async def test_after_another_account_was_linked_the_calls_have_its_id() -> None:
    async with open_rig() as rig, rig.open() as waha:
        await waha.send(HELLO, rig.people(1), ID)
        rig.waha.meets(session_is("SCAN_QR_CODE"))
        with pytest.raises(SessionLost):
            await waha.send(HELLO, rig.people(1), ID)
        rig.waha.settings.own, rig.waha.settings.own_lid = "628110000002@c.us", "99110000002@lid"
        await waha.send(HELLO, rig.people(1), ID)
    assert rig.waha.ledger.problems == []


@pytest.mark.trio
@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("WORKING", "ready"),
        ("STARTING", "starting"),
        ("SCAN_QR_CODE", "lost"),
        ("STOPPED", "lost"),
        ("FAILED", "lost"),
        ("PASSKEY_REQUIRED", "lost"),
        ("MISSING", "lost"),
        ("SOMETHING_NEW", "unavailable"),
    ],
)
async def test_status_is_that_of_wahas_session(state: str, told: str) -> None:
    async with open_rig() as rig, rig.open() as waha:
        rig.waha.settings.state = state
        status = await waha.status()
    assert status.state == told
    assert (status.reason == "") == (told == "ready")


@pytest.mark.trio
async def test_status_tells_a_restricted_account_and_a_refused_key() -> None:
    async with open_rig() as rig, rig.open() as waha:
        locked = {"id": "628110000001@c.us", "reachoutTimelock": {"isActive": True}}
        rig.waha.meets(answer(200, {"name": "main", "status": "WORKING", "me": locked}), on="session")
        assert (await waha.status()).state == "restricted"
        rig.waha.meets(answer(401, {"message": "Unauthorized", "statusCode": 401}), on="session")
        assert (await waha.status()).state == "lost"


@pytest.mark.trio
async def test_status_remembers_what_was_wrong_with_the_account_until_a_call_goes_through() -> None:
    async with open_rig() as rig, rig.open() as waha:
        for code, told in ((463, "restricted"), (403, "lost")):
            rig.waha.meets(by_whatsapp(code))
            with pytest.raises(EngineFailure):
                await waha.send(HELLO, rig.people(1), ID)
            assert (await waha.status()).state == told
            await waha.send(HELLO, rig.people(1), ID)
            assert (await waha.status()).state == "ready"


@pytest.mark.trio
async def test_status_is_ready_again_once_a_person_has_linked_the_session_again() -> None:
    async with open_rig() as rig, rig.open() as waha:
        rig.waha.meets(by_whatsapp(403))
        with pytest.raises(SessionLost):
            await waha.send(HELLO, rig.people(1), ID)
        for state, told in (("SCAN_QR_CODE", "lost"), ("WORKING", "ready")):
            rig.waha.settings.state = state
            assert (await waha.status()).state == told


@pytest.mark.trio
@pytest.mark.parametrize(
    "how", [manner("reset"), manner("silent"), answer(200, b"<html>"), answer(429, {}), answer(500, {})]
)
async def test_status_is_unavailable_where_waha_does_not_say_it(how: Any) -> None:
    async with open_rig() as rig, rig.open() as waha:
        rig.waha.meets(how, on="session")
        with pytest.raises(Unavailable):
            await waha.status()


@pytest.mark.trio
async def test_it_lists_no_audience() -> None:
    async with open_rig() as rig, rig.open() as waha:
        assert not waha.capabilities.lists_audience
        with pytest.raises(ContentRefused):
            await waha.audience()


@pytest.mark.trio
async def test_nothing_goes_out_after_the_block() -> None:
    async with open_rig() as rig:
        async with rig.open() as waha:
            await waha.send(HELLO, rig.people(1), ID)
        before = len(rig.waha.requests)
        with pytest.raises(Unavailable):
            await waha.send(HELLO, rig.people(1), ID)
        with pytest.raises(Unavailable):
            await waha.status()
        assert len(rig.waha.requests) == before


@pytest.mark.trio
async def test_a_call_can_be_cancelled_in_the_middle_and_the_engine_goes_on() -> None:
    async with open_rig(options=Waha(timeout=3_000)) as rig, rig.open() as waha:
        rig.waha.meets(manner("silent"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waha.send, HELLO, rig.people(1), ID)
            await rig.waha.arrived(1)
            nursery.cancel_scope.cancel()
        await waha.send(HELLO, rig.people(1), ID)
    assert len(rig.waha.ledger.calls) == 1


@pytest.mark.trio
async def test_a_call_in_the_middle_ends_with_the_block() -> None:
    options = Waha(timeout=3_000)
    async with open_rig(options=options) as rig, trio.open_nursery() as nursery, rig.open() as waha:
        rig.waha.meets(manner("silent"))

        async def call() -> None:
            with pytest.raises(OutcomeUnknown):
                await waha.send(HELLO, rig.people(1), ID)

        nursery.start_soon(call)
        await rig.waha.arrived(1)


@pytest.mark.trio
async def test_a_large_call_that_is_cut_off_on_its_way_is_one_that_may_have_been_sent() -> None:
    large = Image(mimetype="image/png", data=bytes(8_000_000))
    async with open_rig(options=Waha(timeout=20)) as rig, rig.open() as waha:
        rig.waha.meets(manner("unread"))
        with pytest.raises(OutcomeUnknown):
            await waha.send(large, rig.people(1), ID)
        await waha.send(large, rig.people(1), ID)
    assert len(rig.waha.ledger.calls) == 1


@pytest.mark.trio
async def test_calls_run_side_by_side_up_to_the_limit_of_connections() -> None:
    async with open_rig(options=Waha(timeout=20, connections=3)) as rig, rig.open() as waha:
        async with trio.open_nursery() as nursery:
            for person in people(30):
                nursery.start_soon(waha.send, HELLO, [person], ID)
        assert len(rig.waha.ledger.audience(ID)) == 30
        assert 1 < rig.waha.peak <= 3


@pytest.mark.trio
async def test_with_no_connection_free_nothing_was_sent() -> None:
    options = Waha(timeout=3_000, connections=1, connect_timeout=0.1)
    async with open_rig(options=options) as rig, rig.open() as waha, trio.open_nursery() as nursery:
        rig.waha.meets(manner("silent"))
        nursery.start_soon(waha.send, HELLO, rig.people(1), ID)
        await rig.waha.arrived(1)
        with pytest.raises(Unavailable):
            await waha.send(HELLO, rig.people(1), ID)
        nursery.cancel_scope.cancel()
    assert rig.waha.posts == 1


@pytest.mark.trio
async def test_logs_hold_neither_key_nor_content_nor_numbers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    settings = Settings(api_key="very-secret-key")
    async with (
        open_rig(settings, options=Waha(timeout=5, api_key="very-secret-key")) as rig,
        rig.open() as waha,
    ):
        await waha.send(Text(text="confidential"), rig.people(2), ID)
        await rig.arrange("403 by WhatsApp")
        with pytest.raises(SessionLost):
            await waha.send(Text(text="confidential"), rig.people(2), ID)
    said = caplog.text
    assert "very-secret-key" not in said
    assert "confidential" not in said
    assert not re.search(r"62812\d", said)
