"""Skips: a compact sequence that behaves like the list of skipped recipients it was made from."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.flow import Skipped
from stages.skips import Skips

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=10)  # lone surrogates too
SKIPPED = st.lists(
    st.builds(Skipped, ANY_TEXT, st.sampled_from(["invalid", "duplicate", "suppressed"])), max_size=10
)
PLACES = st.none() | st.integers(-12, 12)


@given(SKIPPED, PLACES, PLACES, PLACES.filter(lambda step: step != 0))
def test_skips_are_read_like_the_list_they_were_made_from(
    listed: list[Skipped], start: int | None, stop: int | None, step: int | None
) -> None:
    skips = Skips(listed)
    assert list(skips) == listed
    assert skips == listed
    assert listed == skips
    assert len(skips) == len(listed)
    assert [skips[place] for place in range(-len(listed), len(listed))] == listed * 2
    assert skips[start:stop:step] == listed[start:stop:step]
    with pytest.raises(IndexError):
        skips[len(listed)]


@given(SKIPPED)
def test_reasons_are_counted(listed: list[Skipped]) -> None:
    assert Skips(listed).reasons() == Counter(skip.reason for skip in listed)


@given(SKIPPED, SKIPPED)
def test_skips_are_equal_if_the_same_are_skipped_for_the_same_reasons(
    a: list[Skipped], b: list[Skipped]
) -> None:
    assert (Skips(a) == Skips(b)) == (a == b)
    assert Skips(a) != "text"


def test_skips_can_be_shown_without_the_numbers_in_them() -> None:
    assert repr(Skips([Skipped("6281200000000", "invalid")])) == "<Skips: {'invalid': 1}>"
