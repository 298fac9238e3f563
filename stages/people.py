"""Long lists of people, kept compactly: a million canonical JIDs take 8 MB, as one number each.

A JID as a string takes ten times as much, so that the strings are made when somebody asks for them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

_PHONE = "@s.whatsapp.net"
_HIDDEN = "@lid"
_HIDDEN_FROM = 1 << 50
"""Keys from here on are hidden user ids; a phone number has 15 digits at most, which is less."""
_ELSEWHERE = 1 << 63
"""Codes from here on say where among the large keys the key is: a hidden id may not fit in 64 bits."""


def key_of(jid: str) -> int:
    """The number that stands for a canonical JID. Raises `ValueError` for any other text."""
    user, _, server = jid.partition("@")
    number = int(user)
    key = key_of_hidden(number) if server == "lid" else number
    if number < 0 or jid_of(key) != jid:
        raise ValueError(f"not a canonical JID, but {len(jid)} other characters")
    return key


def key_of_hidden(number: int) -> int:
    """The key of the hidden user id `number`."""
    return number + _HIDDEN_FROM


def jid_of(key: int) -> str:
    """The canonical JID that `key` stands for."""
    return f"{key}{_PHONE}" if key < _HIDDEN_FROM else f"{key - _HIDDEN_FROM}{_HIDDEN}"


def number_of(key: int) -> int | None:
    """The phone number of the person, None for a hidden user id."""
    return key if key < _HIDDEN_FROM else None


class People(Sequence[str]):
    """An immutable sequence of canonical JIDs. A slice of it is one too, and equals a list of the same JIDs."""

    __slots__ = ("_codes", "_large")

    def __init__(self, codes: array[int], large: Sequence[int]) -> None:
        self._codes = codes
        self._large = large

    @classmethod
    def of(cls, jids: Iterable[str]) -> People:
        """`jids` as they come, repetitions included. Raises `ValueError` for what is no canonical JID."""
        return cls.by_keys(map(key_of, jids))

    @classmethod
    def by_keys(cls, keys: Iterable[int]) -> People:
        """The people whose keys (see `key_of`) these are."""
        gathering = Gathering()
        gathering.extend(keys)
        return gathering.people()

    def as_keys(self) -> Iterator[int]:
        """The number of each, in order; see `key_of`."""
        large = self._large
        return (code if code < _ELSEWHERE else large[code - _ELSEWHERE] for code in self._codes)

    def as_bytes(self) -> Iterator[bytes | memoryview]:
        """The numbers as bytes, on machines of one byte order: the same for the same people in the same order."""
        if not self._large or max(self._codes, default=0) < _ELSEWHERE:
            yield memoryview(self._codes).cast("B")
        else:
            yield from (f"{key}\n".encode() for key in self.as_keys())

    def __len__(self) -> int:
        return len(self._codes)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> People: ...

    def __getitem__(self, place: int | slice) -> str | People:
        if isinstance(place, slice):
            return People(self._codes[place], self._large)
        code = self._codes[place]
        return jid_of(code if code < _ELSEWHERE else self._large[code - _ELSEWHERE])

    def __iter__(self) -> Iterator[str]:
        return map(jid_of, self.as_keys())

    def __contains__(self, jid: object) -> bool:
        try:
            key = key_of(jid) if isinstance(jid, str) else -1
        except ValueError:
            return False
        return key in self._codes if key < _ELSEWHERE else key in self.as_keys()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, People):
            same = self._large is other._large or not (self._large or other._large)
            if same or len(self) != len(other):
                return self._codes == other._codes
            return all(mine == theirs for mine, theirs in zip(self.as_keys(), other.as_keys(), strict=True))
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(
            mine == theirs for mine, theirs in zip(self, other, strict=True)
        )

    __hash__ = None  # type: ignore[assignment] # it equals lists, which have none

    def __repr__(self) -> str:
        return f"<People: {len(self):,}>"  # never names them: this may end up in a log


class Gathering:
    """Collects people one after the other; `people` hands them over."""

    def __init__(self) -> None:
        self._codes = array("Q")
        self._large: list[int] = []

    def __len__(self) -> int:
        return len(self._codes)

    def extend(self, keys: Iterable[int]) -> None:
        """Add the people whose keys these are."""
        for key in keys:
            self.append(key)

    def append(self, key: int) -> None:
        """Add the person whose key this is."""
        if key < _ELSEWHERE:
            self._codes.append(key)
        else:
            self._codes.append(_ELSEWHERE + len(self._large))
            self._large.append(key)

    def people(self) -> People:
        """All that were added, in order; what is added from now on is a list of its own."""
        people = People(self._codes, self._large)
        self._codes, self._large = array("Q"), []
        return people
