"""Ranges: a set of places that is as small as it has gaps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.ranges import Ranges

PLACES = st.integers(0, 60)
ADDED = st.one_of(
    st.lists(PLACES, max_size=12),
    st.sets(PLACES, max_size=12),
    st.tuples(PLACES, PLACES).map(lambda ends: range(*ends)),
    st.tuples(PLACES, PLACES, st.integers(-3, 3).filter(bool)).map(lambda drawn: range(*drawn)),
)


def neighbours(places: set[int]) -> int:
    """How many ranges `places` are."""
    return sum(place - 1 not in places for place in places)


@given(st.lists(ADDED, max_size=20))
def test_ranges_are_the_set_of_all_that_was_added_in_order(added: list[list[int] | set[int] | range]) -> None:
    ranges, model = Ranges(), set[int]()
    for places in added:
        ranges.add(places)
        model |= set(places)
        assert len(ranges) == len(model)
        assert list(ranges) == sorted(model)
        assert [place for place in range(-2, 65) if place in ranges] == sorted(model)
        assert len(ranges.packed()) == 2 * neighbours(model), "neighbours are one range"


@given(st.sets(PLACES, max_size=30), st.lists(PLACES, max_size=10))
def test_what_is_packed_unpacks_to_the_same_and_can_be_added_to(places: set[int], more: list[int]) -> None:
    packed = Ranges(places).packed()
    unpacked = Ranges.unpacked(packed)
    assert unpacked == Ranges(places)
    assert (unpacked.packed(), len(unpacked)) == (packed, len(places))
    unpacked.add(more)
    assert list(unpacked) == sorted({*places, *more})


@given(st.lists(st.integers(-2, 9), max_size=8))
def test_only_what_packed_can_have_given_is_unpacked(numbers: list[int]) -> None:
    gaps, lengths = numbers[::2], numbers[1::2]
    meant = len(gaps) == len(lengths) and all(length > 0 for length in lengths)
    meant = meant and all(gap >= (place > 0) for place, gap in enumerate(gaps))
    if not meant:
        with pytest.raises(ValueError, match="gap and length"):
            Ranges.unpacked(numbers)
        return
    assert Ranges.unpacked(numbers).packed() == tuple(numbers)
    assert len(Ranges.unpacked(numbers)) == sum(lengths)


@pytest.mark.parametrize("numbers", [[0], [0, 0], [-1, 1], [0, 1, 0, 1], [0, 1, 2], [3, -1], [0, 1, 1, 0]])
def test_garbage_is_refused(numbers: list[int]) -> None:
    with pytest.raises(ValueError, match="gap and length"):
        Ranges.unpacked(numbers)


def test_a_range_that_closes_a_gap_makes_one_of_two() -> None:
    ranges = Ranges([0, 1, 4, 5])
    ranges.add(range(2, 4))
    assert ranges.packed() == (0, 6)


def test_a_million_places_in_a_row_are_two_numbers() -> None:
    ranges = Ranges(range(1_000_000))
    ranges.add(range(999_999, 1_000_001))
    assert (ranges.packed(), len(ranges), 1_000_000 in ranges, 1_000_001 in ranges) == (
        (0, 1_000_001),
        1_000_001,
        True,
        False,
    )


def test_ranges_are_compared_by_what_is_in_them_and_shown_as_ranges() -> None:
    assert Ranges([3, 1, 2]) == Ranges(range(1, 4))
    assert Ranges([1]) != Ranges([2])
    assert Ranges([1]) != [1]
    assert repr(Ranges([1, 2, 5])) == "Ranges([(1, 3), (5, 6)])"
