"""Seen: says of every number whether it is new, as a set would."""

from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from stages.seen import Seen

NUMBERS = st.one_of(
    st.integers(1, 40), st.integers(1, 2**70), st.integers(0, 50).map(lambda n: (n << 32) + 1)
)


@given(st.lists(NUMBERS, max_size=200))
def test_a_number_is_new_the_first_time_only(numbers: list[int]) -> None:
    seen, known = Seen(), set[int]()
    for number in numbers:
        assert seen.add(number) == (number not in known)
        known.add(number)
        assert len(seen) == len(known)
    assert not any(map(seen.add, numbers))


def test_neighbours_and_far_ones_are_told_apart_by_the_hundred_thousand() -> None:
    for step in (1, 10, 1 << 16, 1 << 32, 997):
        seen = Seen()
        assert all(seen.add(1 + step * number) for number in range(50_000))
        assert not any(seen.add(1 + step * number) for number in range(50_000))


def test_a_hundred_thousand_numbers_take_less_than_four_megabytes() -> None:
    tracemalloc.start()
    try:
        seen = Seen()
        assert all(seen.add(number) for number in range(10**12, 10**12 + 100_000))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
