"""All that the adaptive policy believes of a session: plain data, kept in its history."""

from __future__ import annotations

from msgspec import Struct, structs

from stages.adaptive.curve import PRIOR, Curve, scaled, unsure
from stages.adaptive.risk import Risk, faded
from stages.cadence import NO_LIMIT, Pace

VERSION = 1
DEADLINE = 15.0
"""Seconds after which a call is taken to time out, until the session shows another time."""
DOUBTED = 0.1
"""In a new story so much of the first doubt about costs is back,"""
KEPT = 0.5
"""and so much of what failed and what went through still counts."""


class Belief(Struct, frozen=True, kw_only=True):
    """What is believed of a session. Times are in seconds, sizes in recipients; 0 is none.

    For longer: `curve`, what calls cost; `noise`, how much one call strays from it, relative; `errors` and `hangs`, how
    likely sizes are to fail and to time out; `proven`, the largest size that went through; `deadline`, when calls time
    out; `crowding`, how much slower each other call under way makes a call; `pace`, what is accepted at most.

    For the present: `calls` of this story so far; `condition`, how many times as long as `curve` says calls take;
    `surprise`, the last call's time over its expectation if that was far off, else 1; `cap`, the size that time-outs
    allow; `failures` in a row; the largest size that `failed`, and how many wait for another attempt `again`; the size
    of a call that `hung` and is not accounted for.
    """

    version: int = VERSION
    curve: Curve = PRIOR
    noise: float = 0.15
    errors: Risk = Risk()
    hangs: Risk = Risk()
    proven: int = 0
    deadline: float = DEADLINE
    crowding: float = 0.2
    pace: Pace = NO_LIMIT
    calls: int = 0
    condition: float = 1.0
    surprise: float = 1.0
    cap: int = 0
    failures: int = 0
    failed: int = 0
    again: int = 0
    hung: int = 0


UNKNOWN = Belief()
"""Of a session that nothing is known of."""


def anew(belief: Belief) -> Belief:
    """What is still believed in a new story of what was learned in earlier ones."""
    # Times that were better than the usual ones show what the usual ones are: slowness passes.
    usual = scaled(belief.curve, min(1.0, belief.condition))
    return structs.replace(
        belief,
        curve=unsure(usual, DOUBTED),
        errors=faded(belief.errors, KEPT),
        hangs=faded(belief.hangs, KEPT),
        calls=0,
        condition=1.0,
        surprise=1.0,
        cap=0,
        failures=0,
        failed=0,
        again=0,
        hung=0,
    )
