"""Times in which the simulated WhatsApp is slower, or fails more often, and what they make of a call's work."""

from __future__ import annotations

import math
from collections.abc import Sequence

from transports.simulated.profile import Condition, Window


def is_within(window: Window, now: float) -> bool:
    """Whether `now`, in seconds since the world began, is in `window` or in a repetition of it."""
    if window.every and now >= window.start:
        now = window.start + (now - window.start) % window.every
    return window.start <= now < window.end


def risk_factor(conditions: Sequence[Condition], now: float) -> float:
    """How many times as likely a call is to fail now."""
    return math.prod(one.riskier for one in conditions if is_within(one, now))


def seconds_for(work: float, conditions: Sequence[Condition], now: float) -> float:
    """How long `work` seconds of good times take from `now` on, whatever begins and ends meanwhile."""
    if not conditions:
        return work
    began = now
    while True:
        slower = math.prod(one.slower for one in conditions if is_within(one, now))
        change = min(_next_change(one, now) for one in conditions)
        if now + work * slower <= change:
            return now + work * slower - began
        work -= (change - now) / slower
        now = change


def _next_change(window: Window, now: float) -> float:
    """When `window` begins or ends next."""
    if now < window.start:
        return window.start
    if not window.every:
        return window.end if now < window.end else math.inf
    repetition = math.floor((now - window.start) / window.every) * window.every
    after = [repetition + window.start, repetition + window.end, repetition + window.every + window.start]
    return min(time for time in [*after, after[-1] + window.end - window.start] if time > now)
