"""Requests in this worker's custody: pulled from their stream and not yet settled.

Each one is acknowledged only once its report is stored. Until then its stream is told every few seconds that somebody
is at it; if the worker dies that ends, and the request is delivered to another. Requests whose stories are paused are
held like that as well, but for their contents: resuming one has it delivered anew.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

import trio
from msgspec import Struct

from stages.flow import Delivery
from stages.history import Now
from stages.messages import Level
from transports.bus import Bus, Outbound
from transports.errors import TransportError
from transports.pull import ACK, IN_PROGRESS, Pulled, nak
from transports.streams import ACK_WAIT
from transports.subjects import HEADER_CONTENT_TYPE, HEADER_REPLY_TO, SENDS, is_for_answers, session_in

K = TypeVar("K", bound=Hashable)

log = logging.getLogger("storycast")

HEARTBEAT = ACK_WAIT / 3
BEATS_AT_ONCE = 64
LONGEST_POSTPONEMENT = 3_600.0


class CustodyStatistics(Struct, frozen=True):
    """What is in custody, and what became of the rest."""

    held: int
    """Requests not settled yet."""
    acknowledged: int
    """Settled for good."""
    handed_back: int
    """Given back, to be delivered again."""
    paused: int
    """Of those held: kept until their stories are resumed."""


class _Held(Struct, frozen=True):
    ack_subject: str
    session: str
    level: Level
    size: int


class Custody:
    """The unsettled requests of one worker.

    Keys are places in the stream, so a redelivery is known as one; and the time of storing, for a stream that was made
    anew counts from 1 again. Settling never raises: if NATS cannot be told, the request is delivered again, and known
    then.
    """

    def __init__(self, bus: Bus, *, now: Now) -> None:
        self._bus = bus
        self._now = now
        self._held: dict[Hashable, _Held] = {}
        self._counts: Counter[tuple[str, Level]] = Counter()
        self._bytes: Counter[str] = Counter()
        self._reported: set[Hashable] = set()
        self._paused: dict[Hashable, str] = {}
        self._acknowledged = self._handed_back = 0

    def statistics(self) -> CustodyStatistics:
        """Counts since the start."""
        return CustodyStatistics(len(self._held), self._acknowledged, self._handed_back, len(self._paused))

    def count(self, session: str, level: Level) -> int:
        """Requests held for `session` at `level`."""
        return self._counts[session, level]

    def room(self, level: Level, at_most: int) -> int:
        """How many more requests of `level` are wanted where `at_most` may be held in all.

        High comes first: the last eighth of the room is its alone. But a share of an eighth each is kept for the
        others, however much of high there is.
        """
        share = max(1, at_most // 8)
        free = at_most - sum(self._counts.values()) - (0 if level == "high" else share)
        own = share - sum(count for (_, its), count in self._counts.items() if its == level)
        return max(free, own if level != "high" else 0, 0)

    def waiting(self, session: str) -> int:
        """Requests held for `session`, the paused ones not counted."""
        return sum(self._counts[session, level] for level in SENDS)

    def size(self, session: str) -> int:
        """The size of all requests held for `session`."""
        return self._bytes[session]

    def holds(self, session: str) -> bool:
        """Whether any request is held for `session`, the paused ones included."""
        return any(self._counts[session, level] for level in SENDS) or any(
            self._held[key].session == session for key in self._paused
        )

    def take(self, pulled: Pulled, level: Level) -> Delivery | None:
        """Hold a request; None if it is held already, and only came once more."""
        key = (pulled.sequence, pulled.stored)
        known = key in self._held
        session = session_in(pulled.subject)
        self._held[key] = _Held(pulled.ack_subject, session, level, len(pulled.data))
        if known:
            return None
        self._counts[session, level] += 1
        self._bytes[session] += len(pulled.data)
        reply_to = pulled.headers.get(HEADER_REPLY_TO, "")
        return Delivery(
            key=key,
            session=session,
            data=pulled.data,
            level=level,
            content_type=pulled.headers.get(HEADER_CONTENT_TYPE, "application/json"),
            reply_to=reply_to if is_for_answers(reply_to) else None,
            attempt=pulled.attempt,
        )

    async def acknowledge(self, keys: Iterable[Hashable]) -> None:
        """They are done for good."""
        subjects = self._release(keys)
        self._acknowledged += len(subjects)
        await self._tell(subjects, ACK)

    async def hand_back(self, keys: Iterable[Hashable], *, delay: float = 0.0) -> None:
        """They are to be delivered again, to any worker, after `delay` seconds."""
        subjects = self._release(keys)
        self._handed_back += len(subjects)
        await self._tell(subjects, nak(delay))

    async def postpone(self, key: Hashable, until: datetime) -> None:
        """It is to be delivered again at `until`, or in an hour and then looked at once more."""
        seconds = (until - self._now()).total_seconds()
        await self.hand_back([key], delay=min(max(seconds, 0.1), LONGEST_POSTPONEMENT))

    def pause(self, key: Hashable, story: str) -> None:
        """Its story is paused: hold it, for as long as that takes."""
        held = self._held.get(key)
        if held is not None and key not in self._paused:
            self._paused[key] = story
            self._uncount(held)

    async def resume(self, session: str, story: str) -> None:
        """The requests for a paused story are to be delivered again, now."""
        await self.hand_back(
            [key for key, its in self._paused.items() if its == story and self._held[key].session == session]
        )

    def paused(self, session: str) -> Sequence[str]:
        """The paused stories of `session` whose requests are held."""
        return sorted({story for key, story in self._paused.items() if self._held[key].session == session})

    def reported(self, key: Hashable) -> None:
        """Its report is being stored: it is nobody else's any more, whatever becomes of its lane."""
        self._reported.add(key)

    async def hand_back_session(self, session: str, *, delay: float) -> None:
        """All that is held for `session`, and not reported yet, is to be delivered again after `delay` seconds."""
        keys = [key for key, held in self._held.items() if held.session == session]
        await self.hand_back([key for key in keys if key not in self._reported], delay=delay)

    async def hand_back_all(self) -> None:
        """The worker stops: whatever it holds goes to another."""
        await self.hand_back(list(self._held))

    async def keep(self) -> None:
        """Tell the stream, again and again, that what is held is being worked on. Runs until cancelled."""
        while True:
            await trio.sleep(HEARTBEAT)
            # On a lost connection beats would only fill its buffer, and say nothing when they come late.
            if self._bus.client.is_connected:
                await self._beat([held.ack_subject for held in self._held.values()])

    async def _beat(self, ack_subjects: Sequence[str]) -> None:
        # In parts: thousands in one go would keep everybody else waiting meanwhile.
        for first in range(0, len(ack_subjects), BEATS_AT_ONCE):
            await self._tell(ack_subjects[first : first + BEATS_AT_ONCE], IN_PROGRESS)

    async def _tell(self, ack_subjects: Sequence[str], what: bytes) -> None:
        if not ack_subjects:
            return
        try:
            await self._bus.publish([Outbound(subject, what) for subject in ack_subjects])
        except TransportError as problem:
            # No harm: what the stream was not told it asks again, by delivering the request once more.
            log.warning("could not settle", extra={"requests": len(ack_subjects), "problem": str(problem)})

    def _release(self, keys: Iterable[Hashable]) -> list[str]:
        keys = list(keys)
        self._reported.difference_update(keys)
        subjects = []
        for key in keys:
            held = self._held.pop(key, None)
            if held is None:
                continue
            subjects.append(held.ack_subject)
            if self._paused.pop(key, None) is None:
                self._uncount(held)
        return subjects

    def _uncount(self, held: _Held) -> None:
        _subtract(self._counts, (held.session, held.level), 1)
        _subtract(self._bytes, held.session, held.size)


def _subtract(counter: Counter[K], key: K, amount: int) -> None:
    counter[key] -= amount
    if not counter[key]:
        del counter[key]
