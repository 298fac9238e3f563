"""What the real library posts reaches exactly the contacts, who read exactly that."""

from __future__ import annotations

import pytest

from tests.whatsapp.clients import Client, Failed, numbers, open_paired
from tests.whatsapp.faults import Hangup, Refused
from tests.whatsapp.people import Device
from tests.whatsapp.ratchet import Undecryptable
from tests.whatsapp.server import Whatsapp, open_whatsapp
from tests.whatsapp.world import Privacy

pytestmark = [pytest.mark.whatsapp, pytest.mark.trio]

PICTURE = bytes.fromhex("89504e470d0a1a0a") + bytes(range(256))


def jids(phones: list[str]) -> set[str]:
    return {f"{phone}@s.whatsapp.net" for phone in phones}


def texts(whatsapp: Whatsapp, index: int = -1) -> set[str]:
    """The different texts that the recipients read."""
    return {message.extendedTextMessage.text for message in whatsapp.world.read(index).values()}


@pytest.mark.parametrize("how_many", [1, 100])
async def test_each_contact_is_sent_the_text_and_can_read_it(how_many: int) -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(how_many)) as client:
        message_id = await client.do("status", text="Open till eight")
        [post] = whatsapp.world.ledger.posts
        assert post.message_id == message_id
        assert post.recipients == jids(numbers(how_many))
        assert len(whatsapp.world.read()) == how_many + 1, "the account's own phone reads it as well"
        assert texts(whatsapp) == {"Open till eight"}
        assert whatsapp.world.ledger.unknown == []


async def test_every_device_of_a_contact_reads_it() -> None:
    contact = "4915200000000@s.whatsapp.net"
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(2)) as client:
        whatsapp.world.more_devices[contact] = (3, 7)
        await client.do("status", text="Open till eight")
        readers = set(whatsapp.world.read())
        assert {"4915200000000:3@s.whatsapp.net", "4915200000000:7@s.whatsapp.net", contact} <= readers
        assert whatsapp.world.ledger.posts[0].recipients == jids(numbers(2))


async def test_later_posts_go_to_standing_sessions_and_are_smaller_once_the_contacts_have_answered() -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(20)) as client:
        await client.do("status", text="one")
        await client.do("status", text="two")
        assert [texts(whatsapp, at) for at in (0, 1)] == [{"one"}, {"two"}]
        await everybody_answers(whatsapp, client)
        await client.do("status", text="six")
        assert texts(whatsapp) == {"six"}
        first, second, third = whatsapp.world.ledger.posts
        assert first.kinds() == second.kinds() == {"pkmsg"}, "nobody has confirmed the session yet"
        assert third.kinds() == {"msg"}
        assert third.size < second.size * 0.75


async def everybody_answers(whatsapp: Whatsapp, client: Client) -> None:
    for jid in jids(numbers(20)):
        await whatsapp.answer(jid, "seen")
    await client.count(20, event="Message")


async def test_only_contacts_with_a_name_are_sent_a_post() -> None:
    everybody = numbers(10)
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, everybody) as client:
        await client.do("contacts", names=dict.fromkeys(everybody[4:], ""))
        await client.do("status", text="for four")
        await client.do("contacts", names=dict.fromkeys(everybody[4:], "Somebody"))
        await client.do("status", text="for all")
        four, all_ten = whatsapp.world.ledger.posts
        assert four.recipients == jids(everybody[:4])
        assert all_ten.recipients == jids(everybody)


async def test_what_the_phone_is_set_to_decides_who_is_sent_a_post() -> None:
    one, other, third = sorted(jids(numbers(3)))
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(3)) as client:
        whatsapp.world.privacy = Privacy("blacklist", (one,))
        await client.do("status", text="all but one")
        whatsapp.world.privacy = Privacy("whitelist", (one, other))
        await client.do("status", text="two alone")
        without_one, two = whatsapp.world.ledger.posts
        assert without_one.recipients == {other, third}
        assert two.recipients == {one, other}


async def test_a_picture_is_uploaded_once_and_everybody_sees_it() -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(5)) as client:
        await client.do("image", content=PICTURE.hex(), caption="New in")
        seen = whatsapp.world.read().values()
        assert len(whatsapp.media.files) == 1
        assert {message.imageMessage.caption for message in seen} == {"New in"}
        assert {whatsapp.media.open(message) for message in seen} == {PICTURE}
        assert whatsapp.world.ledger.posts[0].kind == "media"


async def test_nobody_can_read_what_was_made_for_somebody_else_or_was_tampered_with_or_came_before() -> None:
    one, other = sorted(jids(numbers(2)))
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(2)) as client:
        await client.do("status", text="Open till eight")
        post = whatsapp.world.ledger.posts[0]
        mine, to_all = post.to[one], post.to_all.content
        refuses(other, mine.kind, mine.content, to_all)
        refuses(one, mine.kind, flip(mine.content, -1), to_all)
        refuses(one, mine.kind, flip(mine.content, len(mine.content) // 2), to_all)
        refuses(one, mine.kind, post.to[one].content, flip(to_all, -70))
        assert texts(whatsapp) == {"Open till eight"}
        again = Device(one)
        again.receive(mine.kind, mine.content, to_all)
        with pytest.raises(Undecryptable):
            again.receive(mine.kind, mine.content, to_all)


def refuses(jid: str, kind: str, content: bytes, to_all: bytes) -> None:
    """A device with the keys of this one, new each time, cannot open it."""
    with pytest.raises(Undecryptable):
        Device(jid).receive(kind, content, to_all)


def flip(content: bytes, at: int) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)


async def test_a_call_that_reached_somebody_is_told_once_and_equal_content_is_seen_to_be_equal() -> None:
    async with open_whatsapp() as whatsapp, open_paired(whatsapp, numbers(3)) as client:
        whatsapp.world.faults.add("send", Hangup(delivered=True))
        await client.do("status", text="Open till eight")
        await client.do("image", content=PICTURE.hex(), caption="New in")
        await client.do("image", content=PICTURE.hex(), caption="New in")
        await client.do("image", content=PICTURE.hex(), caption="Sold out")
        whatsapp.world.faults.add("send", Refused(429))
        with pytest.raises(Failed):
            await client.do("status", text="Nobody reads this")
        text, picture, same, other = whatsapp.world.calls()
        assert set(text.recipients) == jids(numbers(3))
        assert picture.content == same.content
        assert len({text.content, picture.content, other.content}) == 3
        assert picture.message_id != same.message_id
