"""The recipients of a simulated story as ranges of places: who waits, and for which attempt.

It counts as `stages.roll` does, without a recipient being looked at by itself, so that stories to a million can be
played by the thousand.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from math import ceil

from msgspec import Struct

from stages.roll import PARTS


class Segment(Struct, frozen=True, array_like=True):
    """The places from `start` to before `stop`, which had `tried` attempts."""

    start: int
    stop: int
    tried: int = 0

    @property
    def size(self) -> int:
        """How many places they are."""
        return self.stop - self.start


class Crowd:
    """`total` recipients with 1 + `retries` attempts each; those at the sorted places `dead` fail their batch."""

    def __init__(self, total: int, *, retries: int, dead: Sequence[int] = ()) -> None:
        self._fresh = Segment(0, total)
        self._again: deque[Segment] = deque()
        self._apart: deque[list[Segment]] = deque()
        self._retries = retries
        self._dead = dead
        self.waiting = total
        self.sent = self.failed = self.resent = 0

    def take(self, size: int) -> list[Segment]:
        """The next `size` or fewer: fresh ones first, then retries, and last those that go by themselves."""
        taken: list[Segment] = []
        if self._fresh.size:
            head, self._fresh = _cut(self._fresh, size)
            taken.append(head)
            size -= head.size
        while size and self._again:
            head, rest = _cut(self._again.popleft(), size)
            taken.append(head)
            size -= head.size
            if rest.size:
                self._again.appendleft(rest)
        if not taken and self._apart:
            taken, rest_of_it = _split(self._apart.popleft(), size)
            if rest_of_it:
                self._apart.appendleft(rest_of_it)
        self.waiting -= size_of(taken)
        return taken

    def is_dead(self, batch: Sequence[Segment]) -> bool:
        """Whether one of `batch` fails it."""
        return bool(self._dead) and any(
            bisect_left(self._dead, one.start) < bisect_left(self._dead, one.stop) for one in batch
        )

    def arrived(self, batch: Sequence[Segment]) -> None:
        """All of `batch` were sent to."""
        self.sent += size_of(batch)

    def not_arrived(self, batch: Sequence[Segment], *, unsure: bool) -> None:
        """None of `batch` were, or nobody knows: once more into the queue, if they have an attempt left."""
        was_retry = max(one.tried for one in batch) > 0
        again = [Segment(one.start, one.stop, one.tried + 1) for one in batch]
        kept = [one for one in again if one.tried <= self._retries]
        self.failed += size_of(again) - size_of(kept)
        self.resent += size_of(kept)
        self.waiting += size_of(kept)
        if unsure or not was_retry:
            self._again.extend(kept)
            return
        part = ceil(size_of(batch) / PARTS)
        while kept:
            head, kept = _split(kept, part)
            self._apart.append(head)


def size_of(batch: Sequence[Segment]) -> int:
    """How many recipients `batch` has."""
    return sum(one.stop - one.start for one in batch)


def _cut(segment: Segment, size: int) -> tuple[Segment, Segment]:
    middle = min(segment.stop, segment.start + size)
    return Segment(segment.start, middle, segment.tried), Segment(middle, segment.stop, segment.tried)


def _split(segments: Sequence[Segment], size: int) -> tuple[list[Segment], list[Segment]]:
    head: list[Segment] = []
    for place, segment in enumerate(segments):
        first, rest = _cut(segment, size)
        head.append(first)
        size -= first.size
        if not size:
            return head, [*([rest] if rest.size else []), *segments[place + 1 :]]
    return head, []
