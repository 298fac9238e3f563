"""Sets of places in a list, kept as ranges: a million places in a row cost no more than one.

A place is a position in a story's sending order, from 0.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain


class Ranges:
    """Places, as sorted ranges that neither overlap nor touch."""

    def __init__(self, places: Iterable[int] = ()) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._size = 0
        self.add(places)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(map(range, self._starts, self._stops))

    def __contains__(self, place: int) -> bool:
        after = bisect_right(self._starts, place)
        return after > 0 and place < self._stops[after - 1]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self.packed() == other.packed()

    __hash__ = None  # type: ignore[assignment] # it changes

    def __repr__(self) -> str:
        return f"Ranges({list(zip(self._starts, self._stops, strict=True))})"

    def add(self, places: Iterable[int]) -> None:
        """Put `places` in; those that are in already change nothing."""
        for start, stop in _runs(places):
            self._add(start, stop)

    def _add(self, start: int, stop: int) -> None:
        first = bisect_left(self._stops, start)
        last = bisect_right(self._starts, stop)
        if first < last:
            start, stop = min(start, self._starts[first]), max(stop, self._stops[last - 1])
        gone = sum(self._stops[place] - self._starts[place] for place in range(first, last))
        self._starts[first:last], self._stops[first:last] = [start], [stop]
        self._size += stop - start - gone

    def packed(self) -> tuple[int, ...]:
        """As plain numbers: for each range the gap since the last one's end, and its length."""
        numbers: list[int] = []
        end = 0
        for start, stop in zip(self._starts, self._stops, strict=True):
            numbers += (start - end, stop - start)
            end = stop
        return tuple(numbers)

    @classmethod
    def unpacked(cls, numbers: Sequence[int]) -> Ranges:
        """What `packed` gave. Raises `ValueError` for anything else."""
        if len(numbers) % 2 or any(number < (place > 0) for place, number in enumerate(numbers)):
            raise ValueError("not ranges: pairs of gap and length")
        ranges, end = cls(), 0
        for gap, length in zip(numbers[::2], numbers[1::2], strict=True):
            start, end = end + gap, end + gap + length
            ranges._starts.append(start)
            ranges._stops.append(end)
            ranges._size += length
        return ranges


def _runs(places: Iterable[int]) -> Iterator[tuple[int, int]]:
    """`places` as runs of neighbours, first and one past the last."""
    if isinstance(places, range) and places.step == 1:
        if places:
            yield places.start, places.stop
        return
    start = stop = -1
    for place in places:
        if place == stop:
            stop += 1
            continue
        if stop > start:
            yield start, stop
        start, stop = place, place + 1
    if stop > start:
        yield start, stop
