"""The size, and the number of calls under way, that finish soonest by what is believed.

What remains is thought of in equal parts, so that no crumb is left for the end: as many parts as cost least, failures,
time-outs and the far side's limits reckoned with. The belief's own doubt counts in favour of a size as long as there is
much left that could gain from finding out, and now and then a size of two thirds or half as much again is tried for
that alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, erfc, exp, hypot, log, sqrt

from msgspec import Struct, structs

from stages.adaptive.belief import Belief
from stages.adaptive.curve import balance, doubt, seconds
from stages.adaptive.risk import probability

FIRST = 4_000
"""The largest batch of a session that nothing larger is proven of."""
GROWTH = 2
"""A batch is at most so many times as large as what is proven."""
FINER, FINEST = 1.12, 32
"""Numbers of parts that are looked at rise by this factor, up to so many times the fewest."""
STALLS = 0.01
"""The share of calls that are taken to stall, to up to eight times their time."""
LEAST_LEAST, LEAST_MOST = 100, 2_000
"""Bounds of the size below which shrinking only loses; no size of less than half of it is thought of."""
PAUSE = 1.0
"""Seconds of pause after a time-out."""
PENALTY = 1.5
"""A batch that fails costs more than its time: it comes back in pieces, and uses up attempts."""
ERRORS_RISE, HANGS_RISE = 2.0, 3.0
"""The powers of the size with which the risks of an error and of a call that hangs rise."""
HOPE, HORIZON = 0.4, 4
"""So many standard deviations are hoped for, the less the fewer parts there are, down from so many."""
PIECES = 4
"""What is left at the end of batches that failed goes out in so many pieces of each."""
PROBE = 1.5
PROBE_PARTS = 6
"""Nothing is tried for its own sake unless so many parts are left."""
PROBE_OFTEN, PROBE_EVERY = 8, 8
"""Of the first calls of a story every second tries something, later one in so many."""
SAFE = 0.1
"""Nothing riskier is tried for its own sake."""
GAIN = 0.95
"""One more call under way must promise so much of the time or less."""


class Limits(Struct, frozen=True, kw_only=True):
    """What holds whatever is believed: the largest batch, seconds between two calls' starts, calls under way."""

    largest: int
    gap: float
    width: int = 1


class Choice(Struct, frozen=True, kw_only=True):
    """How to go on: what one call is expected to take, in seconds, how likely it is in vain, and what bounds its size.

    `bound` says what kept it from being larger, if something did; `probing`, that it is to find something out.
    """

    size: int
    width: int
    seconds: float
    risk: float
    bound: str | None = None
    probing: bool = False


def best(belief: Belief, waiting: int, limits: Limits) -> Choice:
    """How to go on with `waiting` recipients."""
    top, bound = _most(belief, waiting, limits.largest)
    parts, width, size = _soonest(belief, max(1, waiting), top, limits)
    duration, risk = call_of(belief, size, width)
    chosen = Choice(
        size=size, width=width, seconds=duration, risk=risk, bound=bound if size > 0.8 * top else None
    )
    return _probing(belief, chosen, top) if parts >= PROBE_PARTS and _is_curious(belief) else chosen


def call_of(belief: Belief, size: int, width: int = 1) -> tuple[float, float]:
    """Seconds that a call to `size` recipients takes with so many under way, and the share of such calls in vain."""
    middle = _middle(belief, size, width)
    return middle, 1 - (1 - _late(belief, size, middle)) * (1 - _error(belief, size))


def _soonest(belief: Belief, waiting: int, top: int, limits: Limits) -> tuple[int, int, int]:
    """The number of parts, of calls under way, and the size of a part, that are done first."""
    soonest, chosen = float("inf"), (1, 1, waiting)
    for width in range(1, limits.width + 1):
        for parts in _parts(waiting, top, least_size(belief)):
            if parts >= width:
                size = ceil(waiting / parts)
                total = _total(belief, waiting, parts, size, width, limits.gap)
                if total < soonest * (GAIN if width > chosen[1] else 1):
                    soonest, chosen = total, (parts, width, size)
    return chosen


