"""What a session has learned counts for its time, and only in the form that is known."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from msgspec import structs

from stages.history import UNREADABLE, VERSION, History, MemoryHistories, Shut, fresh, stamped
from tests.support import EPOCH, proven

DAY = timedelta(hours=24)


@pytest.mark.parametrize(
    ("age", "counts"), [(0, True), (23.99, True), (24, True), (24.01, False), (10_000, False)]
)
def test_a_history_counts_until_it_is_older_than_its_time(age: float, counts: bool) -> None:
    kept = proven(4_000, age_hours=age)
    assert fresh(kept, now=EPOCH, ttl=DAY) == (kept if counts else History())


@pytest.mark.parametrize("version", [0, VERSION - 1, VERSION + 1, -1])
def test_a_history_of_another_version_is_as_if_there_were_none(version: int) -> None:
    kept = fresh(proven(4_000, version=version), now=EPOCH, ttl=DAY)
    assert structs.replace(kept, belief=None) == History()
    assert kept.belief is not None, "what was remembered must not vanish without a word"
    assert kept.belief.version == UNREADABLE


def test_no_history_and_an_undated_one_are_empty() -> None:
    assert fresh(None, now=EPOCH, ttl=DAY) == History()
    assert fresh(History(proven=4_000), now=EPOCH, ttl=DAY) == History()


def test_stamping_dates_a_history_and_changes_nothing_else() -> None:
    before = History(proven=500, shut={2_000: Shut(left=1, span=5)})
    after = stamped(before, now=EPOCH)
    assert after.at == EPOCH
    assert (after.proven, after.shut, before.at) == (500, before.shut, None)


def test_a_history_survives_being_written_and_read() -> None:
    history = proven(4_000, failures={5_000: 1}, shut={5_000: Shut(left=3, span=10)}, ceiling=49_000)
    assert msgspec.json.decode(msgspec.json.encode(history), type=History) == history


@pytest.mark.anyio
async def test_histories_in_memory_are_kept_by_session() -> None:
    histories = MemoryHistories()
    await histories.save("a", proven(100))
    await histories.save("b", proven(500))
    assert (await histories.load("a"), await histories.load("c")) == (proven(100), None)
