"""`progressive`: every rule of the ladder by itself, and what holds for any history whatever."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from stages.history import History, Shut
from stages.messages import BatchOutcome
from stages.policies import Progressive
from stages.policy import Decision, Sample

LADDER = (100, 500, 1_000, 2_000, 4_000, 5_000)
POLICY = Progressive(ladder=LADDER, fast=2.0, slow=10.0, min_success_rate=0.95)

FAST, MID, SLOW = 1.0, 5.0, 11.0


def at(rung: int, **fields: object) -> History:
    return History(**{"rung": rung, **fields})  # type: ignore[arg-type] # fields of a History


def after(
    history: History,
    *,
    outcome: BatchOutcome = "sent",
    duration: float = MID,
    share: float = 1.0,
    size: int | None = None,
    whole: bool = True,
) -> Decision:
    """What is decided after a batch of the rung that `history` stands on."""
    planned = LADDER[history.rung]
    sample = Sample(
        outcome=outcome,
        planned=planned,
        size=planned if size is None else size,
        share=share if outcome == "sent" else 0.0,
        duration=duration,
        whole=whole,
    )
    return POLICY.next(planned, sample, history)


def good(history: History, times: int = 1) -> History:
    """After `times` more good batches of middling speed."""
    for _ in range(times):
        history = after(history).history
    return history


# Where a story starts


@pytest.mark.parametrize(
    ("proven", "size"),
    [
        (0, 100),
        (1, 100),
        (100, 100),
        (499, 100),
        (500, 500),
        (3_999, 2_000),
        (4_000, 4_000),
        (5_000, 5_000),
        (10**9, 5_000),
    ],
)
def test_a_story_starts_on_the_largest_rung_that_is_not_above_the_proven_size(proven: int, size: int) -> None:
    decision = POLICY.first(50_000, History(proven=proven))
    assert (decision.size, LADDER[decision.history.rung]) == (size, size)


def test_a_story_starts_below_what_is_shut() -> None:
    assert POLICY.first(50_000, History(proven=5_000, shut={3: Shut(left=1, span=5)})).size == 1_000
    assert POLICY.first(50_000, History(proven=5_000, shut={3: Shut(left=0, span=5)})).size == 5_000


def test_a_new_story_begins_without_the_setback_of_the_last_one() -> None:
    history = POLICY.first(9, History(proven=500, setback=True, proven_since=500)).history
    assert (history.setback, history.proven_since, history.proven) == (False, 0, 500)


# Up and down


@pytest.mark.parametrize(
    ("duration", "size"),
    [(0.0, 4_000), (1.999, 4_000), (2.0, 2_000), (9.0, 2_000), (10.0, 2_000), (10.001, 500), (300, 500)],
)
def test_fast_goes_up_two_rungs_middling_one_and_slow_goes_down_one(duration: float, size: int) -> None:
    assert after(at(2), duration=duration).size == size


@pytest.mark.parametrize("outcome", ["failed", "timed-out"])
def test_a_failure_or_time_out_goes_down_two_rungs(outcome: BatchOutcome) -> None:
    assert after(at(4), outcome=outcome, duration=15).size == 1_000
    assert after(at(5), outcome=outcome, duration=0.05).size == 2_000


@pytest.mark.parametrize("rung", [0, 1])
def test_the_ladder_ends_at_its_lowest_rung(rung: int) -> None:
    assert after(at(rung), outcome="timed-out").size == 100
    assert after(at(0), duration=SLOW).size == 100


@pytest.mark.parametrize("rung", [4, 5])
def test_the_ladder_ends_at_its_highest_rung(rung: int) -> None:
    assert after(at(rung), duration=FAST).size == 5_000


def test_the_rung_is_tracked_and_not_the_size_so_that_a_short_tail_pulls_nothing_down() -> None:
    assert after(at(4), size=37, duration=0.3).size == 5_000


# No growth


@pytest.mark.parametrize(("share", "size"), [(0.9499, 1_000), (0.0, 1_000), (0.95, 4_000), (1.0, 4_000)])
def test_a_share_below_the_minimum_stops_growth_and_proves_nothing(share: float, size: int) -> None:
    decision = after(at(2), duration=FAST, share=share)
    assert decision.size == size
    assert decision.history.proven == (1_000 if size > 1_000 else 0)
    assert decision.learned is (size > 1_000)


def test_a_batch_that_took_several_calls_changes_nothing() -> None:
    decision = after(at(2), duration=FAST, whole=False)
    assert (decision.size, decision.history, decision.learned) == (1_000, at(2), False)


def test_a_batch_planned_before_the_last_decision_changes_nothing() -> None:
    late = Sample(outcome="sent", planned=5_000, size=5_000, share=1.0, duration=FAST)
    decision = POLICY.next(5_000, late, at(2))
    assert (decision.size, decision.history, decision.learned) == (1_000, at(2), False)


# Shut rungs


@pytest.mark.parametrize("setback", ["slow", "timed-out"])
def test_a_rung_that_was_slow_or_timed_out_is_shut_for_five_good_batches(setback: str) -> None:
    outcome: BatchOutcome = "sent" if setback == "slow" else "timed-out"
    history = after(at(3), outcome=outcome, duration=SLOW).history
    history = structs.replace(history, rung=2)
    sizes = []
    for _ in range(6):
        decision = after(history, duration=FAST)
        sizes.append(decision.size)
        history = decision.history
    assert sizes == [1_000, 1_000, 1_000, 1_000, 4_000, 5_000]


def test_one_failure_does_not_shut_a_rung_and_two_in_a_row_do() -> None:
    once = after(at(3), outcome="failed").history
    assert once.shut == {}
    twice = after(structs.replace(once, rung=3), outcome="failed").history
    assert twice.shut == {3: Shut(left=5, span=5)}


def test_a_good_batch_between_two_failures_of_a_rung_makes_them_two_first_ones() -> None:
    history = after(at(3), outcome="failed").history
    history = good(structs.replace(history, rung=3))
    assert after(structs.replace(history, rung=3), outcome="failed").history.shut == {}


def test_failures_of_another_rung_do_not_count() -> None:
    history = after(at(3), outcome="failed").history
    assert after(structs.replace(history, rung=2), outcome="failed").history.shut == {}


def test_each_new_setback_shuts_a_rung_for_twice_as_long_and_forty_at_most() -> None:
    history, spans = at(2), []
    for _ in range(5):
        history = after(structs.replace(history, rung=2), outcome="timed-out").history
        spans.append(history.shut[2].left)
        history = good(structs.replace(history, rung=0), spans[-1])
    assert spans == [5, 10, 20, 40, 40]


def test_what_is_above_a_shut_rung_is_out_of_reach_too() -> None:
    history = at(1, shut={2: Shut(left=9, span=10)})
    decision = after(history, duration=FAST)
    assert decision.size == 500
    assert "shut" in decision.reason


def test_only_good_batches_open_a_rung_again() -> None:
    history = at(1, shut={4: Shut(left=3, span=5)})
    for decision in (
        after(history, outcome="failed"),
        after(history, duration=SLOW),
        after(history, whole=False),
    ):
        assert decision.history.shut[4].left == 3
    assert good(history).shut[4].left == 2


# What is proven


@pytest.mark.parametrize(("size", "proven"), [(949, 0), (950, 1_000), (1_000, 1_000)])
def test_a_good_batch_of_at_least_95_percent_of_its_rung_proves_the_rung(size: int, proven: int) -> None:
    decision = after(at(2), size=size)
    assert (decision.history.proven, decision.learned) == (proven, proven > 0)


def test_a_smaller_rung_does_not_lower_what_is_proven() -> None:
    assert good(at(0, proven=4_000)).proven == 4_000


@pytest.mark.parametrize("outcome", ["failed", "timed-out"])
def test_after_a_setback_only_what_is_proven_later_counts(outcome: BatchOutcome) -> None:
    history = POLICY.first(50_000, History(proven=5_000)).history
    history = good(history)
    decision = after(history, outcome=outcome)
    assert (decision.history.proven, decision.learned) == (0, True)
    history = good(decision.history)
    assert history.proven == 2_000
    assert good(history).proven == 4_000


def test_a_slow_batch_proves_nothing_and_takes_nothing_away() -> None:
    history = after(at(4, proven=2_000), duration=SLOW).history
    assert (history.proven, history.rung) == (2_000, 3)


@pytest.mark.parametrize("outcome", ["failed", "timed-out"])
@pytest.mark.parametrize("rung", range(len(LADDER)))
def test_a_failed_batch_never_raises_the_proven_size(outcome: BatchOutcome, rung: int) -> None:
    for proven in (0, 100, 2_000, 5_000):
        assert after(at(rung, proven=proven), outcome=outcome, duration=0.01).history.proven <= proven


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (POLICY.first(5_000, History()), "nothing is proven yet: start with 100"),
        (POLICY.first(5_000, History(proven=4_000)), "4,000 is proven: start with 4,000"),
        (after(at(2), duration=1.5), "1,000 in 1.5 s: fast: up to 4,000"),
        (after(at(2), duration=SLOW), "1,000 in 11.0 s: slow: down to 500"),
        (after(at(5), outcome="timed-out", duration=15), "5,000 timed out after 15.0 s: down to 2,000"),
        (after(at(2), outcome="failed"), "1,000 failed: down to 100"),
        (after(at(2), share=0.5), "only 50% were sent: stay at 1,000"),
    ],
)
def test_a_decision_says_why_in_words_a_person_understands(decision: Decision, words: str) -> None:
    assert decision.reason == words


# Whatever the history

SANE = st.builds(
    History,
    proven=st.sampled_from([0, *LADDER]),
    rung=st.integers(0, 5),
    setback=st.booleans(),
    proven_since=st.sampled_from([0, *LADDER]),
    failures=st.dictionaries(st.integers(0, 5), st.integers(1, 3), max_size=3),
    shut=st.dictionaries(
        st.integers(1, 5), st.builds(Shut, left=st.integers(0, 5), span=st.integers(5, 40)), max_size=3
    ),
)
NUMBERS = st.integers(-(10**6), 10**6)
GARBAGE = st.builds(
    History,
    version=NUMBERS,
    proven=NUMBERS,
    ceiling=NUMBERS,
    rung=NUMBERS,
    setback=st.booleans(),
    proven_since=NUMBERS,
    failures=st.dictionaries(NUMBERS, NUMBERS, max_size=3),
    shut=st.dictionaries(NUMBERS, st.builds(Shut, left=NUMBERS, span=NUMBERS), max_size=3),
)
SAMPLES = st.builds(
    Sample,
    outcome=st.sampled_from(["sent", "failed", "timed-out"]),
    planned=st.sampled_from(LADDER),
    size=st.integers(1, 5_000),
    share=st.floats(0, 1),
    duration=st.floats(0, 100),
    whole=st.booleans(),
)
LADDERS = st.lists(st.integers(1, 10**6), min_size=1, max_size=8, unique=True).map(
    lambda rungs: tuple(sorted(rungs))
)


def walked(policy: Progressive, samples: Iterable[Sample], history: History) -> list[Decision]:
    """The decisions of a whole story."""
    decisions = [policy.first(5_000, history)]
    for sample in samples:
        decisions.append(policy.next(decisions[-1].size, sample, decisions[-1].history))
    return decisions


@given(GARBAGE, st.lists(SAMPLES, max_size=8), LADDERS)
def test_any_history_from_a_store_leads_to_sizes_on_the_ladder_and_never_raises(
    history: History, samples: list[Sample], ladder: tuple[int, ...]
) -> None:
    policy = structs.replace(POLICY, ladder=ladder)
    for decision in walked(policy, samples, history):
        assert decision.size in ladder
        assert decision.size == ladder[decision.history.rung]
        assert decision.reason


@given(GARBAGE, SAMPLES, st.sampled_from(LADDER))
def test_any_history_in_the_middle_of_a_story_leads_to_a_size_on_the_ladder(
    history: History, sample: Sample, size: int
) -> None:
    assert POLICY.next(size, sample, history).size in LADDER


@given(SANE, st.lists(SAMPLES, max_size=8))
def test_the_same_values_lead_to_the_same_decisions_and_change_no_history(
    history: History, samples: list[Sample]
) -> None:
    before = copy.deepcopy(history)
    first = walked(POLICY, samples, history)
    assert walked(POLICY, samples, history) == first
    assert history == before


@given(SANE, st.lists(SAMPLES, max_size=20))
def test_no_decision_is_at_or_above_a_shut_rung(history: History, samples: list[Sample]) -> None:
    for decision in walked(POLICY, samples, history):
        shut = [rung for rung, door in decision.history.shut.items() if door.left > 0]
        assert decision.history.rung < min(shut, default=len(LADDER)) or decision.history.rung == 0


@given(SANE, st.lists(SAMPLES, max_size=20))
def test_only_a_good_whole_batch_near_its_rung_raises_the_proven_size(
    history: History, samples: list[Sample]
) -> None:
    before = POLICY.first(5_000, history)
    for sample in samples:
        decision = POLICY.next(before.size, sample, before.history)
        if decision.history.proven > before.history.proven:
            assert sample.outcome == "sent"
            assert sample.whole
            assert sample.share >= 0.95
            assert sample.duration <= 10
            assert sample.size >= 0.95 * decision.history.proven
        before = decision


@given(SANE, SAMPLES)
def test_a_setback_shuts_for_one_to_forty_good_batches(history: History, sample: Sample) -> None:
    decision = POLICY.next(LADDER[history.rung], sample, history)
    assert all(0 <= door.left <= 40 for door in decision.history.shut.values())
