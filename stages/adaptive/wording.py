"""The reasons of the adaptive policy in words: what happened, what that means, and what follows."""

from __future__ import annotations

from stages.adaptive.belief import UNKNOWN, Belief
from stages.adaptive.choice import Choice
from stages.adaptive.curve import seconds
from stages.adaptive.learning import FAR, expected
from stages.cadence import seconds_apart
from stages.policy import Sample

FOREIGN = "what was remembered is of another version and is not used"
ABOUT = 1.3
"""Within this factor a call took as long as expected."""
SELDOM = 1.0
"""Seconds between calls from which on a learned limit is worth a word."""


def at_first(belief: Belief, choice: Choice, *, foreign: bool) -> str:
    """Why a story starts as it does."""
    if foreign:
        known = FOREIGN
    elif belief == UNKNOWN:
        known = "nothing is known of this session"
    else:
        known = f"earlier calls took about {_costs(belief)}"
    return f"{known}: start with {_plan(choice)}"


def afterwards(before: Belief, sample: Sample, belief: Belief, choice: Choice | None) -> str:
    """Why it goes on as it does after `sample`, which made `belief` of `before`; None: nothing is left."""
    plan = [] if choice is None else [f"next {_plan(choice)}"]
    return ": ".join([_happened(before, sample), *_meaning(before, sample, belief), *plan])


def _plan(choice: Choice) -> str:
    parts = [f"{choice.size:,}"]
    if choice.width > 1:
        parts.append(f"{choice.width} calls at once")
    if choice.probing:
        parts.append("to find out what that costs")
    elif choice.bound is not None:
        parts.append(choice.bound)
    else:
        parts.append("which should finish soonest")
    return ", ".join(parts)


def _happened(before: Belief, sample: Sample) -> str:
    size = f"{sample.size:,}"
    if sample.outcome == "timed-out":
        return f"{size} timed out after {sample.duration:.1f} s"
    if sample.outcome != "sent":
        return f"{size} failed"
    took = f"{size} in {sample.duration:.1f} s"
    if not sample.whole:
        return f"{took} over several calls, which says nothing of the size"
    usual = expected(before, sample.size, sample.beside)
    if 1 / ABOUT < sample.duration / usual < ABOUT:
        return f"{took}, as expected"
    return f"{took}, {usual:.1f} s were expected"


def _meaning(before: Belief, sample: Sample, belief: Belief) -> list[str]:
    meaning = []
    usual = expected(before, sample.size, sample.beside)
    if belief.condition != before.condition:
        meaning.append(_condition(belief))
    elif not before.calls and sample.outcome == "sent" and _is_far(sample.duration / usual):
        meaning.append("so all calls of this session are taken to be now")
    elif belief.surprise != 1.0 and sample.outcome == "sent":
        meaning.append("one such call is not news")
    if sample.outcome == "sent" and before.hung and belief.hangs.failed != before.hangs.failed:
        meaning.append(f"sizes near {before.hung:,} seem to hang")
    if sample.outcome == "failed" and belief.failures > 1:
        meaning.append(f"{belief.failures} in a row")
    if (apart := seconds_apart(belief.pace, sample.size)) >= SELDOM:
        meaning.append(f"a call like that is accepted every {apart:.1f} s")
    return meaning


def _is_far(ratio: float) -> bool:
    return not 1 / FAR <= ratio <= FAR


def _condition(belief: Belief) -> str:
    if belief.condition == 1.0:
        return "calls are as fast as they used to be again"
    if belief.condition < 1:
        return f"calls are {1 / belief.condition:.1f} times as fast as they used to be"
    return f"calls take {belief.condition:.1f} times as long as they used to"


def _costs(belief: Belief) -> str:
    return (
        f"{seconds(belief.curve, 1_000):.1f} s for 1,000 and {seconds(belief.curve, 5_000):.1f} s for 5,000"
    )
