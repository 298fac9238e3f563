"""People: a compact sequence that behaves like the tuple of JIDs it was made from."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.people import Gathering, People, jid_of, key_of
from tests.support import people

PHONES = st.integers(10**4, 10**15 - 1).map("{}@s.whatsapp.net".format)
HIDDEN = st.one_of(st.integers(10**4, 10**15), st.integers(2**62, 10**20 - 1)).map("{}@lid".format)
JIDS = st.lists(PHONES | HIDDEN, max_size=20)
PLACES = st.none() | st.integers(-25, 25)
STEPS = st.none() | st.integers(-25, 25).filter(bool)
LARGEST = "99999999999999999999@lid"


@given(JIDS)
def test_people_are_read_like_the_tuple_they_were_made_from(jids: list[str]) -> None:
    made = People.of(iter(jids))
    assert tuple(made) == tuple(jids)
    assert tuple(reversed(made)) == tuple(reversed(jids))
    assert len(made) == len(jids)
    assert [made[place] for place in range(-len(jids), len(jids))] == jids * 2
    for place in (len(jids), -len(jids) - 1):
        with pytest.raises(IndexError):
            made[place]


@given(JIDS, PLACES, PLACES, STEPS, PLACES, PLACES)
def test_a_slice_and_a_slice_of_a_slice_are_those_of_the_tuple(
    jids: list[str],
    start: int | None,
    stop: int | None,
    step: int | None,
    first: int | None,
    last: int | None,
) -> None:
    part = People.of(jids)[start:stop:step]
    assert tuple(part) == tuple(jids[start:stop:step])
    assert tuple(part[first:last]) == tuple(jids[start:stop:step][first:last])


@given(JIDS, JIDS)
def test_people_equal_the_sequences_that_name_the_same_in_the_same_order(a: list[str], b: list[str]) -> None:
    for right in (b, tuple(b), People.of(b)):
        assert (People.of(a) == right) == (a == b)
        assert (right == People.of(a)) == (a == b)
    assert People.of(a) == a
    assert People.of([*b, *a])[len(b) :] == People.of(a)
    assert People.of(a)[1:] == a[1:]


@pytest.mark.parametrize("other", ["6281200000000@s.whatsapp.net", {"6281200000000@s.whatsapp.net"}, 1, None])
def test_people_are_unlike_what_is_no_sequence_of_jids(other: object) -> None:
    assert People.of(people(1)) != other


@given(JIDS, PHONES | HIDDEN)
def test_who_is_among_them_is_found_and_nobody_else(jids: list[str], stranger: str) -> None:
    made = People.of(jids)
    assert all(jid in made for jid in jids)
    assert (stranger in made) == (stranger in jids)
    assert [made.index(jid) for jid in jids] == [jids.index(jid) for jid in jids]
    for nobody in ("nobody", "", 6281200000000, None):
        assert nobody not in made


@given(PHONES | HIDDEN, PHONES | HIDDEN)
def test_a_key_stands_for_one_jid_only(one: str, other: str) -> None:
    assert jid_of(key_of(one)) == one
    assert (key_of(one) == key_of(other)) == (one == other)


def test_a_phone_number_is_not_the_hidden_id_of_the_same_digits() -> None:
    phone, hidden = "628120000000000@s.whatsapp.net", "628120000000000@lid"
    assert tuple(People.of([phone, hidden])) == (phone, hidden)
    assert People.of([phone]) != People.of([hidden])


@pytest.mark.parametrize(
    "written",
    [
        "",
        "@lid",
        "6281200000000",
        "+6281200000000@s.whatsapp.net",
        "06281200000000@s.whatsapp.net",
        "-6281200000000@s.whatsapp.net",
        "6_281_200_000_000@s.whatsapp.net",
        "6281200000000@c.us",
        "6281200000000@s.whatsapp.net ",
        "٦٢٨١٢٠٠٠٠٠٠٠٠@s.whatsapp.net",
        "9999999999999999@s.whatsapp.net",
    ],
)
def test_what_is_no_canonical_jid_is_no_person(written: str) -> None:
    with pytest.raises(ValueError, match=r"JID|int\(\)"):
        People.of([*people(1), written])


def test_what_was_handed_over_does_not_change_any_more() -> None:
    gathering = Gathering()
    gathering.extend(map(key_of, [*people(2), LARGEST]))
    first = gathering.people()
    assert len(gathering) == 0
    gathering.append(key_of(people(1)[0]))
    assert tuple(first) == (*people(2), LARGEST)
    assert tuple(gathering.people()) == tuple(people(1))


def test_people_can_be_shown_without_their_numbers() -> None:
    assert repr(People.of(people(1_234))) == "<People: 1,234>"


def test_a_hundred_thousand_people_take_a_megabyte() -> None:
    tracemalloc.start()
    try:
        kept = People.of(f"{number}@lid" for number in range(10**14, 10**14 + 100_000))
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
    assert len(kept) == 100_000