def _total(belief: Belief, waiting: int, parts: int, size: int, width: int, gap: float) -> float:
    """Seconds until `waiting` recipients in so many parts are done."""
    hope = HOPE * min(1.0, (parts - 1) / HORIZON)
    call = _cost(belief, size, width, hope)
    rounds = ceil(parts / width) if parts <= 4 * width else parts / width
    total = max(rounds * call + (width - 1) * gap, (parts - 1) * gap + call)
    # Which of the two the far side counts is not known, so both are reckoned with.
    pace = belief.pace
    return (max(total, parts * pace.per_call) + max(total, waiting * pace.per_recipient)) / 2


def _cost(belief: Belief, size: int, width: int, hope: float) -> float:
    """Seconds that a batch of `size` costs until it is through."""
    middle = _middle(belief, size, width)
    late, error = _late(belief, size, middle), _error(belief, size)
    hoped = middle * exp(-hope * doubt(belief.curve, size))
    # An error comes in the middle of a call, in the mean, and a time-out at its deadline.
    call: float = hoped * (1 - late) * (1 - error / 2) + (belief.deadline + PAUSE) * late
    return call / float(max(0.02, (1 - late) * (1 - error)) ** PENALTY)


def _middle(belief: Belief, size: int, width: int) -> float:
    return seconds(belief.curve, size) * belief.condition * (1 + belief.crowding * (width - 1))


def _error(belief: Belief, size: int) -> float:
    return probability(belief.errors, size, ERRORS_RISE)


def _late(belief: Belief, size: int, middle: float) -> float:
    """The share of calls that time out: by noise or a stall in one of `middle` seconds, or because such sizes hang."""
    room = belief.deadline / middle
    spread = hypot(belief.noise, doubt(belief.curve, size))
    by_noise = 0.5 * erfc(log(room) / spread / sqrt(2))
    by_stall = STALLS * min(1.0, max(0.0, (8 - room) / 6))
    return 1 - max(0.0, 1 - by_noise - by_stall) * (1 - probability(belief.hangs, size, HANGS_RISE))


def _most(belief: Belief, waiting: int, largest: int) -> tuple[int, str]:
    """The largest size that is allowed at present, and by what."""
    limits = [(largest, "the largest allowed")]
    if GROWTH * belief.proven > FIRST:
        limits.append((GROWTH * belief.proven, "twice what is proven"))
    else:
        limits.append((FIRST, "nothing larger is proven"))
    if belief.cap:
        limits.append((belief.cap, "careful after a time-out"))
    if belief.failures > 1 and belief.proven:
        limits.append((max(1, belief.proven // 2), "careful after errors in a row"))
    if belief.failed > 1 and waiting <= belief.again:
        # Who fails their batch is found sooner if those of one that failed do not all go out together again.
        limits.append((ceil(belief.failed / PIECES), "in pieces of what failed"))
    return min(limits)


def least_size(belief: Belief) -> int:
    """The size whose recipients cost about as much as the call itself: below it shrinking only loses."""
    return round(min(LEAST_MOST, max(LEAST_LEAST, balance(belief.curve))))


def _parts(waiting: int, top: int, least: int) -> Iterator[int]:
    """Numbers of parts to be looked at: the fewest that are allowed, and more and more."""
    parts = fewest = ceil(waiting / top)
    most = max(fewest, min(fewest * FINEST, ceil(waiting / least * 2)))
    while parts <= min(waiting, most):
        yield parts
        parts = max(parts + 1, int(parts * FINER))


def _is_curious(belief: Belief) -> bool:
    return bool(belief.calls % 2) if belief.calls <= PROBE_OFTEN else belief.calls % PROBE_EVERY == 0


def _probing(belief: Belief, chosen: Choice, top: int) -> Choice:
    """Another size, in turns a larger and a smaller one, if it is safe enough."""
    factor = PROBE if (belief.calls // 2) % 2 else 1 / PROBE
    size = min(top, max(1, round(chosen.size * factor)))
    duration, risk = call_of(belief, size, chosen.width)
    if risk >= SAFE:
        return chosen
    return structs.replace(chosen, size=size, seconds=duration, risk=risk, bound=None, probing=True)
