"""The ledger: a phone shows a message once, and who was sent a different content under one id is seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stages.messages import Text
from tests.support import people
from transports.simulated import Ledger

HELLO, OTHER = Text(text="Hello!"), Text(text="Hello?")


def test_who_gets_a_message_twice_has_seen_it_once() -> None:
    ledger = Ledger()
    ledger.note_delivery("A", HELLO, people(3))
    ledger.note_delivery("A", HELLO, people(4))
    assert ledger.audience("A") == frozenset(people(4))
    assert ledger.repeats == 3
    assert set(ledger.sightings().values()) == {1}


def test_the_same_story_under_two_ids_is_seen_twice() -> None:
    ledger = Ledger()
    ledger.note_delivery("A", HELLO, people(2))
    ledger.note_delivery("B", HELLO, people(1))
    assert ledger.sightings() == {people(2)[0]: 2, people(2)[1]: 1}
    assert ledger.repeats == 0


def test_different_contents_under_one_id_are_versions_of_it() -> None:
    ledger = Ledger()
    ledger.note_delivery("A", HELLO, people(1))
    ledger.note_delivery("A", Text(text="Hello!"), people(2))
    assert ledger.versions("A") == 1
    ledger.note_delivery("A", OTHER, people(1))
    assert ledger.versions("A") == 2


def test_a_message_nobody_got_has_no_audience_and_no_version() -> None:
    ledger = Ledger()
    assert (ledger.audience("A"), ledger.versions("A"), dict(ledger.sightings())) == (frozenset(), 0, {})


@given(
    st.lists(st.tuples(st.sampled_from("AB"), st.lists(st.sampled_from(people(6)), unique=True)), max_size=12)
)
def test_everything_delivered_was_seen_or_dropped(deliveries: list[tuple[str, list[str]]]) -> None:
    ledger = Ledger()
    for message_id, recipients in deliveries:
        ledger.note_delivery(message_id, HELLO, recipients)
    delivered = sum(len(recipients) for _, recipients in deliveries)
    assert sum(ledger.sightings().values()) + ledger.repeats == delivered
