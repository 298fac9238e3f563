"""The size that finishes soonest: what remains in equal parts, as many as cost least by what is believed."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, erfc, log, sqrt

from msgspec import Struct

from stages.adaptive.belief import Belief
from stages.adaptive.curve import seconds, variance
from stages.adaptive.risk import probability

FIRST = 5_000
"""The first batch of a session that nothing is known of."""
GROWTH = 2
FINER = 1.12
SMALLEST = 32
"""No batch is made smaller than a so-manieth of the largest allowed."""
STALLS = 0.01
PAUSE = 1.0
BETWEEN_CALLS = 0.5


class Choice(Struct, frozen=True, kw_only=True):
    """A size, what one call of it is expected to take and how likely it is to fail, and what kept it from being larger."""

    size: int
    seconds: float
    risk: float
    bound: str | None = None


def best(belief: Belief, waiting: int, largest: int, gap: float = BETWEEN_CALLS) -> Choice:
    """How to go on with `waiting` recipients, no batch above `largest`, and calls no nearer than `gap` seconds."""
    top, bound = _most(belief, largest)
    chosen, least = None, 0.0
    for parts in _parts(max(1, waiting), top):
        size = ceil(max(1, waiting) / parts)
        cost, duration, risk = cost_of(belief, size, gap)
        if chosen is None or parts * cost < least:
            least = parts * cost
            chosen = Choice(size=size, seconds=duration, risk=risk, bound=bound if size > 0.8 * top else None)
    assert chosen is not None
    return chosen


def cost_of(belief: Belief, size: int, gap: float) -> tuple[float, float, float]:
    """Seconds until `size` recipients are done, failures counted; of those for one call; and its risk."""
    middle = seconds(belief.curve, size) * belief.condition
    spread = sqrt(belief.curve.noise**2 + min(0.25, variance(belief.curve, size) / middle**2))
    late = _late(belief.deadline / middle, spread)
    duration = middle * (1 - late) + (belief.deadline + PAUSE) * late
    risk = 1 - (1 - probability(belief.risk, size)) * (1 - late)
    pace = belief.pace
    waits = [pace.per_call, pace.per_recipient * size]
    held = min(waits) if all(waits) else max(waits)
    return max(duration, gap, held) / (1 - min(risk, 0.95)), middle, risk


def _late(room: float, spread: float) -> float:
    """The share of calls that time out when the deadline is `room` times what they should take."""
    by_noise = 0.5 * erfc(log(room) / spread / sqrt(2)) if room > 0 else 1.0
    by_stall = STALLS * min(1.0, max(0.0, (8 - room) / 6))
    return min(1.0, by_noise + by_stall)


def _most(belief: Belief, largest: int) -> tuple[int, str | None]:
    """The largest size that is allowed at present, and by what."""
    limits = [(largest, "the largest allowed")]
    limits.append(
        (GROWTH * belief.proven, "twice what is proven")
        if belief.proven
        else (FIRST, "nothing is proven yet")
    )
    if belief.cap:
        limits.append((belief.cap, "after a time-out"))
    if belief.errors >= 2 and belief.proven:
        limits.append((max(1, belief.proven // 2), "after errors in a row"))
    return min(limits)


def _parts(waiting: int, top: int) -> Iterator[int]:
    """Numbers of parts to be looked at: the fewest that are allowed, and more and more."""
    parts, fewest = ceil(waiting / top), ceil(waiting / top)
    while parts <= max(fewest * SMALLEST, fewest):
        yield parts
        if parts >= waiting:
            return
        parts = max(parts + 1, int(parts * FINER))
