"""The roll of a story: where each of its recipients stands.

Every recipient is in exactly one place: fresh, out in a batch, waiting for a retry, or settled as sent,
failed or unknown. The planner takes batches from it and settles results into it; when nothing is
left, what it says is final. Recipients are places in the sending order, so that what is done is a few ranges.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil

from stages.checkpoint import Checkpoint, Packed, Retry
from stages.flow import BatchResult
from stages.ranges import Ranges

PARTS = 8
"""A batch that failed on a further attempt is tried again in so many parts."""
LONGEST_REASON = 64
"""Characters of an engine's reason that are kept."""
MOST_REASONS = 100
"""Reasons of one story that are told apart: each is in every checkpoint, which must fit in a message."""
OTHER = "other"
"""The reason of all whose own one is beyond `MOST_REASONS`."""
NOT_TRIED = frozenset({"parked", "halted"})
"""Outcomes of a batch that was called off: what it did not send was no attempt."""


class Roll:
    """The standing of `total` recipients, each of which has 1 + `retries` attempts.

    `repeatable`: who may have got it can be sent it again, and sees it once; if not, they are unknown for good.
    `whole`: a batch is never parted.
    """

    def __init__(self, total: int, *, retries: int, repeatable: bool = True, whole: bool = False) -> None:
        self._total = total
        self._retries = retries
        self._repeatable = repeatable
        self._parts = 1 if whole else PARTS
        self._next = 0
        self._again: deque[int] = deque()
        self._apart: deque[list[int]] = deque()
        self._out: dict[int, Sequence[int]] = {}
        self._tried: dict[int, int] = {}
        self._unsure: set[int] = set()
        self._failed: dict[str, Ranges] = {}
        self.sent = Ranges()
        self.unknown = Ranges()

    @property
    def waiting(self) -> int:
        """Recipients that want to be in a batch: fresh ones and retries."""
        return self._total - self._next + len(self._again) + sum(map(len, self._apart))

    @property
    def failed(self) -> Mapping[str, Ranges]:
        """The failed ones by reason."""
        return self._failed

    @property
    def failures(self) -> int:
        """How many have failed."""
        return sum(map(len, self._failed.values()))

    def take(self, size: int) -> Sequence[int]:
        """The next `size` places or fewer: fresh ones first, then retries, and last those that go by themselves."""
        places = self._take(size)
        if places:
            self._out[places[0]] = places
        return places

    def candidates(self, count: int) -> Sequence[int]:
        """The next places for an anchor: those that were candidates before, then fresh ones."""
        again = [self._again.popleft() for _ in range(min(count, len(self._again)))]
        fresh = self._take(count - len(again)) if len(again) < count else ()
        places = [*again, *fresh] if again else fresh
        if places:
            self._out[places[0]] = places
        return places

    def attempt_of(self, places: Iterable[int]) -> int:
        """Which attempt a batch of `places` is for the most-tried of them, from 1."""
        if not self._tried:
            return 1
        return 1 + max((self._tried.get(place, 0) for place in places), default=0)

    def never_repeat(self) -> None:
        """From now on whoever may have got it is unknown, and not sent it again."""
        self._repeatable = False
        self.unknown.add(place for place in self._again if place in self._unsure)
        self._again = deque(place for place in self._again if place not in self._unsure)
        parts, self._apart = self._apart, deque()
        for part in parts:
            sure, unsure = self._parted(part)
            self.unknown.add(unsure)
            if sure:
                self._apart.append(list(sure))

    def settle(self, result: BatchResult) -> None:
        """Account for a batch that came back: settled, or once more into the queue."""
        batch = result.batch
        places = dict(zip(batch.recipients, batch.places, strict=True))
        self._out.pop(batch.places[0], None)
        self._return_untried(batch.places[len(batch.places) - result.untried :])
        self.sent.add(places[jid] for jid in result.sent)
        for jid, why in result.failed.items():
            self._fail(places[jid], self._told_apart(why))
        self._retry(result, [places[jid] for jid in result.unsent], [places[jid] for jid in result.unsure])

    def give_up(self, reason: str) -> None:
        """The story ends here: whoever still waits is failed with `reason`, or unknown if a call timed out."""
        for places in self._rest():
            sure, unsure = self._parted(places)
            if sure:
                self._failed.setdefault(reason, Ranges()).add(sure)
            self.unknown.add(unsure)

    def leave_out(self) -> Ranges:
        """The story ends here because it was to: those who still wait, but for the unknown ones, are returned."""
        left = Ranges()
        for places in self._rest():
            sure, unsure = self._parted(places)
            left.add(sure)
            self.unknown.add(unsure)
        return left

    def standing(self) -> dict[str, object]:
        """The fields of a checkpoint that say where everybody stands."""
        return {
            "next": self._next,
            "sent": self.sent.packed(),
            "failed": {reason: places.packed() for reason, places in self._failed.items()},
            "unknown": self.unknown.packed(),
            "retries": tuple(self._waiting_retries()),
            "out": tuple(self._as_retry(places, unsure=True) for places in self._out.values()),
        }

    def resume(self, checkpoint: Checkpoint, *, repeatable: bool = True) -> None:
        """Go on from `checkpoint`: what was out then may or may not have been sent.

        It waits for a retry; if it is not `repeatable`, because what was sent then bore another id, it is unknown.
        """
        repeatable = repeatable and self._repeatable
        self._next = checkpoint.next
        self.sent = Ranges.unpacked(checkpoint.sent)
        self.unknown = Ranges.unpacked(checkpoint.unknown)
        self._failed = {reason: Ranges.unpacked(packed) for reason, packed in checkpoint.failed.items()}
        for retry in (*checkpoint.out, *checkpoint.retries):
            places = list(Ranges.unpacked(retry.places))
            if retry.unsure and not repeatable:
                self.unknown.add(places)
                continue
            if retry.tried:
                self._tried.update(dict.fromkeys(places, retry.tried))
            if retry.unsure:
                self._unsure.update(places)
            if retry.apart:
                self._apart.append(places)
            else:
                self._again.extend(places)

    def _take(self, size: int) -> Sequence[int]:
        fresh = range(self._next, min(self._next + size, self._total))
        self._next = fresh.stop
        room = min(size - len(fresh), len(self._again))
        if room:
            return [*fresh, *(self._again.popleft() for _ in range(room))]
        if fresh or not self._apart:
            return fresh
        alone = self._apart.popleft()
        if alone[size:]:
            self._apart.appendleft(alone[size:])
        return alone[:size]

    def _rest(self) -> Iterator[Sequence[int]]:
        while self.waiting:
            yield self._take(10_000)

    def _parted(self, places: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
        """Those of `places` that no call can have reached, and the others; a range of the first stays one."""
        if self._unsure.isdisjoint(places):
            return places, ()
        unsure = [place for place in places if place in self._unsure]
        return [place for place in places if place not in self._unsure], unsure

    def _return_untried(self, places: Sequence[int]) -> None:
        # What is known of a recipient is stored with its retry: only of whom nothing is known is fresh again.
        is_fresh = not any(place in self._unsure or place in self._tried for place in places)
        if is_fresh and places and places[-1] == self._next - 1 and places[0] == self._next - len(places):
            self._next -= len(places)
        else:
            self._again.extendleft(reversed(places))

    def _retry(self, result: BatchResult, unsent: Sequence[int], unsure: Sequence[int]) -> None:
        reason = result.failure or "not-sent"
        if self._repeatable:
            self._unsure.update(unsure)
            self._again.extend(place for place in unsure if self._may_retry(place, reason))
        else:
            unsent, doubted = self._parted(unsent)
            self.unknown.add([*unsure, *doubted])
        if result.outcome in NOT_TRIED:
            self._again.extendleft(reversed(unsent))
            return
        again = [place for place in unsent if self._may_retry(place, reason)]
        if result.batch.attempt == 1:
            self._again.extend(again)
        else:
            # Failed once more: in small parts and by themselves, so that whoever is at fault fails the fewest others.
            part = ceil(len(result.batch.places) / self._parts)
            self._apart.extend(again[first : first + part] for first in range(0, len(again), part))

    def _may_retry(self, place: int, reason: str) -> bool:
        """Count an attempt; if it was the last one the recipient is settled, and False."""
        tried = self._tried[place] = self._tried.get(place, 0) + 1
        if tried > self._retries:
            self._settle_unsent(place, reason)
        return tried <= self._retries

    def _settle_unsent(self, place: int, reason: str) -> None:
        if place in self._unsure:
            self.unknown.add([place])
        else:
            self._fail(place, reason)

    def _told_apart(self, reason: str) -> str:
        cut = reason[:LONGEST_REASON]
        return cut if cut in self._failed or len(self._failed) < MOST_REASONS else OTHER

    def _fail(self, place: int, reason: str) -> None:
        self._failed.setdefault(reason, Ranges()).add([place])

    def _waiting_retries(self) -> Iterator[Retry]:
        alike: dict[tuple[int, bool], list[int]] = {}
        for place in self._again:
            alike.setdefault((self._tried.get(place, 0), place in self._unsure), []).append(place)
        for (tried, unsure), places in alike.items():
            yield Retry(tried, unsure, apart=False, places=_packed(places))
        for places in self._apart:
            yield self._as_retry(places, unsure=any(place in self._unsure for place in places), apart=True)

    def _as_retry(self, places: Sequence[int], *, unsure: bool, apart: bool = False) -> Retry:
        tried = self.attempt_of(places) - 1
        return Retry(tried, unsure, apart=apart, places=_packed(places))


def _packed(places: Iterable[int]) -> Packed:
    return Ranges(places if isinstance(places, range) else sorted(places)).packed()
