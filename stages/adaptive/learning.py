"""What one batch teaches: the belief after it."""

from __future__ import annotations

from math import exp, hypot, log, sqrt

from msgspec import structs

from stages.adaptive.belief import Belief
from stages.adaptive.choice import least_size
from stages.adaptive.curve import QUICKEST, doubt, learned, scaled, seconds, unsure
from stages.adaptive.risk import noted
from stages.policy import Sample

FAR = 1.7
"""So many times as long or as short as expected is far off, and more if calls stray much anyway:"""
FAR_IN_NOISE = 1.7
"""so many standard deviations."""
OUTLIER = 3.0
"""So many standard deviations off teaches nothing of the cost."""
AT_ONCE = 0.85
"""The power of its surprise that the first call of a story changes all costs by."""
LIKE_USUAL = 1.33
"""Conditions nearer to the usual ones than that are the usual ones."""
UNSURE_AGAIN = 0.1
NOISE_LEAST, NOISE_MOST, NOISE_MEMORY = 0.05, 0.6, 0.08
CROWDING_LEARNED, CROWDING_MOST = 0.1, 2.0
AFTER_TIME_OUT = 2
"""The next batch is at most so many times smaller."""
BY_ITS_TIME = 0.6
"""A call that would have taken this share of the deadline may well have timed out by that alone."""
AGAIN = (1.0, 1.0, 0.3)
"""What a failure says of its size, by its attempt: people whose batch failed before may be at fault themselves."""


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


def _after_success(belief: Belief, sample: Sample) -> Belief:
    belief = structs.replace(
        belief,
        errors=noted(belief.errors, sample.size, sent=True),
        hangs=noted(belief.hangs, sample.size, sent=True),
        proven=max(belief.proven, sample.size),
        deadline=max(belief.deadline, sample.duration * 1.05),
        cap=belief.cap * 2 if sample.size >= 0.8 * belief.cap else belief.cap,
        failures=0,
        again=max(0, belief.again - sample.size) if sample.attempt > 1 else belief.again,
    )
    slower = max(1.0, sample.duration / expected(belief, sample.size, sample.beside))
    belief = _timed(belief, sample) if sample.whole else belief
    return _explained(belief, slower) if belief.hung else belief


def _timed(belief: Belief, sample: Sample) -> Belief:
    """Learn from how long a call took: of its costs if it was about as expected, of conditions if far off twice."""
    crowded = 1 + belief.crowding * sample.beside
    took = max(QUICKEST, sample.duration / belief.condition / crowded)
    ratio = took / seconds(belief.curve, sample.size)
    surprise = _surprise(belief, ratio)
    if surprise != 1.0 and belief.calls == 1:
        # The session is not what it was, or not as most are: faster or slower in all its parts.
        curve = scaled(belief.curve, ratio**AT_ONCE)
        return structs.replace(belief, curve=learned(curve, sample.size, took, belief.noise))
    if (surprise - 1) * (belief.surprise - 1) > 0:
        return _changed(belief, ratio)
    belief = structs.replace(belief, surprise=surprise)
    if abs(log(ratio)) > OUTLIER * hypot(belief.noise, doubt(belief.curve, sample.size)):
        return belief
    return structs.replace(
        belief,
        curve=learned(belief.curve, sample.size, took, belief.noise),
        noise=_noise(belief, sample.size, log(ratio)),
        crowding=_crowding(belief, sample.beside, log(ratio)),
    )


def _surprise(belief: Belief, ratio: float) -> float:
    """`ratio` if it is far off, else 1."""
    far = max(FAR, exp(FAR_IN_NOISE * belief.noise))
    return ratio if max(ratio, 1 / ratio) > far else 1.0


def _changed(belief: Belief, ratio: float) -> Belief:
    """Twice far off to the same side is no noise: the conditions have changed."""
    condition = min(20.0, max(0.05, belief.condition * ratio))
    if 1 / LIKE_USUAL < condition < LIKE_USUAL:
        condition = 1.0
    return structs.replace(
        belief, condition=condition, surprise=1.0, curve=unsure(belief.curve, UNSURE_AGAIN)
    )


def _noise(belief: Belief, size: int, off: float) -> float:
    seen = max(0.0, off**2 - doubt(belief.curve, size) ** 2)
    noise = sqrt((1 - NOISE_MEMORY) * belief.noise**2 + NOISE_MEMORY * seen)
    return min(NOISE_MOST, max(NOISE_LEAST, noise))


def _crowding(belief: Belief, beside: float, off: float) -> float:
    """A little of what a call was off by is put down to the others that were under way."""
    if not beside:
        return belief.crowding
    more = CROWDING_LEARNED * off * (1 + belief.crowding * beside) / beside
    return min(CROWDING_MOST, max(0.0, belief.crowding + more))


def _explained(belief: Belief, slower: float) -> Belief:
    """After a time-out: would that call have taken so long by what is known now? Else calls of its size hang."""
    by_its_time = expected(belief, belief.hung) * slower > BY_ITS_TIME * belief.deadline
    hangs = belief.hangs if by_its_time else noted(belief.hangs, belief.hung, sent=False)
    return structs.replace(belief, hangs=hangs, hung=0)


def _after_time_out(belief: Belief, sample: Sample) -> Belief:
    least = least_size(belief)
    smaller = max(sample.size // AFTER_TIME_OUT, least)
    return structs.replace(
        belief,
        hangs=noted(belief.hangs, belief.hung, sent=False) if belief.hung else belief.hangs,
        proven=min(belief.proven, max(sample.size // 2, least)),
        deadline=min(belief.deadline, sample.duration) if sample.duration > 1 else belief.deadline,
        surprise=max(FAR, sample.duration / expected(belief, sample.size, sample.beside)),
        cap=min(belief.cap, smaller) if belief.cap else smaller,
        failures=belief.failures + 1,
        hung=sample.size,
    )


def _after_failure(belief: Belief, sample: Sample) -> Belief:
    weight = AGAIN[sample.attempt] if sample.attempt < len(AGAIN) else 0.0
    return structs.replace(
        belief,
        errors=noted(belief.errors, sample.size, sent=False, weight=weight) if weight else belief.errors,
        failures=belief.failures + 1,
        failed=max(belief.failed, sample.size),
        again=belief.again + sample.size if sample.attempt == 1 else max(0, belief.again - sample.size),
    )
