"""Failures: what a dict of recipient to reason says, without a string for each recipient."""

from __future__ import annotations

import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.failures import Failures
from stages.people import People
from stages.ranges import Ranges

ORDER = [f"62812{number:06d}@s.whatsapp.net" for number in range(12)]
PLACES = st.sets(st.integers(0, 11)).map(sorted)


@given(PLACES)
def test_it_says_what_a_dict_of_the_same_says(places: list[int]) -> None:
    odd, even = [it for it in places if it % 2], [it for it in places if not it % 2]
    failures = Failures(ORDER, {"refused": Ranges(odd), "dead": Ranges(even)})
    same = {ORDER[it]: "refused" for it in odd} | {ORDER[it]: "dead" for it in even}
    assert failures == same
    assert list(failures.items()) == list(same.items())
    assert list(failures.values()) == list(same.values())
    assert (list(failures), len(failures)) == (list(same), len(same))
    assert all(failures[jid] == why for jid, why in same.items())
    assert all((jid in failures) == (jid in same) for jid in ORDER)


def test_who_did_not_fail_is_not_in_it() -> None:
    with pytest.raises(KeyError):
        Failures(ORDER, {"refused": Ranges([1])})[ORDER[2]]


def test_it_names_nobody_in_a_log() -> None:
    assert repr(Failures(ORDER, {"refused": Ranges(range(12))})) == "<Failures: 12>"


def test_a_hundred_thousand_failures_take_no_memory_to_count() -> None:
    order = People.by_keys(range(6281200000000, 6281200100000))
    tracemalloc.start()
    try:
        failures = Failures(order, {"refused": Ranges(range(100_000))})
        assert Counter(failures.values()) == {"refused": 100_000}
        assert sum(1 for _ in failures.items()) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
