"""Whom a post of the account goes to: what WhatsApp's client decides by itself, said beforehand."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from stages.recipients import canonical
from transports.neonize.client import Contact, Privacy

NOT_IN_AUDIENCE: Final = "not-in-audience"
NOT_ON_WHATSAPP: Final = "not-on-whatsapp"
NO_KEYS: Final = "keys-unavailable"
"""The client could not get the keys that it encrypts with for this recipient, and left it out."""


class Audience(Struct, frozen=True):
    """Whom a post goes to.

    `people` are canonical JIDs; the account's own is not among them. `nobody` are entries of the contact list, as they
    stand there, of whom it is not known which person they are. `numbers` are those behind hidden ids.
    """

    people: frozenset[str]
    nobody: frozenset[str] = frozenset()
    numbers: Mapping[str, str] = {}


def shared_with(contacts: Iterable[Contact], privacy: Privacy) -> frozenset[str]:
    """The entries that the client posts to, as they stand in the contact list or in the phone's setting."""
    if privacy.kind == "whitelist":
        return privacy.jids
    named = frozenset(contact.jid for contact in contacts if contact.full_name)
    return named - privacy.jids if privacy.kind == "blacklist" else named


def hidden_in(jids: Iterable[str]) -> frozenset[str]:
    """Those that stand for a person without telling the phone number."""
    return frozenset(jid for jid in jids if jid.endswith("@lid"))


def audience_of(jids: Iterable[str], numbers: Mapping[str, str], own: str) -> Audience:
    """The people behind `jids`. Whoever is known by a hidden id alone is nobody: no list of people can name them."""
    found = {jid: canonical(numbers.get(jid, jid)) for jid in jids}
    unknown = hidden_in(person for person in found.values() if person)
    people = frozenset(person for person in found.values() if person) - unknown - {own}
    nobody = frozenset(jid for jid, person in found.items() if person is None or person in unknown)
    return Audience(people, nobody, numbers)


def own_jid(account: str) -> str:
    """The account's own JID without its device."""
    return canonical(account) or account


def left_out(
    recipients: Sequence[str],
    *,
    audience: Collection[str] | None = None,
    without_devices: Collection[str] = (),
    dropped: Iterable[str] = (),
    numbers: Mapping[str, str] = {},
) -> Mapping[str, str]:
    """Those of `recipients` that a post did not go to, with the reason; `audience` None means that it went to all.

    `numbers` are those behind hidden ids that stand in `dropped`.
    """
    keyless = {numbers.get(jid, jid) for jid in people_in(dropped)}
    failed: dict[str, str] = {}
    for jid in recipients:
        if audience is not None and jid not in audience:
            failed[jid] = NOT_IN_AUDIENCE
        elif jid in without_devices:
            failed[jid] = NOT_ON_WHATSAPP
        elif jid in keyless:
            failed[jid] = NO_KEYS
    return failed


def people_in(devices: Iterable[str]) -> frozenset[str]:
    """The people whose phone is among `devices`. Another device alone does not count: the phone has the story."""
    phones = (device for device in devices if ":" not in device or ":0@" in device)
    return frozenset(jid for phone in phones if (jid := canonical(phone)))
