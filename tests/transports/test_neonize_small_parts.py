"""The small parts of the neonize engine: frames, the probe, drops, the audience, the cache, the store."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.messages import Image, Text
from tests.support import people
from transports.neonize.audience import audience_of, left_out, own_jid, shared_with
from transports.neonize.built import IDLE, KEPT, BuiltMessages
from transports.neonize.client import Contact, Privacy
from transports.neonize.drops import Drops
from transports.neonize.frames import (
    Abilities,
    FrameError,
    Hello,
    Order,
    Post,
    Posted,
    Unframed,
    framed,
    order_in,
    word_in,
)
from transports.neonize.masking import masked
from transports.neonize.probe import Parameters, parameters_of
from transports.neonize.store import StoreError, open_store

ANA, BEN, CLEO = people(3)


# Frames


@given(pieces=st.lists(st.integers(1, 40), min_size=1))
def test_frames_come_out_whole_however_they_are_cut(pieces: list[int]) -> None:
    orders = [
        Post(call=1, content=Text(text="Hi"), recipients=[ANA]),
        Post(call=2, content=Image(mimetype="image/png", data=b"\x00" * 99), recipients=[BEN, CLEO]),
    ]
    stream, unframed, place = b"".join(map(framed, orders)), Unframed(), 0
    found: list[Order] = []
    for size in [*pieces, len(b"".join(map(framed, orders)))]:
        found += map(order_in, unframed.feed(stream[place : place + size]))
        place += size
    assert found == orders


def test_words_keep_what_they_say() -> None:
    word = Posted(call=3, message_id="3EB0", failed={ANA: "keys-unavailable"})
    [body] = Unframed().feed(framed(word))
    assert word_in(body) == word


def test_a_stream_out_of_step_is_noticed() -> None:
    with pytest.raises(FrameError):
        list(Unframed().feed(b"\xff\xff\xff\xff"))
    with pytest.raises(FrameError):
        word_in(b"Press Ctrl+C to exit")
    [body] = Unframed().feed(framed(Hello(abilities=Abilities())))
    with pytest.raises(FrameError):
        order_in(body)


# The probe


def test_a_signature_like_the_present_one_takes_neither() -> None:
    def send_message(to: str, message: str, link_preview: bool = False) -> None: ...

    assert parameters_of(send_message) == Parameters()


def test_a_signature_that_takes_an_id_or_recipients_is_noticed() -> None:
    def with_id(to: str, message: str, *, message_id: str | None = None) -> None: ...
    def with_both(to: str, message: str, id: str = "", participants: tuple[str, ...] = ()) -> None: ...

    assert parameters_of(with_id) == Parameters(message_id="message_id")
    assert parameters_of(with_both) == Parameters(message_id="id", recipients="participants")


def test_a_name_that_swallows_anything_is_no_parameter() -> None:
    def send_message(to: str, **recipients: str) -> None: ...

    assert parameters_of(send_message) == Parameters()


# Drops


def test_what_was_left_out_is_known_by_message_and_taken_once() -> None:
    drops = Drops()
    assert drops.hear(f"Failed to encrypt A for {ANA}: no signal session")
    assert drops.hear(f"Failed to encrypt B for {BEN}: no signal session")
    assert not drops.hear("Failed to do something else")
    assert (drops.take("A"), drops.take("B"), drops.take("A")) == ([ANA], [BEN], [])


def test_messages_that_nobody_asks_for_do_not_pile_up() -> None:
    drops = Drops()
    for number in range(1_000):
        drops.hear(f"Failed to encrypt {number} for {ANA}: no signal session")
    assert drops.take("0") == []
    assert drops.take("999") == [ANA]


# The audience


def test_the_audience_is_the_contacts_with_a_full_name_without_the_own_phone() -> None:
    contacts = [Contact(ANA, "Ana"), Contact(BEN, "", "Ben"), Contact(CLEO, "Me"), Contact("x@g.us", "G")]
    own = own_jid(CLEO.replace("@", ":7@"))
    assert audience_of(shared_with(contacts, Privacy()), {}, own).people == {ANA}


def test_a_hidden_id_is_the_person_with_its_number_and_nobody_without_one() -> None:
    known, unknown, own = "111111111111111@lid", "222222222222222@lid", "333333333333333@lid"
    found = audience_of([BEN, known, unknown, own], {known: ANA, own: CLEO}, CLEO)
    assert (set(found.people), set(found.nobody)) == ({ANA, BEN}, {unknown})
    dropped = [known.replace("@", ":0@"), unknown]
    assert left_out([ANA, BEN], dropped=dropped, numbers=found.numbers) == {ANA: "keys-unavailable"}


def test_a_phone_that_was_left_out_is_a_person_left_out_and_another_device_is_not() -> None:
    devices = [ANA, BEN.replace("@", ":3@"), CLEO.replace("@", ":0@")]
    assert left_out([ANA, BEN, CLEO], dropped=devices) == {ANA: "keys-unavailable", CLEO: "keys-unavailable"}


# The cache


def test_a_story_is_built_once_and_anew_when_it_was_not_used_for_long() -> None:
    built, now = list[object](), [0.0]

    def build(content: object) -> object:
        built.append(content)
        return object()

    messages = BuiltMessages(build, lambda: now[0])
    story = Image(mimetype="image/png", url="https://example.org/today.png")
    first = messages.of(story)
    now[0] += IDLE
    assert messages.of(story) is first
    now[0] += IDLE + 1
    assert messages.of(story) is not first
    for number in range(KEPT):
        messages.of(Text(text=str(number)))
    messages.of(story)
    assert len(built) == 2 + KEPT + 1


# The store


def test_the_account_is_read_also_from_a_store_with_a_comma_in_its_name(tmp_path: Path) -> None:
    store = open_store(tmp_path / "sessions", "main")
    assert store.account() is None
    with closing(sqlite3.connect(store.database)) as connection, connection:
        connection.execute("CREATE TABLE whatsmeow_device (jid TEXT, push_name TEXT)")
        assert store.account() is None
        connection.execute("INSERT INTO whatsmeow_device VALUES (?, 'Ana, the baker')", (ANA,))
    assert store.account() == ANA
    store.close()


HALFWAY = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("CREATE TABLE whatsmeow_device (jid TEXT)")
connection.execute("INSERT INTO whatsmeow_device VALUES ('6281200000001@s.whatsapp.net')")
connection.execute("CREATE TABLE filler (x)")
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN")
connection.execute("DELETE FROM whatsmeow_device")
connection.executemany("INSERT INTO filler VALUES (?)", [(os.urandom(2000),) for _ in range(100)])
os._exit(0)
"""


def test_a_store_that_a_process_left_half_written_is_read_as_it_was_before(tmp_path: Path) -> None:
    store = open_store(tmp_path, "main")
    subprocess.run([sys.executable, "-c", HALFWAY, str(store.database)], check=True)
    assert store.database.with_name(f"{store.database.name}-journal").exists(), "nothing is half written"
    assert store.account() == "6281200000001@s.whatsapp.net"
    store.close()


def test_a_file_that_is_no_store_is_said_to_be_none(tmp_path: Path) -> None:
    store = open_store(tmp_path, "main")
    store.database.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="no database"):
        store.account()
    store.close()


@pytest.mark.parametrize("name", ["..", "a/b", "", "main\n"])
def test_a_name_that_leads_elsewhere_is_no_session(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError):
        open_store(tmp_path, name)


def test_numbers_are_masked_wherever_they_stand() -> None:
    assert (
        masked("for 6281234567890:12@s.whatsapp.net,\nerror 463")
        == "for 628...90:12@s.whatsapp.net, error 463"
    )
