"""Long lists of a report: where it cannot name everybody, an object in the object store does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from secrets import token_hex

import trio

from stages.account import NAMED
from stages.flow import StoryClosed
from stages.turns import Random, backoff
from transports.bus import Bus
from transports.errors import TransportError
from transports.lists import put_list, with_reasons

TRIES = 5
"""So often it is tried to store a list: a report without it is better than none."""

log = logging.getLogger("storycast")

Lines = Callable[[], Iterable[str]]


def has_long_lists(closed: StoryClosed) -> bool:
    """Whether the report cannot name everybody who is in one of its lists."""
    return max(len(closed.failed), len(closed.skipped), len(closed.unknown)) > NAMED


async def store_long_lists(bus: Bus, closed: StoryClosed, random: Random) -> Mapping[str, str]:
    """Store the lists that are too long for the report; returns the report's fields that refer to them."""
    lists: list[tuple[str, int, Lines]] = [
        ("failed", len(closed.failed), lambda: with_reasons(closed.failed.items())),
        ("skipped", len(closed.skipped), lambda: with_reasons(_skipped(closed))),
        ("unknown", len(closed.unknown), lambda: closed.unknown),
    ]
    references = {}
    for what, length, lines in lists:
        # A name of its own: a second report of the story is refused, and must not have replaced the first one's lists.
        if length <= NAMED:
            continue
        name = f"{closed.story.session_id}.{closed.story.story_id}.{what}.{token_hex(8)}"
        if await _stored(bus, name, lines, random):
            references[f"{what}_ref"] = name
    return references


def _skipped(closed: StoryClosed) -> Iterable[tuple[str, str]]:
    return ((skip.recipient, skip.reason) for skip in closed.skipped)


async def _stored(bus: Bus, name: str, lines: Lines, random: Random) -> bool:
    for attempt in range(1, TRIES + 1):
        try:
            await put_list(bus, name, lines())
        except TransportError as problem:
            log.warning("cannot store a list", extra={"name_of": name, "problem": str(problem)})
            await trio.sleep(backoff(attempt, random))
        else:
            return True
    return False
