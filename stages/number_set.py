"""A set of numbers in plain memory: for a million of them 16 MB, where a `set` takes 65.

It also never lets anybody wait: a `set` of a million pauses 25 ms to grow, and 40 for the garbage collector to look
through it. Here are many small tables that grow one at a time, and nothing to be looked through.
"""

from __future__ import annotations

from array import array

_TABLES = 256
_SMALLEST = 16
_FEW = 1_024
"""So many are in an ordinary set."""
_LIMIT = 1 << 64
_MASK = _LIMIT - 1
_MIX = 0x9E3779B97F4A7C15
"""2**64 over the golden ratio: multiplied by it, neighbouring numbers lie far apart (Fibonacci hashing)."""


class NumberSet:
    """Remembers numbers above 0; those of more than 64 bits, which are rare, in an ordinary set."""

    def __init__(self) -> None:
        # Nearly all lists are short, and 256 tables would cost more than all else that is done for one of them.
        self._few: set[int] | None = set()
        self._tables: list[array[int]] = []
        self._counts = [0] * _TABLES
        self._large: set[int] = set()

    def __len__(self) -> int:
        return sum(self._counts) + len(self._large) + len(self._few or ())

    def add(self, number: int) -> bool:
        """Remember `number`; whether it is new."""
        if self._few is not None:
            if number in self._few:
                return False
            self._few.add(number)
            if len(self._few) > _FEW:
                self._spread()
            return True
        return self._add(number)

    def _spread(self) -> None:
        few, self._few = self._few or (), None
        self._tables = [_empty(_SMALLEST) for _ in range(_TABLES)]
        for number in few:
            self._add(number)

    def _add(self, number: int) -> bool:
        if number >= _LIMIT:
            known = len(self._large)
            self._large.add(number)
            return len(self._large) > known
        mixed = number * _MIX & _MASK
        which = mixed >> 56
        table = self._tables[which]
        if not _put(table, number, mixed):
            return False
        self._counts[which] += 1
        if self._is_full(which):
            self._tables[which] = _grown(table)
        return True

    def _is_full(self, which: int) -> bool:
        # At 40 to 60 %, each table at another point: they fill alike, and all of them at once would take 0.1 s.
        full = (2 * _TABLES + which) / (5 * _TABLES)
        return self._counts[which] > full * len(self._tables[which])


def _put(table: array[int], number: int, mixed: int) -> bool:
    """Whether `number` was not in the table, which has an empty place (a 0) and a power of two of places."""
    last = len(table) - 1
    place = mixed >> 24 & last
    while there := table[place]:
        if there == number:
            return False
        place = place + 1 & last
    table[place] = number
    return True


def _grown(table: array[int]) -> array[int]:
    larger = _empty(2 * len(table))
    for number in filter(None, table):
        _put(larger, number, number * _MIX & _MASK)
    return larger


def _empty(places: int) -> array[int]:
    return array("Q", bytes(8 * places))
