"""Recipients: who is one person, who is left out and why, and in which order they are sent to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import BadRequest
from stages.messages import Recipient
from stages.people import People
from stages.recipients import Sorter, canonical, in_sending_order, region, shared_target, sort_out
from tests.support import people

ONE = "6281234567890@s.whatsapp.net"


@pytest.mark.parametrize(
    "written",
    [
        "6281234567890@s.whatsapp.net",
        "6281234567890@c.us",
        "6281234567890:12@s.whatsapp.net",
        "6281234567890.0:12@s.whatsapp.net",
        "6281234567890@C.US",
        "6281234567890",
        "+6281234567890",
        "+62 812-3456-7890",
        "+62 (812) 3456.7890",
        "006281234567890",
        " 6281234567890@c.us\n",
        "\u202a+62 812\u00a03456 7890\u202c",
    ],
)
def test_every_way_of_writing_a_person_is_the_same_person(written: str) -> None:
    assert canonical(written) == ONE


@pytest.mark.parametrize(
    "written",
    [
        "",
        " ",
        "@",
        "nobody",
        "1234",
        "1234567890123456",
        "0812345678",
        "6281234567890@",
        "6281234567890@example.org",
        "6281234567890@s.whatsapp.net@c.us",
        "@s.whatsapp.net",
        "62812x4567890",
        "6281234567890:12",
        "٦٢٨١٢٣٤٥٦٧٨",
        "120363021234567890@g.us",
        "status@broadcast",
        "++6281234567890",
    ],
)
def test_what_means_nobody_is_nobody(written: str) -> None:
    assert canonical(written) is None


def test_a_hidden_user_id_stays_what_it_is_and_is_not_the_phone_number_of_the_same_digits() -> None:
    assert canonical("123456789012345678@lid") == "123456789012345678@lid"
    assert canonical("6281234567890:3@lid") == "6281234567890@lid"
    assert canonical("6281234567890@lid") != canonical("6281234567890")


@given(st.text(max_size=40))
def test_whoever_is_found_is_found_again_and_looks_like_a_jid(written: str) -> None:
    jid = canonical(written)
    if jid is not None:
        assert canonical(jid) == jid
        user, _, server = jid.partition("@")
        assert user.isascii()
        assert user.isdigit()
        assert server in {"s.whatsapp.net", "lid"}
        assert shared_target(jid) is None


@given(
    st.from_regex(r"[1-9][0-9]{4,14}", fullmatch=True),
    st.lists(st.tuples(st.integers(0, 14), st.sampled_from(" -().\u202c")), max_size=4),
    st.sampled_from(["", "+", "00"]),
    st.sampled_from(["@c.us", "@s.whatsapp.net", ":7@c.us", ".1:99@s.whatsapp.net"]),
)
def test_any_number_in_any_dress_is_that_number(
    digits: str, spacing: list[tuple[int, str]], prefix: str, server: str
) -> None:
    written = digits
    for place, space in spacing:
        written = written[:place] + space + written[place:]
    assert canonical(prefix + written) == f"{digits}@s.whatsapp.net"
    assert canonical(prefix + digits + server) == f"{digits}@s.whatsapp.net"


def test_each_person_is_taken_once_in_the_order_of_the_request() -> None:
    a, b, c = people(3)
    roster = sort_out([b, c.replace("s.whatsapp.net", "c.us"), a, f"+{b.partition('@')[0]}", c], frozenset())
    assert roster.recipients == [b, c, a]
    assert [skip.reason for skip in roster.skipped] == ["duplicate", "duplicate"]
    assert roster.skipped[0].recipient == f"+{b.partition('@')[0]}"


def test_the_suppressed_are_set_aside_however_they_are_written() -> None:
    a, b = people(2)
    roster = sort_out([a, f"{b.partition('@')[0]}:4@c.us"], {b})
    assert roster.recipients == [a]
    assert [skip.reason for skip in roster.skipped] == ["suppressed"]


def test_a_request_that_aims_at_a_group_is_a_mistake_as_a_whole() -> None:
    with pytest.raises(BadRequest, match="target-not-allowed") as caught:
        sort_out([*people(2), "1234567890-123@g.us"], frozenset())
    assert caught.value.field == "recipients[2]"


@given(st.lists(st.sampled_from([*people(8), "bad", "+62 812 0000 0003", "6281200000001@c.us"]), max_size=30))
def test_everyone_is_taken_once_or_set_aside_with_a_reason(written: list[str]) -> None:
    roster = sort_out(written, frozenset(people(1)))
    assert len(roster.recipients) + len(roster.skipped) == len(written)
    assert len(set(roster.recipients)) == len(roster.recipients)
    assert set(roster.recipients).isdisjoint(people(1))
    assert {skip.reason for skip in roster.skipped} <= {"duplicate", "invalid", "suppressed"}


@given(
    st.lists(
        st.sampled_from([*people(5), "bad", "+62 812 0000 0003", "12345678@lid", "12345678"])
        | st.builds(Recipient, jid=st.sampled_from(people(5)), priority=st.integers(0, 9)),
        max_size=20,
    ),
    st.lists(st.integers(0, 20), max_size=3).map(sorted),
)
def test_recipients_that_come_in_parts_are_sorted_out_as_if_they_came_at_once(
    written: list[str | Recipient], cuts: list[int]
) -> None:
    sorter = Sorter(set(people(1)), field=str)
    for start, stop in zip([0, *cuts], [*cuts, None], strict=True):
        sorter.add(enumerate(written[start:stop], start))
    assert sorter.roster() == sort_out(written, set(people(1)))


@pytest.mark.parametrize(
    "text", ["6281234567890", "1" * 15, "12345678@lid", "9" * 20 + "@lid", "+12345@c.us"]
)
def test_the_quick_way_to_a_number_gives_what_the_thorough_way_gives(text: str) -> None:
    for written in (text, f" {text}"):
        assert list(sort_out([written], frozenset()).recipients) == [canonical(text)]


def test_a_refusal_names_the_recipient_as_the_caller_numbered_it() -> None:
    sorter = Sorter(field="line {}".format)
    sorter.add(enumerate(people(3)))
    with pytest.raises(BadRequest) as caught:
        sorter.add([(8, people(1)[0]), (9, "status@broadcast")])
    assert caught.value.field == "line 9"


def test_the_suppressed_may_be_any_container() -> None:
    class Odd:
        def __contains__(self, jid: object) -> bool:
            return isinstance(jid, str) and int(jid.partition("@")[0]) % 2 == 1

    assert sort_out(people(4), Odd()).recipients == people(4)[::2]


def test_without_priorities_the_order_of_the_request_is_kept() -> None:
    listed = people(5)[::-1]
    assert list(in_sending_order(listed, {}, regional=False)) == listed
    compact = People.of(listed)
    assert in_sending_order(compact, {}, regional=False) is compact


def test_the_most_active_come_first_and_the_order_of_the_request_decides_between_equals() -> None:
    a, b, c, d, e = people(5)
    roster = sort_out(
        [
            Recipient(jid=a, priority=1),
            Recipient(jid=b, priority=9),
            c,
            Recipient(jid=d, priority=9),
            Recipient(jid=e, priority=5),
        ],
        frozenset(),
    )
    assert list(in_sending_order(roster.recipients, roster.priorities, regional=False)) == [b, d, c, e, a]


def test_regional_puts_each_region_together_in_the_order_they_first_appear() -> None:
    us, de, us2, id_, de2 = (
        f"{number}@s.whatsapp.net"
        for number in (12125550100, 491701234567, 13105550100, 6281234567, 49170765432)
    )
    assert list(in_sending_order([us, de, us2, id_, de2], {}, regional=True)) == [us, us2, de, de2, id_]


def test_hidden_user_ids_are_a_region_of_their_own() -> None:
    us, hidden, us2 = "12125550100@s.whatsapp.net", "12125550100@lid", "13105550100@s.whatsapp.net"
    assert list(in_sending_order([hidden, us, hidden, us2], {}, regional=True)) == [hidden, hidden, us, us2]
    assert list(in_sending_order([us, hidden, us2], {hidden: 6}, regional=False)) == [hidden, us, us2]


def test_priority_comes_before_region() -> None:
    us, de, us2 = (f"{number}@s.whatsapp.net" for number in (12125550100, 491701234567, 13105550100))
    assert list(in_sending_order([us, de, us2], {us2: 9, de: 9}, regional=True)) == [us2, de, us]


@given(
    st.lists(st.sampled_from(people(30)), unique=True),
    st.dictionaries(st.sampled_from(people(30)), st.integers(0, 9)),
)
def test_ordering_loses_and_adds_nobody(listed: list[str], priorities: dict[str, int]) -> None:
    ordered = in_sending_order(listed, priorities, regional=True)
    assert ordered == in_sending_order(People.of(listed), priorities, regional=True)
    assert sorted(ordered) == sorted(listed)
    levels = [priorities.get(jid, 5) for jid in ordered]
    assert levels == sorted(levels, reverse=True)


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("12125550100", "US"),
        ("491701234567", "EU"),
        ("447911123456", "EU"),
        ("6281234567890", "ASIA"),
        ("919812345678", "ASIA"),
        ("61412345678", "OCEANIA"),
        ("64211234567", "OCEANIA"),
        ("6737123456", "ASIA"),
        ("5511987654321", "LATAM"),
        ("27821234567", "AFRICA"),
        ("21000000000", "OTHER"),
    ],
)
def test_a_region_follows_from_the_country_code(number: str, expected: str) -> None:
    assert region(f"{number}@s.whatsapp.net") == expected


def test_a_hidden_user_id_has_no_region() -> None:
    assert region("12125550100@lid") == "OTHER"
