"""Recipients: which of them are one person, who can be sent to, where they live.

A person is written in many ways: `+62 812-3456-7890`, `6281234567890@c.us`,
`6281234567890:12@s.whatsapp.net` are all `6281234567890@s.whatsapp.net`. Hidden user ids
(`...@lid`) stay what they are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence, Sized
from functools import cache
from itertools import chain

from msgspec import Struct
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

from stages.errors import BadRequest
from stages.messages import Recipient
from stages.people import Gathering, People, jid_of, key_of, key_of_hidden, number_of
from stages.seen import Seen
from stages.skips import Skips

ALLOWED = "a phone number in international form (5 to 15 digits), or <digits>@s.whatsapp.net, @c.us or @lid"

_USUAL = re.compile(r"\+?([1-9][0-9]{4,14})(?:@s\.whatsapp\.net|@c\.us)?|([1-9][0-9]{4,19})@lid")
_CANONICAL = re.compile(r"[1-9][0-9]{4,14}@s\.whatsapp\.net")
_SPACING = re.compile(r"[\s\-().\u200e\u200f\u202a-\u202e]")
_DEVICE = re.compile(r"(\.[0-9]+)?(:[0-9]+)?$")
_PHONE = re.compile(r"[1-9][0-9]{4,14}")
_LID = re.compile(r"[1-9][0-9]{4,19}")
_PERSONAL = {"s.whatsapp.net": "s.whatsapp.net", "c.us": "s.whatsapp.net", "lid": "lid"}
_SHARED = {"g.us": "a group", "newsletter": "a newsletter", "broadcast": "a broadcast list", "call": "a call"}


class Roster(Struct, frozen=True, kw_only=True):
    """A request's recipients, sorted out: each person once, in the order of the request."""

    recipients: People
    priorities: Mapping[str, int]
    skipped: Skips


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


class Sorter:
    """Sorts recipients out as they come, in as many parts as one likes.

    Keeps a number for each person, not a string: a million take about 30 MB while it works, and 8 MB in its `Roster`.
    `suppressed` are not sent to; `field` names the recipient with a number (see `add`) in a refusal.
    """

    def __init__(self, suppressed: Container[str] = frozenset(), *, field: Callable[[int], str]) -> None:
        # With nobody suppressed there is no need to make a string of each number only to look it up.
        nobody = isinstance(suppressed, Sized) and not len(suppressed)
        self._suppressed = None if nobody else suppressed
        self._field = field
        self._seen = Seen()
        self._people = Gathering()
        self._priorities: dict[str, int] = {}
        self._skips = Skips()

    def add(self, numbered: Iterable[tuple[int, str | Recipient]]) -> None:
        """Take the next recipients in, each with the number it has in the request.

        Raises `BadRequest` if one of them is a group, a newsletter or a broadcast list: a story goes to
        `status@broadcast` only, and a request that aims elsewhere is a mistake as a whole.
        """
        for number, entry in numbered:
            text = entry if isinstance(entry, str) else entry.jid
            key = _key_in(text)
            if key is None:
                self._skip_nobody(number, text)
            elif self._suppressed is not None and jid_of(key) in self._suppressed:
                self._skips.append(text, "suppressed")
            elif not self._seen.add(key):
                self._skips.append(text, "duplicate")
            else:
                self._take(key, entry)

    def roster(self) -> Roster:
        """Everything that was added. Call once, at the end."""
        return Roster(recipients=self._people.people(), priorities=self._priorities, skipped=self._skips)

    def _take(self, key: int, entry: str | Recipient) -> None:
        self._people.append(key)
        if not isinstance(entry, str):
            self._priorities[jid_of(key)] = entry.priority

    def _skip_nobody(self, number: int, text: str) -> None:
        if kind := shared_target(text):
            raise BadRequest("target-not-allowed", field=self._field(number), found=kind, allowed=ALLOWED)
        self._skips.append(text, "invalid")


def sort_out(written: Iterable[str | Recipient], suppressed: Container[str]) -> Roster:
    """The recipients in a request, sorted out in one go. Raises `BadRequest` like `Sorter.add`."""
    sorter = Sorter(suppressed, field="recipients[{}]".format)
    sorter.add(enumerate(written))
    return sorter.roster()


def _key_in(written: str) -> int | None:
    # Nearly all are written in one of the usual ways, which needs no look at every other way.
    if usual := _USUAL.fullmatch(written):
        return int(usual[1]) if usual[1] else key_of_hidden(int(usual[2]))
    jid = canonical(written)
    return None if jid is None else key_of(jid)


_ZONES = {
    "1": "US", "2": "AFRICA", "3": "EU", "4": "EU", "5": "LATAM", "6": "ASIA", "7": "EU", "8": "ASIA", "9": "ASIA",
}  # fmt: skip
_OCEANIA = {"61", "64", *(str(code) for code in range(672, 693) if code != 673)}


def region(jid: str) -> str:
    """Where the number is from, by its country code: US, LATAM, EU, AFRICA, ASIA, OCEANIA or OTHER.

    Country codes are those of the `phonenumbers` library; they are grouped by ITU world zone, with
    Oceania taken out of zone 6.
    """
    return _region_of(_prefix(key_of(jid)))


def _prefix(key: int) -> str:
    return "" if number_of(key) is None else str(key)[:3]


@cache
def _region_of(prefix: str) -> str:
    codes = (prefix[:length] for length in (1, 2, 3) if prefix)
    code = next((code for code in codes if int(code) in COUNTRY_CODE_TO_REGION_CODE), None)
    if code is None:
        return "OTHER"
    return "OCEANIA" if code in _OCEANIA else _ZONES[code[0]]


def in_sending_order(
    recipients: Sequence[str], priorities: Mapping[str, int], *, regional: bool
) -> Sequence[str]:
    """Most active first, which makes the first one the anchor; by region within the same priority.

    The order of the request decides between equals, so the result is always the same. `recipients` are canonical;
    a million of them take most of a second, unless there is nothing to be ordered by.
    """
    if not regional and not priorities:
        return recipients
    people = recipients if isinstance(recipients, People) else People.of(recipients)
    ranks = {key_of(jid): -priority for jid, priority in priorities.items()}
    places: dict[str, int] = {}
    groups: defaultdict[tuple[int, int], Gathering] = defaultdict(Gathering)
    for key in people.as_keys():
        place = places.setdefault(_region_of(_prefix(key)), len(places)) if regional else 0
        groups[ranks.get(key, -5), place].append(key)
    ordered = (groups[group].people() for group in sorted(groups))
    return People.by_keys(chain.from_iterable(group.as_keys() for group in ordered))
