"""What one batch teaches: the belief after it."""

from __future__ import annotations

from math import log, sqrt

from msgspec import structs

from stages.adaptive.belief import Belief
from stages.adaptive.curve import Curve, learned, seconds, unsure, variance
from stages.adaptive.risk import noted
from stages.policy import Sample

OUTLIER = 3.0
"""So many standard deviations off is no noise any more."""
NEWS = 2
NOISE_LEAST, NOISE_MOST = 0.05, 0.6
NOISE_MEMORY = 0.08
RETRIED = 0.3
"""A batch of people whose batch failed before speaks so much less about its size."""
AFTER_TIME_OUT = 4
GROWTH = 2


def after(belief: Belief, sample: Sample) -> Belief:
    """What is believed after `sample`."""
    belief = structs.replace(belief, pace=sample.pace)
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
    a, b, _ = belief.curve.mean
    return max(1, round(1_000 * a / max(b, 1e-6)))


def _after_success(belief: Belief, sample: Sample) -> Belief:
    belief = structs.replace(
        belief,
        risk=noted(belief.risk, sample.size, sent=True),
        errors=0,
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
    off = log(ratio) / _spread(belief.curve, sample.size)
    if abs(off) > OUTLIER:
        return _surprised(belief, sample, ratio)
    curve = learned(belief.curve, sample.size, took)
    noise = _noise(belief.curve, sample.size, log(ratio))
    return structs.replace(belief, curve=structs.replace(curve, noise=noise), surprise=1.0)


def _surprised(belief: Belief, sample: Sample, ratio: float) -> Belief:
    """One call far off is noise; a second one on the same side is a change of conditions."""
    if (belief.surprise - 1) * (ratio - 1) <= 0:
        return structs.replace(belief, surprise=ratio)
    condition = min(20.0, max(0.05, belief.condition * ratio))
    if 0.8 < condition < 1.25:
        condition = 1.0
    return structs.replace(belief, condition=condition, surprise=1.0, curve=unsure(belief.curve, 1.3))


def _spread(curve: Curve, size: int) -> float:
    """The standard deviation of a call's time over its expectation, in logarithms."""
    return sqrt(curve.noise**2 + min(0.5, variance(curve, size) / seconds(curve, size) ** 2))


def _noise(curve: Curve, size: int, off: float) -> float:
    doubt = min(0.5, variance(curve, size) / seconds(curve, size) ** 2)
    seen = max(0.0, off * off - doubt)
    noise = sqrt((1 - NOISE_MEMORY) * curve.noise**2 + NOISE_MEMORY * seen)
    return min(NOISE_MOST, max(NOISE_LEAST, noise))


def _after_time_out(belief: Belief, sample: Sample) -> Belief:
    ratio = sample.duration * 1.3 / expected(belief, sample.size, sample.beside)
    return structs.replace(
        belief,
        risk=noted(belief.risk, sample.size, sent=False),
        cap=max(
            1,
            min(
                belief.cap or sample.size, max(sample.size // AFTER_TIME_OUT, min(sample.size, floor(belief)))
            ),
        ),
        proven=min(belief.proven, sample.size),
        surprise=max(ratio, 1.01),
        errors=belief.errors + 1,
        deadline=min(belief.deadline, sample.duration) if sample.duration > 1 else belief.deadline,
    )


def _after_failure(belief: Belief, sample: Sample) -> Belief:
    weight = 1.0 if sample.attempt == 1 else RETRIED if sample.attempt == 2 else 0.0
    risk = noted(belief.risk, sample.size, sent=False, weight=weight) if weight else belief.risk
    return structs.replace(belief, risk=risk, errors=belief.errors + 1)
