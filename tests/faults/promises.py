"""What is promised of a story whatever happens in its course, as assertions over many of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.faults.checks import (
    Outcome,
    at_the_same_time,
    banned,
    counts_differ,
    largest_batch,
    not_seen,
    seen_twice,
    sent_again,
)


def seen_exactly_once(outcomes: Sequence[Outcome]) -> None:
    """Every recipient surely saw the story, and nobody may have seen two."""
    nobody(outcomes, lambda one: len(not_seen(one)))
    nobody(outcomes, lambda one: len(seen_twice(one.record)))


def reported_once(outcomes: Sequence[Outcome]) -> None:
    """Each story has one report, and its counts are the truth."""
    nobody(outcomes, lambda one: one.reports - 1)
    nobody(outcomes, counts_differ)


def one_batch_again_at_most(outcomes: Sequence[Outcome]) -> None:
    """A fault costs at most the batch that was in flight."""
    nobody(outcomes, lambda one: max(0, sent_again(one.record) - one.faults * largest_batch(one.record)))


def served_by_one_at_a_time(outcomes: Sequence[Outcome]) -> None:
    """No two workers had calls for one session under way at the same time."""
    nobody(outcomes, lambda one: at_the_same_time(one.record))


def no_banned_call(outcomes: Sequence[Outcome]) -> None:
    """Nobody made a call who knew, or had to find out, that they must not."""
    nobody(outcomes, banned)


def says_what_it_waits_for(outcomes: Sequence[Outcome]) -> None:
    """While NATS was away for long the worker's log said so."""
    nobody(outcomes, lambda one: one.said is not None and "NATS" not in one.said)


def nobody(outcomes: Sequence[Outcome], wrong: Callable[[Outcome], Any]) -> None:
    """There is nothing wrong with any of them."""
    assert {str(one): found for one in outcomes if (found := wrong(one))} == {}
