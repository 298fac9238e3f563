"""Recipients: which of them are one person, who can be sent to, where they live.

A person is written in many ways: `+62 812-3456-7890`, `6281234567890@c.us`,
`6281234567890:12@s.whatsapp.net` are all `6281234567890@s.whatsapp.net`. Hidden user ids
(`...@lid`) stay what they are.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence

from msgspec import Struct
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

from stages.errors import BadRequest
from stages.flow import Skipped
from stages.messages import Recipient

ALLOWED = "a phone number in international form (5 to 15 digits), or <digits>@s.whatsapp.net, @c.us or @lid"

_CANONICAL = re.compile(r"[1-9][0-9]{4,14}@s\.whatsapp\.net")
_SPACING = re.compile(r"[\s\-().\u200e\u200f\u202a-\u202e]")
_DEVICE = re.compile(r"(\.[0-9]+)?(:[0-9]+)?$")
_PHONE = re.compile(r"[1-9][0-9]{4,14}")
_LID = re.compile(r"[1-9][0-9]{4,19}")
_PERSONAL = {"s.whatsapp.net": "s.whatsapp.net", "c.us": "s.whatsapp.net", "lid": "lid"}
_SHARED = {"g.us": "a group", "newsletter": "a newsletter", "broadcast": "a broadcast list", "call": "a call"}


class Roster(Struct, frozen=True, kw_only=True):
    """A request's recipients, sorted out: each person once, in the order of the request."""

    recipients: Sequence[str]
    priorities: dict[str, int]
    skipped: Sequence[Skipped]


def canonical(written: str) -> str | None:
    """The one JID of the person `written` means, or None where it means nobody."""
    if _CANONICAL.fullmatch(written):
        return written
    user, at, server = written.strip().partition("@")
    domain = _PERSONAL.get(server.lower()) if at else "s.whatsapp.net"
    if domain is None:
        return None
    digits = _DEVICE.sub("", user) if at else user
    digits = _SPACING.sub("", digits).removeprefix("+").removeprefix("00")
    shape = _LID if domain == "lid" else _PHONE
    return f"{digits}@{domain}" if shape.fullmatch(digits) else None


def shared_target(written: str) -> str | None:
    """What `written` is, if it is no person but a group, a newsletter or a broadcast list."""
    return _SHARED.get(written.strip().rpartition("@")[2].lower())


def sort_out(written: Iterable[str | Recipient], suppressed: Container[str]) -> Roster:
    """Each person once; duplicates, invalid and suppressed recipients set aside with the reason.

    Raises `BadRequest` if one of them is a group, a newsletter or a broadcast list: a story goes to
    `status@broadcast` only, and a request that aims elsewhere is a mistake as a whole.
    """
    seen: set[str] = set()
    people: list[str] = []
    priorities: dict[str, int] = {}
    skipped: list[Skipped] = []
    for place, entry in enumerate(written):
        text, priority = (entry, None) if isinstance(entry, str) else (entry.jid, entry.priority)
        jid = canonical(text)
        reason = _reason_to_skip(jid, seen, suppressed)
        if jid is None and (kind := shared_target(text)):
            raise BadRequest("target-not-allowed", field=f"recipients[{place}]", found=kind, allowed=ALLOWED)
        if jid is None or reason:
            skipped.append(Skipped(text, reason or "invalid"))
            continue
        seen.add(jid)
        people.append(jid)
        if priority is not None:
            priorities[jid] = priority
    return Roster(recipients=people, priorities=priorities, skipped=skipped)


def _reason_to_skip(jid: str | None, seen: Container[str], suppressed: Container[str]) -> str | None:
    if jid is None:
        return "invalid"
    if jid in seen:
        return "duplicate"
    return "suppressed" if jid in suppressed else None


_ZONES = {
    "1": "US", "2": "AFRICA", "3": "EU", "4": "EU", "5": "LATAM", "6": "ASIA", "7": "EU", "8": "ASIA", "9": "ASIA",
}  # fmt: skip
_OCEANIA = {"61", "64", *(str(code) for code in range(672, 693) if code != 673)}


def region(jid: str) -> str:
    """Where the number is from, by its country code: US, LATAM, EU, AFRICA, ASIA, OCEANIA or OTHER.

    Country codes are those of the `phonenumbers` library; they are grouped by ITU world zone, with
    Oceania taken out of zone 6.
    """
    user, _, server = jid.partition("@")
    if server == "lid":
        return "OTHER"
    codes = (user[:length] for length in (1, 2, 3))
    code = next((code for code in codes if int(code) in COUNTRY_CODE_TO_REGION_CODE), None)
    if code is None:
        return "OTHER"
    return "OCEANIA" if code in _OCEANIA else _ZONES[code[0]]


def in_sending_order(
    recipients: Sequence[str], priorities: dict[str, int], *, regional: bool
) -> Sequence[str]:
    """Most active first, which makes the first one the anchor; by region within the same priority.

    The order of the request decides between equals, so the result is always the same.
    """
    if not regional and not priorities:
        return recipients
    places = (
        {name: place for place, name in enumerate(dict.fromkeys(map(region, recipients)))} if regional else {}
    )

    def key(jid: str) -> tuple[int, int]:
        return (-priorities.get(jid, 5), places[region(jid)] if regional else 0)

    return sorted(recipients, key=key)
