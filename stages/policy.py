"""The policy port: how large the next batch is, and what is learned from the last one.

A policy is pure and clock-free: what it knows comes in as a `History`, and goes out as the next one.
Give it the same values and it decides the same.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from stages.cadence import NO_LIMIT, Pace
from stages.history import History
from stages.messages import BatchOutcome

TRIES = 3


class Sample(Struct, frozen=True, kw_only=True):
    """What a policy sees of a finished batch.

    `size` is what went out, `duration` in seconds, `share` the part of the recipients that was sent. With `whole` False
    the batch took several calls, and its duration says nothing. `attempt` counts from 1. `waiting` recipients are still
    to be sent to, those included that this batch gives back. `beside` other calls were under way at the same time, in
    the mean. `pace` is what is known of the far side's limits.
    """

    outcome: BatchOutcome
    size: int
    share: float
    duration: float
    whole: bool = True
    attempt: int = 1
    waiting: int = 0
    beside: float = 0.0
    pace: Pace = NO_LIMIT


class Decision(Struct, frozen=True, kw_only=True):
    """The size of the next batch, why in words a person understands, and the history to go on with.

    `learned` says that the last batch taught something to be remembered from now on for its time. At most `width`
    batches are to be out at once, within what the story allows; None: as many as it allows. A call may fail `tries`
    times although the engine is ready, before its batch comes back to be tried in another size.
    """

    size: int
    reason: str
    history: History
    learned: bool = False
    width: int | None = None
    tries: int = TRIES


class Policy(Protocol):
    """Decides batch sizes for one story."""

    def first(self, total: int, history: History) -> Decision:
        """The size of the first batch of `total` recipients."""
        ...

    def next(self, size: int, sample: Sample, history: History) -> Decision:
        """The size of the batch after one that was planned with `size` and went as `sample` says."""
        ...
