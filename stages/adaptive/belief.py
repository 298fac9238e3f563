"""All that the adaptive policy believes of a session: plain data, kept in its history."""

from __future__ import annotations

from msgspec import Struct

from stages.adaptive.curve import PRIOR, Curve
from stages.adaptive.risk import Risk
from stages.cadence import NO_LIMIT, Pace

VERSION = 1
DEADLINE = 15.0
"""Seconds after which a call is taken to time out, until the session shows another time."""


class Belief(Struct, frozen=True, kw_only=True):
    """What is believed of a session.

    `condition` is how many times as long as `curve` says calls take at present. `surprise` is the last call's time over
    its expectation where that was no noise, else 1. `cap` is the size that time-outs allow at present, 0: any. `proven`
    is the largest size that went through. `crowding`: how much slower each other call under way makes a call.
    """

    version: int = VERSION
    curve: Curve = PRIOR
    noise: float = 0.2
    condition: float = 1.0
    surprise: float = 1.0
    errors: Risk = Risk()
    hangs: Risk = Risk()
    cap: int = 0
    proven: int = 0
    failures: int = 0
    failed: int = 0
    calls: int = 0
    deadline: float = DEADLINE
    crowding: float = 0.2
    pace: Pace = NO_LIMIT


UNKNOWN = Belief()
"""Of a session that nothing is known of."""
