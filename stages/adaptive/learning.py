"""What one batch teaches: the belief after it."""

from __future__ import annotations

import os
from math import exp, hypot, log, sqrt

from msgspec import structs

from stages.adaptive.belief import Belief
from stages.adaptive.choice import lateness
from stages.adaptive.curve import PRIOR, doubt, floor_of, learned, scaled, seconds, unsure
from stages.adaptive.risk import noted
from stages.policy import Sample

OUTLIER = 3.0
SCALEX = float(os.environ.get("SCALEX", "0.7"))
NEWSX = float(os.environ.get("NEWSX", "1.7"))
import os

SCALE = float(os.environ.get("SCALE", "0.6"))
FLOOR_LEAST, FLOOR_MOST = 100, 2_000
DOUBT_MOST = 0.7
"""So many standard deviations off is no noise any more."""
NEWS = 1.7
NOISE_LEAST, NOISE_MOST = 0.05, 0.6
NOISE_MEMORY = 0.08
RETRIED = 0.3
"""A batch of people whose batch failed before speaks so much less about its size."""
AFTER_TIME_OUT = 4
GROWTH = 2


def after(belief: Belief, sample: Sample) -> Belief:
    """What is believed after `sample`."""
    belief = structs.replace(belief, pace=sample.pace, calls=belief.calls + 1)
    if sample.outcome == "sent":
        return _after_success(belief, sample)
    if sample.outcome == "timed-out":
        return _after_time_out(belief, sample)
    return _after_failure(belief, sample)


def expected(belief: Belief, size: float, beside: float = 0.0) -> float:
    """Seconds that a call to `size` recipients takes at present, with so many others under way."""
    return seconds(belief.curve, size) * belief.condition * (1 + belief.crowding * beside)


def floor(belief: Belief) -> int:
    """The size where a call costs as much as its recipients: below it shrinking only loses."""
    return min(FLOOR_MOST, max(FLOOR_LEAST, round(floor_of(belief.curve))))


def _after_success(belief: Belief, sample: Sample) -> Belief:
    belief = structs.replace(
        belief,
        errors=noted(belief.errors, sample.size, sent=True),
        hangs=noted(belief.hangs, sample.size, sent=True),
        failures=0,
        failed=0,
        proven=max(belief.proven, sample.size),
        cap=_opened(belief.cap, sample.size),
        deadline=max(belief.deadline, sample.duration * 1.05),
    )
    return _timed(belief, sample) if sample.whole else belief


def _opened(cap: int, size: int) -> int:
    """What time-outs allow, after a batch that went through: twice as much, if it was about as large as they allowed."""
    return cap * GROWTH if cap and size >= 0.8 * cap else cap


def _timed(belief: Belief, sample: Sample) -> Belief:
    """Learn from how long a call took: the curve if it was about as expected, the condition if it was far off, twice."""
    base = belief.condition * (1 + belief.crowding * sample.beside)
    took = sample.duration / base
    ratio = took / seconds(belief.curve, sample.size)
    if belief.calls == 1 and ratio < SCALE:
        curve = scaled(PRIOR, (took / seconds(PRIOR, sample.size)) ** SCALEX)
        return structs.replace(belief, curve=learned(curve, sample.size, took, belief.noise))
    news = max(NEWS, exp(NEWSX * belief.noise))
    far = max(ratio, 1 / ratio) > news
    if far and (belief.surprise > news if ratio > 1 else belief.surprise < 1 / news):
        return _changed(belief, ratio)
    surprise = ratio if far else 1.0
    if abs(log(ratio)) / _spread(belief, sample.size) > OUTLIER:
        return structs.replace(belief, surprise=surprise)
    curve = learned(belief.curve, sample.size, took, belief.noise)
    noise = _noise(belief, sample.size, log(ratio))
    return structs.replace(belief, curve=curve, noise=noise, surprise=surprise)


def _changed(belief: Belief, ratio: float) -> Belief:
    """Twice far off to the same side is no noise: the conditions have changed."""
    condition = min(20.0, max(0.05, belief.condition * ratio))
    if 0.75 < condition < 1.33:
        condition = 1.0
    return structs.replace(belief, condition=condition, surprise=1.0, curve=unsure(belief.curve, 0.1))


def _spread(belief: Belief, size: int) -> float:
    """The standard deviation of a call's time over its expectation, in logarithms."""
    return hypot(belief.noise, min(DOUBT_MOST, doubt(belief.curve, size)))


def _noise(belief: Belief, size: int, off: float) -> float:
    seen = max(0.0, off * off - min(DOUBT_MOST, doubt(belief.curve, size)) ** 2)
    noise = sqrt((1 - NOISE_MEMORY) * belief.noise**2 + NOISE_MEMORY * seen)
    return min(NOISE_MOST, max(NOISE_LEAST, noise))


def _after_time_out(belief: Belief, sample: Sample) -> Belief:
    ratio = sample.duration * 1.3 / expected(belief, sample.size, sample.beside)
    return structs.replace(
        belief,
        # If it was to be expected from its time alone, it says nothing of sizes that hang.
        hangs=noted(
            belief.hangs, sample.size, sent=False, weight=max(0.02, 1 - 2 * lateness(belief, sample.size))
        ),
        cap=max(
            1,
            min(belief.cap or sample.size, max(sample.size // AFTER_TIME_OUT, floor(belief))),
        ),
        proven=min(belief.proven, max(sample.size // 2, floor(belief))),
        surprise=max(ratio, 1.01),
        failures=belief.failures + 1,
        deadline=min(belief.deadline, sample.duration) if sample.duration > 1 else belief.deadline,
    )


def _after_failure(belief: Belief, sample: Sample) -> Belief:
    weight = 1.0 if sample.attempt == 1 else RETRIED if sample.attempt == 2 else 0.0
    errors = noted(belief.errors, sample.size, sent=False, weight=weight) if weight else belief.errors
    return structs.replace(belief, errors=errors, failures=belief.failures + 1, failed=sample.size)
