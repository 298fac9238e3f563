"""Contact staging: the contact list of this linked device, made to name exactly the recipients of a batch.

WhatsApp's client posts to the contacts that have a full name. For the length of one post the names of all others are
taken out of this device's local copy, and recipients without one get one. What was there is written to a journal
first, and put back after the post; a journal that is found at the next start is put back before anything else.
Nothing of it leaves this device: neither the phone nor WhatsApp hears of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from stages.recipients import canonical
from transports.neonize.client import Client, Contact
from transports.neonize.mapping import in_words

STAND_IN: Final = "storycast"
"""The name that a recipient without one bears for the length of a post."""


class Change(Struct, frozen=True):
    """One contact, as it was and as it is meanwhile."""

    before: Contact
    meanwhile: Contact


class Journal(Struct, frozen=True):
    """What is to be put back, and of which account."""

    account: str
    changes: Sequence[Change]


def changes_for(contacts: Sequence[Contact], recipients: Collection[str]) -> list[Change]:
    """What has to change so that exactly `recipients` (canonical) have a full name."""
    changes = [change for contact in contacts if (change := _change(contact, recipients))]
    known = {canonical(contact.jid) for contact in contacts}
    strangers = (Contact(jid) for jid in recipients if jid not in known)
    return [*changes, *(Change(contact, _named(contact)) for contact in strangers)]


@contextmanager
def staged(
    client: Client, path: Path, account: str, recipients: Collection[str], note: Callable[[str], None]
) -> Iterator[None]:
    """Have exactly `recipients` named while the block lasts. Raises `ClientError` or `OSError` where it cannot.

    What cannot be put back after the block stays in the journal, and is put back before the next one.
    """
    recover(client, path, account, note)
    changes = changes_for(client.contacts(), recipients)
    if not changes:
        yield
        return
    _write(path, Journal(account, changes))
    try:
        client.rename([change.meanwhile for change in changes])
        yield
    finally:
        _recover_or_leave(client, path, account, note)


def recover(client: Client, path: Path, account: str, note: Callable[[str], None]) -> None:
    """Put back what a journal at `path` says, if there is one. It stays where that cannot be done.

    Raises `ClientError`, or `OSError` where the journal cannot be read or removed.
    """
    journal = _read(path, note)
    if journal is None:
        return
    if journal.account == account:
        client.rename(to_put_back(journal.changes, client.contacts()))
    else:
        note("a journal of staged contacts of another account was dropped: its contact list went with it")
    path.unlink()
    _sync(path.parent)


def _recover_or_leave(client: Client, path: Path, account: str, note: Callable[[str], None]) -> None:
    try:
        recover(client, path, account, note)
    except Exception as error:  # the post has its own result, which nothing here changes
        note(f"the contact list of this device is not put back yet: {in_words(error)}")


def to_put_back(changes: Sequence[Change], now: Sequence[Contact]) -> list[Contact]:
    """What was there before, of the contacts that are as staging left them: others have changed on the phone since."""
    names = {contact.jid: contact.full_name for contact in now}
    return [
        change.before for change in changes if names.get(change.before.jid, "") == change.meanwhile.full_name
    ]


def _change(contact: Contact, recipients: Collection[str]) -> Change | None:
    wanted = canonical(contact.jid) in recipients
    if wanted == bool(contact.full_name):
        return None
    return Change(contact, _named(contact) if wanted else Contact(contact.jid, "", contact.first_name))


def _named(contact: Contact) -> Contact:
    return Contact(contact.jid, STAND_IN, contact.first_name)


def _write(path: Path, journal: Journal) -> None:
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(journal))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync(path.parent)


def _read(path: Path, note: Callable[[str], None]) -> Journal | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Journal)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # It is put in place whole, so this one was touched by somebody: kept for a person, out of the way.
        note(f"{path} cannot be read and was set aside: names of contacts on this device may be missing")
        path.replace(path.with_suffix(".unreadable"))
        return None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
