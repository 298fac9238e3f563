"""The size that finishes soonest: what remains in equal parts, as many as cost least by what is believed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import ceil, erfc, exp, hypot, log, sqrt

from msgspec import Struct

from stages.adaptive.belief import Belief
from stages.adaptive.curve import doubt, seconds
from stages.adaptive.risk import probability

FIRST = 5_000
"""The first batch of a session that nothing is known of."""
GROWTH = 2
FINER = 1.12
SMALLEST = 32
"""No batch is made smaller than a so-manieth of the largest allowed."""
STALLS = 0.01
PAUSE = 1.0
STEEP = float(os.environ.get("STEEP", "3"))
FLAT = float(os.environ.get("FLAT", "2"))
PENALTY = float(os.environ.get("PENALTY", "1.5"))
PROBE = float(os.environ.get("PROBE", "2"))
PROBE_PARTS = int(os.environ.get("PPARTS", "6"))
PROBE_EVERY = int(os.environ.get("PEVERY", "8"))
PROBE_FIRST = int(os.environ.get("PFIRST", "8"))

HOPE = float(os.environ.get("HOPE", "0.25"))
HORIZON = float(os.environ.get("HORIZON", "4"))
DOUBT_MOST = float(os.environ.get("SPREAD", ".5"))
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
    if belief.failed > 1 and waiting <= 2 * belief.failed:
        top = min(top, (belief.failed + 1) // 2)
    chosen, least = None, 0.0
    for parts in _parts(max(1, waiting), top):
        size = ceil(max(1, waiting) / parts)
        cost, duration, risk = cost_of(belief, size, gap, HOPE * min(1.0, (parts - 1) / HORIZON))
        if chosen is None or parts * cost < least:
            least = parts * cost
            chosen = Choice(size=size, seconds=duration, risk=risk, bound=bound if size > 0.8 * top else None)
    assert chosen is not None
    if ceil(waiting / chosen.size) >= PROBE_PARTS and (
        belief.calls % PROBE_EVERY == 0 if belief.calls > PROBE_FIRST else belief.calls % 2
    ):
        factor = PROBE if (belief.calls // 2) % 2 else 1 / PROBE
        size = min(top, max(1, round(chosen.size * factor)))
        _, duration, risk = cost_of(belief, size, gap)
        if risk < 0.1:
            chosen = Choice(size=size, seconds=duration, risk=risk, bound="probe")
    return chosen


def cost_of(belief: Belief, size: int, gap: float, hope: float = 0.0) -> tuple[float, float, float]:
    """Seconds until `size` recipients are done, failures counted; of those for one call; and its risk."""
    middle = seconds(belief.curve, size) * belief.condition
    unsure = min(DOUBT_MOST, doubt(belief.curve, size))
    late = lateness(belief, size)
    late = 1 - (1 - late) * (1 - probability(belief.hangs, size, STEEP))
    error = probability(belief.errors, size, FLAT)
    hoped = middle * exp(-hope * unsure)
    good = (1 - late) * (1 - error)
    duration = hoped * (1 - late) * (1 - error / 2) + (belief.deadline + PAUSE) * late
    pace = belief.pace
    duration = max(duration, gap)
    # Which of the two is counted is not known, so both are reckoned with.
    duration = (max(duration, pace.per_call) + max(duration, pace.per_recipient * size)) / 2
    return duration / max(0.02, good) ** PENALTY, middle, 1 - good


def lateness(belief: Belief, size: int) -> float:
    """The share of calls to `size` recipients that time out because they take so long."""
    middle = seconds(belief.curve, size) * belief.condition
    return _late(belief.deadline / middle, hypot(belief.noise, min(DOUBT_MOST, doubt(belief.curve, size))))


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
    if belief.failures >= 2 and belief.proven:
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
