"""The checkpoint: small, readable again as it was, and bound to its sending order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.checkpoint import (
    REMEMBERED_BATCHES,
    BatchRecord,
    Checkpoint,
    Counts,
    MemoryJobs,
    Retry,
    fingerprint,
    finished,
)
from stages.flow import BatchResult
from stages.people import People
from stages.roll import Roll
from tests.support import EPOCH, SESSION, batch, people, story

NAMES = st.text(st.characters(codec="ascii", exclude_characters="\n"), max_size=20)


def standing(total: int, size: int, *, failing: int) -> dict[str, Any]:
    """How a story of `total` stands at its end if one recipient in `failing` fails in its batch."""
    roll, of = Roll(total, retries=3), story(people(total))
    while places := roll.take(size):
        listed = of.recipients[places[0] : places[-1] + 1]
        dead = dict.fromkeys(listed[::failing], "not-on-whatsapp") if failing else {}
        sent = [jid for jid in listed if jid not in dead]
        roll.settle(BatchResult(batch=batch(of, places=places), outcome="sent", sent=sent, failed=dead))
    return roll.standing()


def stored(**fields: Any) -> bytes:
    return msgspec.json.encode(Checkpoint(session_id=SESSION, story_id="sale", **fields))


def test_where_a_million_recipients_stand_is_a_few_bytes() -> None:
    batches = tuple(BatchRecord(index, 5_000, 1, "sent", 4_321) for index in range(200))
    whole = stored(
        total=1_000_000, batches=batches, counts=Counts(200, 200), **standing(1_000_000, 5_000, failing=0)
    )
    assert len(whole) < 10_000


def test_even_if_one_in_a_hundred_fails_it_is_small_enough_to_be_stored_after_every_batch() -> None:
    assert len(stored(total=1_000_000, **standing(1_000_000, 5_000, failing=100))) < 250_000


def test_as_many_batches_as_a_checkpoint_names_fit_in_it() -> None:
    batches = tuple(
        BatchRecord(index, 10_000, 21, "timed-out", 100_000) for index in range(REMEMBERED_BATCHES)
    )
    assert len(stored(batches=batches)) < 250_000


PACKED = st.lists(st.integers(1, 2**40), max_size=6).map(lambda drawn: tuple(drawn[: len(drawn) // 2 * 2]))
RETRIES = st.lists(st.builds(Retry, st.integers(0, 20), st.booleans(), st.booleans(), PACKED), max_size=3)
CHECKPOINTS = st.builds(
    Checkpoint,
    session_id=st.just(SESSION),
    story_id=st.just("sale"),
    state=st.sampled_from(["open", "paused", "cancelled", "finished"]),
    order=NAMES,
    total=st.integers(0, 10**6),
    message_id=st.none() | NAMES,
    anchored=st.booleans(),
    next=st.integers(0, 10**6),
    sent=PACKED,
    failed=st.dictionaries(NAMES, PACKED, max_size=3),
    unknown=PACKED,
    retries=RETRIES.map(tuple),
    out=RETRIES.map(tuple),
    batches=st.lists(
        st.builds(
            BatchRecord,
            st.integers(0, 9),
            st.integers(1, 9),
            st.integers(1, 9),
            st.sampled_from(["sent", "failed", "halted"]),
            st.integers(0, 10**9),
        ),
        max_size=3,
    ).map(tuple),
    counts=st.builds(Counts, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    starts=st.integers(0, 9),
    began=st.none() | st.integers(0, 10**6).map(lambda seconds: EPOCH + timedelta(seconds=seconds)),
    reason=st.none() | NAMES,
)


@given(CHECKPOINTS)
def test_a_checkpoint_is_the_same_when_it_is_read_again(checkpoint: Checkpoint) -> None:
    assert msgspec.json.decode(msgspec.json.encode(checkpoint), type=Checkpoint) == checkpoint
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(checkpoint), type=Checkpoint) == checkpoint


@given(st.lists(NAMES, max_size=5), st.lists(NAMES, max_size=5))
def test_two_orders_have_the_same_fingerprint_only_if_they_are_the_same(a: list[str], b: list[str]) -> None:
    assert (fingerprint(a) == fingerprint(b)) == (a == b)


def test_recipients_that_are_cut_elsewhere_are_another_order() -> None:
    assert (
        len({fingerprint(order) for order in (["ab", "c"], ["a", "bc"], ["abc"], ["c", "ab"], [], [""])}) == 6
    )


def test_the_fingerprint_of_an_order_is_the_same_in_every_process() -> None:
    assert fingerprint(["a", "b"]) == "8d020eb46fdee76eed11c25c3c809ede"


KEYS = st.one_of(st.integers(10_000, 10_003), st.integers(2**63 - 1, 2**63 + 2))


@given(st.lists(KEYS, max_size=4), st.lists(KEYS, max_size=4), st.lists(KEYS, max_size=3))
def test_the_same_people_in_the_same_order_have_one_fingerprint_however_they_were_gathered(
    a: list[int], b: list[int], others: list[int]
) -> None:
    first, second = People.by_keys(a), People.by_keys([*others, *b])[len(others) :]
    assert (fingerprint(first) == fingerprint(second)) == (a == b)


def test_the_fingerprint_of_people_is_the_same_in_every_process() -> None:
    assert fingerprint(People.of(people(2))) == "2d3c0d3ff60ba4d3be93a6b852ee373a"


@pytest.mark.parametrize("reason", [None, "poison"])
def test_of_a_finished_story_only_that_it_is_over_is_kept(reason: str | None) -> None:
    kept = finished(SESSION, "sale", reason=reason)
    assert kept == Checkpoint(session_id=SESSION, story_id="sale", state="finished", reason=reason)
    assert len(msgspec.json.encode(kept)) < 100


def test_what_is_in_memory_is_found_by_session_and_story() -> None:
    async def main() -> list[Checkpoint | None]:
        jobs, kept = MemoryJobs(), finished(SESSION, "sale")
        await jobs.save(kept)
        assert jobs.saves == 1
        return [await jobs.load(*names) for names in [(SESSION, "sale"), (SESSION, "x"), ("x", "sale")]]

    assert anyio.run(main) == [finished(SESSION, "sale"), None, None]
