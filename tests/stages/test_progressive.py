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
    planned: int | None = None,
    duration: float = MID,
    share: float = 1.0,
    size: int | None = None,
    whole: bool = True,
) -> Decision:
    """What is decided after a batch of `planned`, or else of the rung that `history` stands on."""
    planned = planned or LADDER[history.rung]
    sample = Sample(
        outcome=outcome,
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
    assert POLICY.first(50_000, History(proven=5_000, shut={2_000: Shut(left=1, span=5)})).size == 1_000
    assert POLICY.first(50_000, History(proven=5_000, shut={2_000: Shut(left=0, span=5)})).size == 5_000


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


# Batches that were planned before the last decision: each speaks for its own rung


@pytest.mark.parametrize("planned", [100, 500, 2_000, 5_000])
@pytest.mark.parametrize("duration", [FAST, MID])
def test_a_success_planned_before_the_last_decision_proves_its_rung_and_moves_nothing(
    planned: int, duration: float
) -> None:
    before = at(2, failures={planned: 1}, shut={4_000: Shut(left=3, span=5)})
    decision = after(before, planned=planned, duration=duration)
    assert (decision.size, decision.history.proven, decision.learned) == (1_000, planned, True)
    assert decision.history.failures == {}, "it was a good batch of its rung"
    assert decision.history.shut[4_000].left == 2, "a good batch, whenever it was planned"


def test_a_short_success_planned_before_the_last_decision_proves_nothing() -> None:
    decision = after(at(2), planned=4_000, size=3_799)
    assert (decision.size, decision.history.proven, decision.learned) == (1_000, 0, False)


@pytest.mark.parametrize("outcome", ["failed", "timed-out"])
@pytest.mark.parametrize(
    ("present", "planned", "size"),
    [
        (5, 5_000, 2_000),
        (2, 5_000, 1_000),
        (3, 5_000, 2_000),
        (5, 2_000, 500),
        (4, 100, 100),
        (0, 5_000, 100),
    ],
)
def test_a_failure_goes_down_to_two_below_the_rung_it_was_planned_on_unless_that_is_reached(
    outcome: BatchOutcome, present: int, planned: int, size: int
) -> None:
    assert after(at(present), outcome=outcome, planned=planned).size == size


@pytest.mark.parametrize(
    ("present", "planned", "size"),
    [(5, 5_000, 4_000), (2, 5_000, 1_000), (4, 5_000, 4_000), (5, 1_000, 500), (4, 100, 100)],
)
def test_a_slow_batch_goes_down_to_one_below_the_rung_it_was_planned_on_and_shuts_that_rung(
    present: int, planned: int, size: int
) -> None:
    decision = after(at(present), planned=planned, duration=SLOW)
    assert (decision.size, decision.learned) == (size, True)
    assert decision.history.shut == {planned: Shut(left=5, span=5)}


def test_three_batches_of_5000_that_time_out_together_are_one_setback() -> None:
    history = POLICY.first(50_000, History(proven=5_000)).history
    for _ in range(3):
        decision = after(history, outcome="timed-out", planned=5_000, duration=15)
        history = decision.history
    assert decision.size == 2_000
    assert history.shut == {5_000: Shut(left=5, span=5)}
    assert history.proven == 2_000


def test_three_batches_that_are_slow_together_are_one_setback() -> None:
    history = at(5)
    for _ in range(3):
        history = after(history, planned=5_000, duration=SLOW).history
    assert (history.rung, history.shut) == (4, {5_000: Shut(left=5, span=5)})


def test_a_failure_is_held_against_the_size_it_was_planned_with_and_not_against_the_present_one() -> None:
    history = after(at(2), outcome="failed", planned=5_000).history
    assert history.failures == {5_000: 1}
    assert after(history, outcome="failed", planned=5_000).history.shut == {5_000: Shut(left=5, span=5)}


def test_a_batch_cut_to_a_size_between_two_rungs_speaks_for_the_lower_one() -> None:
    assert after(at(2), planned=1_999, size=1_000).history.proven == 1_000
    assert after(at(4), outcome="timed-out", planned=4_999).history.shut == {4_000: Shut(left=5, span=5)}


def test_what_is_held_against_a_size_counts_on_every_ladder() -> None:
    history = at(1, shut={2_000: Shut(left=2, span=5)})
    for ladder, size in (((100, 300, 2_000, 9_000), 300), ((50, 1_999, 3_000), 1_999), ((7, 70), 70)):
        policy = structs.replace(POLICY, ladder=ladder)
        assert policy.first(50_000, structs.replace(history, proven=9_000)).size == size


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
    assert twice.shut == {2_000: Shut(left=5, span=5)}


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
        spans.append(history.shut[1_000].left)
        history = good(structs.replace(history, rung=0), spans[-1])
    assert spans == [5, 10, 20, 40, 40]


def test_what_is_above_a_shut_rung_is_out_of_reach_too() -> None:
    history = at(1, shut={1_000: Shut(left=9, span=10)})
    decision = after(history, duration=FAST)
    assert decision.size == 500
    assert "shut" in decision.reason


def test_only_good_batches_open_a_rung_again() -> None:
    history = at(1, shut={4_000: Shut(left=3, span=5)})
    for decision in (
        after(history, outcome="failed"),
        after(history, duration=SLOW),
        after(history, whole=False),
        after(history, share=0.9499),
        after(history, planned=5_000, share=0.9499),
    ):
        assert decision.history.shut[4_000].left == 3
    assert good(history).shut[4_000].left == 2


def test_a_rung_that_is_open_again_counts_a_new_time_out_as_a_new_setback() -> None:
    history = at(4, shut={4_000: Shut(left=0, span=5)})
    assert after(history, outcome="timed-out").history.shut == {4_000: Shut(left=10, span=10)}


def test_a_setback_while_a_rung_is_shut_makes_it_no_longer() -> None:
    history = at(2, shut={4_000: Shut(left=3, span=5)})
    for decision in (
        after(history, outcome="timed-out", planned=4_000),
        after(history, planned=4_000, duration=SLOW),
    ):
        assert decision.history.shut == history.shut


# What is proven


@pytest.mark.parametrize(("size", "proven"), [(949, 0), (950, 1_000), (1_000, 1_000)])
def test_a_good_batch_of_at_least_95_percent_of_its_rung_proves_the_rung(size: int, proven: int) -> None:
    decision = after(at(2), size=size)
    assert (decision.history.proven, decision.learned) == (proven, proven > 0)


def test_a_smaller_rung_does_not_lower_what_is_proven() -> None:
    assert good(at(0, proven=4_000)).proven == 4_000


@pytest.mark.parametrize("outcome", ["failed", "timed-out"])
@pytest.mark.parametrize(
    ("proven", "planned", "kept"),
    [
        (5_000, 5_000, 2_000),
        (5_000, 4_000, 1_000),
        (5_000, 500, 100),
        (5_000, 100, 100),
        (500, 5_000, 500),
        (0, 5_000, 0),
    ],
)
def test_after_a_failure_no_more_is_proven_than_two_rungs_below_it(
    outcome: BatchOutcome, proven: int, planned: int, kept: int
) -> None:
    decision = after(at(5, proven=proven), outcome=outcome, planned=planned)
    assert (decision.history.proven, decision.learned) == (kept, True)


@pytest.mark.parametrize("outcome", ["failed", "timed-out"])
def test_one_failed_tail_does_not_wipe_what_a_day_has_taught(outcome: BatchOutcome) -> None:
    history = POLICY.first(5_000, History(proven=4_000)).history
    history = after(history, size=37, outcome=outcome).history
    assert POLICY.first(50_000, history).size == 1_000


def test_after_a_failure_what_is_proven_later_in_the_story_counts_whether_more_or_less() -> None:
    history = good(POLICY.first(50_000, History(proven=5_000)).history)
    failed = after(history, outcome="failed").history
    assert failed.proven == 2_000
    assert good(failed).proven == 2_000
    assert good(failed, 2).proven == 4_000
    slower = after(failed, duration=SLOW).history
    assert (slower.proven, good(slower).proven) == (2_000, 1_000)


def test_what_was_proven_before_a_second_failure_counts_no_more_after_it() -> None:
    history = good(after(at(5, proven=5_000), outcome="failed").history, 2)
    assert history.proven == 4_000
    again = after(history, outcome="failed", planned=1_000).history
    assert (again.proven, good(again).proven) == (100, 100)


def test_in_the_next_story_a_failure_of_the_last_one_lets_small_batches_lower_nothing() -> None:
    failed = after(at(5, proven=5_000), outcome="failed").history
    assert after(POLICY.first(500, failed).history, planned=100).history.proven == 2_000


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
    failures=st.dictionaries(st.sampled_from(LADDER), st.integers(1, 3), max_size=3),
    shut=st.dictionaries(
        st.sampled_from(LADDER[1:]),
        st.builds(Shut, left=st.integers(0, 5), span=st.integers(5, 40)),
        max_size=3,
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
    size=st.integers(1, 5_000),
    share=st.floats(0, 1),
    duration=st.floats(0, 100),
    whole=st.booleans(),
)
WENT = st.tuples(st.sampled_from([None, *LADDER]), SAMPLES)
"""How a batch went, and what it was planned with: None for the size of the last decision."""
LADDERS = st.lists(st.integers(1, 10**6), min_size=1, max_size=8, unique=True).map(
    lambda rungs: tuple(sorted(rungs))
)


def walked(
    policy: Progressive, went: Iterable[tuple[int | None, Sample]], history: History
) -> list[Decision]:
    """The decisions of a whole story."""
    decisions = [policy.first(5_000, history)]
    for planned, sample in went:
        last = decisions[-1]
        decisions.append(policy.next(last.size if planned is None else planned, sample, last.history))
    return decisions


@given(GARBAGE, st.lists(WENT, max_size=8), LADDERS)
def test_any_history_from_a_store_leads_to_sizes_on_the_ladder_and_never_raises(
    history: History, went: list[tuple[int | None, Sample]], ladder: tuple[int, ...]
) -> None:
    policy = structs.replace(POLICY, ladder=ladder)
    for decision in walked(policy, went, history):
        assert decision.size in ladder
        assert decision.size == ladder[decision.history.rung]
        assert decision.reason


@given(GARBAGE, SAMPLES, NUMBERS)
def test_any_history_in_the_middle_of_a_story_leads_to_a_size_on_the_ladder(
    history: History, sample: Sample, size: int
) -> None:
    assert POLICY.next(size, sample, history).size in LADDER


@given(SANE, st.lists(WENT, max_size=8))
def test_the_same_values_lead_to_the_same_decisions_and_change_no_history(
    history: History, went: list[tuple[int | None, Sample]]
) -> None:
    before = copy.deepcopy(history)
    first = walked(POLICY, went, history)
    assert walked(POLICY, went, history) == first
    assert history == before


@given(SANE, st.lists(WENT, max_size=20))
def test_no_decision_is_at_or_above_a_shut_rung(
    history: History, went: list[tuple[int | None, Sample]]
) -> None:
    for decision in walked(POLICY, went, history):
        shut = [size for size, door in decision.history.shut.items() if door.left > 0]
        assert decision.size < min(shut, default=10**9) or decision.history.rung == 0


@given(SANE, st.lists(WENT, max_size=20))
def test_only_a_batch_planned_with_the_present_size_makes_the_next_one_larger(
    history: History, went: list[tuple[int | None, Sample]]
) -> None:
    decisions = walked(POLICY, went, history)
    for (planned, sample), before, decision in zip(went, decisions, decisions[1:], strict=False):
        if decision.size > before.size:
            assert planned in {None, before.size}
            assert sample.outcome == "sent"
            assert sample.whole
            assert sample.share >= 0.95
            assert sample.duration <= 10


@given(SANE, st.sampled_from(["timed-out", "failed", "slow"]), st.sampled_from(LADDER), st.integers(2, 16))
def test_however_many_go_wrong_together_the_session_goes_down_once_and_a_rung_is_shut_once(
    history: History, kind: str, planned: int, many: int
) -> None:
    outcome: BatchOutcome = "sent" if kind == "slow" else kind  # type: ignore[assignment] # one of the others
    few = 2 if kind == "failed" else 1
    found = []
    for count in (few, many):
        after_all = history
        for _ in range(count):
            after_all = after(after_all, outcome=outcome, planned=planned, duration=SLOW).history
        found.append(structs.replace(after_all, failures={}))
    assert found[0] == found[1]


@given(SANE, st.lists(WENT, max_size=20))
def test_only_a_good_whole_batch_near_its_rung_raises_the_proven_size(
    history: History, went: list[tuple[int | None, Sample]]
) -> None:
    before = POLICY.first(5_000, history)
    for planned, sample in went:
        decision = POLICY.next(before.size if planned is None else planned, sample, before.history)
        if decision.history.proven > before.history.proven:
            assert sample.outcome == "sent"
            assert sample.whole
            assert sample.share >= 0.95
            assert sample.duration <= 10
            assert sample.size >= 0.95 * decision.history.proven
        before = decision


@given(SANE, SAMPLES, st.sampled_from(LADDER))
def test_a_setback_shuts_for_one_to_forty_good_batches(history: History, sample: Sample, size: int) -> None:
    decision = POLICY.next(size, sample, history)
    assert all(0 <= door.left <= 40 for door in decision.history.shut.values())
