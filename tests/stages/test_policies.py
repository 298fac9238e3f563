"""`tiered`, `fixed`, and what every policy promises, whichever it is."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.history import History
from stages.options import SmartSend
from stages.policies import Adaptive, Fixed, Progressive, Tiered, policy_for
from stages.policy import Policy, Sample

STRATEGIES = ("tiered", "progressive", "adaptive", "fixed")


def sample(size: int = 100, **fields: object) -> Sample:
    usual = {"outcome": "sent", "size": size, "share": 1.0, "duration": 1.0}
    return Sample(**usual | fields)  # type: ignore[arg-type] # fields of a Sample


@pytest.mark.parametrize(
    ("total", "size"),
    [
        (1, 100),
        (499, 100),
        (500, 500),
        (1_999, 500),
        (2_000, 1_000),
        (4_999, 1_000),
        (5_000, 2_000),
        (9_999, 2_000),
        (10_000, 5_000),
        (19_999, 5_000),
        (20_000, 10_000),
        (1_000_000, 10_000),
    ],
)
def test_tiered_follows_from_the_total_alone(total: int, size: int) -> None:
    policy = policy_for(SmartSend(strategy="tiered"))
    for history in (History(), History(proven=5_000, rung=5)):
        assert policy.first(total, history).size == size


def test_each_tier_has_the_size_that_was_set_for_it() -> None:
    options = SmartSend(
        strategy="tiered",
        batch_size_small=1,
        batch_size_medium=2,
        batch_size_large=3,
        batch_size_xlarge=4,
        batch_size_xxlarge=5,
        batch_size_enterprise=6,
    )
    policy = policy_for(options)
    totals = (499, 1_999, 4_999, 9_999, 19_999, 20_000)
    assert [policy.first(total, History()).size for total in totals] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("outcome", ["sent", "failed", "timed-out"])
@pytest.mark.parametrize("strategy", ["tiered", "fixed"])
def test_tiered_and_fixed_stay_at_their_size_however_a_batch_went(strategy: str, outcome: str) -> None:
    policy = policy_for(SmartSend(strategy=strategy, batch_size=1_000))  # type: ignore[arg-type] # one of two
    first = policy.first(3_000, History())
    following = policy.next(first.size, sample(first.size, outcome=outcome, duration=99), first.history)
    assert (first.size, following.size) == (1_000, 1_000)
    assert not following.learned


def test_fixed_takes_the_batch_size_of_the_options() -> None:
    assert policy_for(SmartSend(strategy="fixed", batch_size=250)).first(9_999, History()).size == 250


@pytest.mark.parametrize(
    ("strategy", "kind"),
    [("tiered", Tiered), ("progressive", Progressive), ("adaptive", Adaptive), ("fixed", Fixed)],
)
def test_the_strategy_names_the_policy(strategy: str, kind: type) -> None:
    assert isinstance(policy_for(SmartSend(strategy=strategy)), kind)  # type: ignore[arg-type] # one of four


def test_progressive_is_set_up_from_the_options_in_seconds() -> None:
    options = SmartSend(
        progressive_sequence=(7, 70), fast_threshold_ms=500, slow_threshold_ms=900, min_success_rate=0.5
    )
    assert policy_for(options) == Progressive(ladder=(7, 70), fast=0.5, slow=0.9, min_success_rate=0.5)


def test_adaptive_is_set_up_from_the_options_and_the_largest_batch_allowed() -> None:
    options = SmartSend(strategy="adaptive", max_batch_size=900, max_batches_per_second=4, max_concurrent=3)
    assert policy_for(options) == Adaptive(largest=900, gap=0.25, width=3)
    assert policy_for(options, largest=700) == Adaptive(largest=700, gap=0.25, width=3)
    assert policy_for(options, largest=5_000) == Adaptive(largest=900, gap=0.25, width=3)


@pytest.mark.parametrize(
    ("largest", "ladder"),
    [
        (None, (100, 500, 1_000)),
        (10_000, (100, 500, 1_000)),
        (1_000, (100, 500, 1_000)),
        (999, (100, 500, 999)),
        (501, (100, 500, 501)),
        (500, (100, 500)),
        (100, (100,)),
        (17, (17,)),
        (1, (1,)),
    ],
)
def test_a_ladder_ends_at_the_largest_batch_allowed(largest: int | None, ladder: tuple[int, ...]) -> None:
    policy = policy_for(SmartSend(progressive_sequence=(100, 500, 1_000)), largest=largest)
    assert isinstance(policy, Progressive)
    assert policy.ladder == ladder


def test_setbacks_of_batches_that_were_cut_are_held_against_the_size_that_went_out() -> None:
    policy = policy_for(SmartSend(), largest=700)
    first = policy.first(9_000, History(proven=5_000))
    failed = policy.next(first.size, sample(first.size, outcome="timed-out"), first.history)
    assert (first.size, failed.size) == (700, 100)
    assert list(failed.history.shut) == [700]


@given(
    st.lists(st.integers(1, 10_000), min_size=1, max_size=8, unique=True),
    st.integers(1, 12_000),
    st.lists(st.tuples(st.sampled_from(["sent", "failed", "timed-out"]), st.floats(0, 20)), max_size=10),
    st.integers(0, 12_000),
)
def test_progressive_never_asks_for_more_than_the_largest_batch_allowed(
    rungs: list[int], largest: int, went: list[tuple[str, float]], known: int
) -> None:
    options = SmartSend(progressive_sequence=tuple(sorted(rungs)))
    policy = policy_for(options, largest=largest)
    decision = policy.first(50_000, History(proven=known))
    assert decision.size <= largest
    for outcome, duration in went:
        batch = sample(decision.size, outcome=outcome, duration=duration)
        decision = policy.next(decision.size, batch, decision.history)
        assert decision.size <= largest


@pytest.fixture(params=STRATEGIES)
def policy(request: pytest.FixtureRequest) -> Policy:
    return policy_for(SmartSend(strategy=request.param))


@pytest.mark.parametrize("total", [1, 100, 5_000, 1_000_000])
def test_every_policy_gives_a_positive_size_and_a_reason(policy: Policy, total: int) -> None:
    decision = policy.first(total, History())
    for _ in range(20):
        assert decision.size > 0
        assert decision.reason
        decision = policy.next(decision.size, sample(decision.size), decision.history)


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(
    history=st.builds(History, proven=st.integers(0, 10_000), rung=st.integers(0, 5)),
    outcome=st.sampled_from(["sent", "failed", "timed-out"]),
    duration=st.floats(0, 100),
)
def test_every_policy_is_deterministic_and_leaves_the_history_it_got_alone(
    strategy: str, history: History, outcome: str, duration: float
) -> None:
    policy = policy_for(SmartSend(strategy=strategy))  # type: ignore[arg-type] # one of four
    before = copy.deepcopy(history)
    first = policy.first(5_000, history)
    went = sample(first.size, outcome=outcome, duration=duration)
    assert policy.first(5_000, history) == first
    assert policy.next(first.size, went, first.history) == policy.next(first.size, went, first.history)
    assert history == before
