"""How likely a call is to fail by its size, from which sizes failed and which went through.

Counts in logarithmic bins that fade. A success speaks for all smaller sizes and, less and less, for larger ones; a
failure speaks against all larger sizes and, less and less, against smaller ones. So the risk never falls with size.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log2

from msgspec import Struct, field

FADING = 0.97
"""What is left of every count after another call."""
FORGOTTEN = 0.02
"""A count below that is dropped."""
CAREFUL = 0.01
"""To begin with it is as if so much of one call had failed."""


class Risk(Struct, frozen=True, kw_only=True):
    """Weights of failures and successes by bin: bin k is for sizes about 2^(k/2)."""

    failed: Mapping[int, float] = field(default_factory=dict)
    sent: Mapping[int, float] = field(default_factory=dict)


def probability(risk: Risk, size: float, rise: float) -> float:
    """The share of calls to `size` recipients that fail, if that rises with so high a power of the size."""
    against = CAREFUL
    for place, weight in risk.failed.items():
        at = 2.0 ** (place / 2)
        against += weight if size >= at else weight * (size / at) ** rise
    speaking = 1.0
    for place, weight in risk.sent.items():
        at = 2.0 ** (place / 2)
        speaking += weight if size <= at else weight * (at / size) ** rise
    return against / (against + speaking)


def noted(risk: Risk, size: int, *, sent: bool, weight: float = 1.0) -> Risk:
    """`risk` after one more call to `size` recipients."""
    failed, went = _faded(risk.failed, FADING), _faded(risk.sent, FADING)
    place = round(2 * log2(max(1, size)))
    counts = went if sent else failed
    counts[place] = counts.get(place, 0.0) + weight
    return Risk(failed=failed, sent=went)


def faded(risk: Risk, factor: float) -> Risk:
    """`risk`, of which only so much is believed."""
    return Risk(failed=_faded(risk.failed, factor), sent=_faded(risk.sent, factor))


def _faded(counts: Mapping[int, float], factor: float) -> dict[int, float]:
    return {place: left for place, weight in counts.items() if (left := weight * factor) > FORGOTTEN}
