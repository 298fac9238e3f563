"""Contact staging leaves the contact list of this device as it found it, whatever happens in between."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from errno import EACCES
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import Unavailable
from stages.recipients import canonical
from tests.support import people
from transports.neonize import posting
from transports.neonize.client import Client, ClientError, Contact, Privacy
from transports.neonize.posting import Poster
from transports.neonize.staging import STAND_IN, Change, changes_for, recover, staged, to_put_back

ACCOUNT = "6289900000001:7@s.whatsapp.net"
PEOPLE = people(6)


class Contacts:
    """The part of a client that staging uses. With `fails`, names cannot be written."""

    def __init__(self, *contacts: Contact) -> None:
        self.entries = {contact.jid: contact for contact in contacts}
        self.fails = False

    def contacts(self) -> Sequence[Contact]:
        return list(self.entries.values())

    def rename(self, contacts: Sequence[Contact]) -> None:
        if self.fails:
            raise ClientError("database is locked")
        self.entries.update((contact.jid, contact) for contact in contacts)

    def privacy(self) -> Privacy:
        return Privacy()

    def numbers(self, hidden: Collection[str]) -> Mapping[str, str]:
        return {}

    def named(self) -> set[str]:
        return {jid for jid, contact in self.entries.items() if contact.full_name}

    @property
    def client(self) -> Client:
        return cast("Client", self)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "staged.json"


def quiet(_: str) -> None:
    pass


@given(
    named=st.sets(st.sampled_from(PEOPLE)),
    unnamed=st.sets(st.sampled_from(PEOPLE)),
    recipients=st.sets(st.sampled_from(PEOPLE)),
)
def test_exactly_the_recipients_are_named_meanwhile_and_all_is_as_before_after_it(
    tmp_path_factory: pytest.TempPathFactory, named: set[str], unnamed: set[str], recipients: set[str]
) -> None:
    journal = tmp_path_factory.mktemp("staging") / "staged.json"
    list_of = Contacts(*(Contact(jid, f"N {jid}", "F") for jid in named), *map(Contact, unnamed - named))
    before = dict(list_of.entries)
    with staged(list_of.client, journal, ACCOUNT, recipients, quiet):
        assert list_of.named() == recipients
        assert journal.exists() == (recipients != named)
    assert {jid: entry for jid, entry in list_of.entries.items() if jid in before} == before
    assert list_of.named() == named
    assert not journal.exists()


def test_the_journal_is_there_before_the_first_name_changes(journal: Path) -> None:
    list_of = Contacts(Contact(PEOPLE[0], "Ana"))
    list_of.fails = True
    with pytest.raises(ClientError), staged(list_of.client, journal, ACCOUNT, {PEOPLE[1]}, quiet):
        pytest.fail("it went on")
    assert journal.exists()
    list_of.fails = False
    recover(list_of.client, journal, ACCOUNT, quiet)
    assert list_of.named() == {PEOPLE[0]}
    assert not journal.exists()


def test_what_could_not_be_put_back_is_put_back_before_the_next_call(journal: Path) -> None:
    list_of = Contacts(*(Contact(jid, "Name") for jid in PEOPLE))
    notes: list[str] = []
    with staged(list_of.client, journal, ACCOUNT, set(PEOPLE[:2]), notes.append):
        list_of.fails = True
    assert notes
    list_of.fails = False
    with staged(list_of.client, journal, ACCOUNT, set(PEOPLE[2:]), notes.append):
        assert list_of.named() == set(PEOPLE[2:])
    assert list_of.named() == set(PEOPLE)


def test_the_audience_is_never_read_off_a_contact_list_that_is_still_staged(journal: Path) -> None:
    list_of = Contacts(*(Contact(jid, "Name") for jid in PEOPLE))
    poster = Poster(list_of.client, ACCOUNT, "contact-staging", journal, lambda content: content, quiet)
    with staged(list_of.client, journal, ACCOUNT, set(PEOPLE[:2]), quiet):
        list_of.fails = True
    with pytest.raises(Unavailable, match="locked"):
        posting.audience(poster)
    list_of.fails = False
    assert posting.audience(poster) == sorted(PEOPLE)


def test_a_journal_that_cannot_be_removed_takes_nothing_from_a_post_that_went_out(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_of = Contacts(Contact(PEOPLE[0], "Ana"))
    notes: list[str] = []

    def refuse(_: Path) -> None:
        raise PermissionError(EACCES, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    with staged(list_of.client, journal, ACCOUNT, {PEOPLE[1]}, notes.append):
        assert list_of.named() == {PEOPLE[1]}
    assert "Permission denied" in notes[0]
    assert list_of.named() == {PEOPLE[0]}


def test_a_name_that_changed_on_the_phone_meanwhile_stays_as_it_is_there(journal: Path) -> None:
    list_of = Contacts(Contact(PEOPLE[0], "Ana"), Contact(PEOPLE[1], "Ben"))
    with staged(list_of.client, journal, ACCOUNT, {PEOPLE[1], PEOPLE[2]}, quiet):
        list_of.rename([Contact(PEOPLE[0], "Anna"), Contact(PEOPLE[2], "Cleo")])
    assert {jid: entry.full_name for jid, entry in list_of.entries.items()} == {
        PEOPLE[0]: "Anna",
        PEOPLE[1]: "Ben",
        PEOPLE[2]: "Cleo",
    }


def test_a_journal_of_another_account_is_dropped(journal: Path) -> None:
    list_of = Contacts(Contact(PEOPLE[0], "Ana"))
    list_of_other = Contacts(Contact(PEOPLE[1], "Ben"))
    list_of_other.fails = True
    with pytest.raises(ClientError), staged(list_of_other.client, journal, "other", {PEOPLE[2]}, quiet):
        pytest.fail("it went on")
    recover(list_of.client, journal, ACCOUNT, quiet)
    assert list_of.named() == {PEOPLE[0]}
    assert not journal.exists()


def test_a_journal_that_cannot_be_read_stops_nothing_and_is_kept_for_a_person(journal: Path) -> None:
    journal.write_text("{")
    notes: list[str] = []
    recover(Contacts().client, journal, ACCOUNT, notes.append)
    assert notes
    assert not journal.exists()
    assert journal.with_suffix(".unreadable").read_text() == "{"


def test_hidden_ids_are_recipients_like_any_other() -> None:
    hidden = "123456789012345@lid"
    assert changes_for([Contact(hidden)], {hidden}) == [Change(Contact(hidden), Contact(hidden, STAND_IN))]
    assert canonical(hidden) == hidden
    assert to_put_back([Change(Contact(hidden), Contact(hidden, STAND_IN))], []) == []
