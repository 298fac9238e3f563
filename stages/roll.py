"""The roll of a story: where each of its recipients stands.

Every recipient is in exactly one place: fresh, out in a batch, waiting for a retry, or settled as sent,
failed or unknown. The planner takes batches from it and settles results into it; when nothing is
left, what it says is final.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import ceil

from stages.flow import BatchResult

PARTS = 8
"""A batch that failed on a further attempt is tried again in so many parts."""


class Roll:
    """The standing of `order`'s recipients, each of which has 1 + `retries` attempts."""

    def __init__(self, order: Sequence[str], *, retries: int) -> None:
        self._order = order
        self._next = 0
        self._retries = retries
        self._again: deque[str] = deque()
        self._apart: deque[list[str]] = deque()
        self._tried: dict[str, int] = {}
        self._unsure: set[str] = set()
        self.sent = 0
        self.failed: dict[str, str] = {}
        self.unknown: list[str] = []

    @property
    def waiting(self) -> int:
        """Recipients that want to be in a batch: fresh ones and retries."""
        return len(self._order) - self._next + len(self._again) + sum(map(len, self._apart))

    def take(self, size: int) -> list[str]:
        """The next `size` recipients or fewer: fresh ones first, then retries, and last those that go by themselves."""
        fresh = self._order[self._next : self._next + size]
        self._next += len(fresh)
        taken = list(fresh)
        while self._again and len(taken) < size:
            taken.append(self._again.popleft())
        if not taken and self._apart:
            alone = self._apart.popleft()
            taken, rest = alone[:size], alone[size:]
            if rest:
                self._apart.appendleft(rest)
        return taken

    def attempt_of(self, recipients: Sequence[str]) -> int:
        """Which attempt a batch of `recipients` is for the most-tried of them, from 1."""
        if not self._tried:
            return 1
        return 1 + max((self._tried.get(jid, 0) for jid in recipients), default=0)

    def settle(self, result: BatchResult) -> None:
        """Account for a batch that came back: settled, or once more into the queue."""
        self._next -= result.untried
        self.sent += len(result.sent)
        self.failed.update(result.failed)
        self._unsure.update(result.unsure)
        reason = result.failure or "not-sent"
        self._again.extend(jid for jid in result.unsure if self._may_retry(jid, reason))
        again = [jid for jid in result.unsent if self._may_retry(jid, reason)]
        if result.batch.attempt == 1:
            self._again.extend(again)
        else:
            # Failed once more: in small parts and by themselves, so that whoever is at fault fails the fewest others.
            part = ceil(len(result.batch.recipients) / PARTS)
            self._apart.extend(again[place : place + part] for place in range(0, len(again), part))

    def give_up(self, reason: str) -> None:
        """The story ends here: whoever still waits is failed with `reason`, or unknown if a call timed out."""
        while self.waiting:
            for jid in self.take(10_000):
                self._settle_unsent(jid, reason)

    def _may_retry(self, jid: str, reason: str) -> bool:
        """Count an attempt; if it was the last one the recipient is settled, and False."""
        tried = self._tried[jid] = self._tried.get(jid, 0) + 1
        if tried > self._retries:
            self._settle_unsent(jid, reason)
        return tried <= self._retries

    def _settle_unsent(self, jid: str, reason: str) -> None:
        if jid in self._unsure:
            self.unknown.append(jid)
        else:
            self.failed[jid] = reason
