"""Whom a post of the account goes to: what WhatsApp's client decides by itself, said beforehand."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from stages.recipients import canonical
from transports.neonize.client import Contact, Privacy

NOT_IN_AUDIENCE: Final = "not-in-audience"
NOT_ON_WHATSAPP: Final = "not-on-whatsapp"
NO_KEYS: Final = "keys-unavailable"
"""The client could not get the keys that it encrypts with for this recipient, and left it out."""


def audience_of(contacts: Iterable[Contact], privacy: Privacy, own: str) -> list[str]:
    """The canonical JIDs that a post goes to, sorted; the account's own (`own`, without a device) is not listed."""
    if privacy.kind == "whitelist":
        listed = privacy.jids
    else:
        named = {contact.jid for contact in contacts if contact.full_name}
        listed = frozenset(named - privacy.jids if privacy.kind == "blacklist" else named)
    return sorted({jid for each in listed if (jid := canonical(each))} - {own})


def own_jid(account: str) -> str:
    """The account's own JID without its device."""
    return canonical(account) or account


def left_out(
    recipients: Sequence[str],
    *,
    audience: Collection[str] | None = None,
    without_devices: Collection[str] = (),
    dropped: Iterable[str] = (),
) -> Mapping[str, str]:
    """Those of `recipients` that a post did not go to, with the reason; `audience` None means that it went to all."""
    keyless = people_in(dropped)
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
