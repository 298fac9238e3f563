"""The simulated WhatsApp as a function: what becomes of a call, by a clock and a seed that are passed in."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from random import Random

from msgspec import Struct, field

from stages.bucket import TokenBucket
from stages.errors import (
    AccountRestricted,
    EngineFailure,
    OutcomeUnknown,
    RateLimited,
    RecipientsRejected,
    SessionLost,
    TooLarge,
    Unavailable,
)
from transports.simulated.conditions import is_within, risk_factor, seconds_for
from transports.simulated.profile import Latency, Profile

NOT_ON_WHATSAPP = "not-on-whatsapp"
NOT_IN_AUDIENCE = "not-in-audience"
QUICK = 0.05
"""Seconds in which a call is turned away that never reached anybody."""


class Fate(Struct, frozen=True, kw_only=True):
    """What becomes of a call: after `seconds` a receipt or `failure`; `reaches` says whether it was sent."""

    seconds: float
    reaches: bool
    failed: dict[str, str] = field(default_factory=dict)
    failure: EngineFailure | None = None


class World:
    """Decides the fate of calls. Times are seconds since the world began, and never go back."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._random = Random(profile.seed)
        limits = profile.limits
        self._calls = _bucket(limits.calls_per_second, limits.calls_burst)
        self._recipients = _bucket(limits.recipients_per_second, limits.recipients_burst)
        self._made = 0
        self._script: deque[Fate] = deque()
        self._ended: AccountRestricted | SessionLost | None = None

    @cached_property
    def contacts(self) -> dict[str, None]:
        """The account's own audience, in its order."""
        first = 628_120_000_001
        numbers = range(first, first + self.profile.abilities.contacts)
        return {f"{number}@s.whatsapp.net": None for number in numbers}

    @property
    def ended(self) -> AccountRestricted | SessionLost | None:
        """Why the account cannot send until a person has acted, if that is so by now."""
        after = self.profile.restricted_after_calls
        if after is not None and self._made > after:
            return AccountRestricted("server returned error 463")
        return self._ended

    def script(self, fate: Fate) -> None:
        """What becomes of the next call, or of the one after those that have a script already."""
        self._script.append(fate)

    def out(self, now: float) -> bool:
        """Whether there is an outage now."""
        return any(is_within(window, now) for window in self.profile.outages)

    def fate(self, recipients: Sequence[str], now: float, *, in_flight: int = 0) -> Fate:
        """What becomes of a call made `now`, with `in_flight` others under way."""
        dead = [jid for jid in recipients if self.is_dead(jid)] if self._has_dead else []
        failed = {**dict.fromkeys(dead, NOT_ON_WHATSAPP), **self.strangers(recipients)}
        return self.fate_of(len(recipients), now, in_flight=in_flight, is_dead=bool(dead), failed=failed)

    def fate_of(
        self,
        size: int,
        now: float,
        *,
        in_flight: int = 0,
        is_dead: bool = False,
        failed: dict[str, str] | None = None,
    ) -> Fate:
        """What becomes of a call to `size` recipients, whoever they are.

        `is_dead`: one of them is not on WhatsApp; `failed`: those whom a call that is sent leaves out, and why.
        """
        self._made += 1
        if self._script and self.ended is None:
            return self._scripted(self._script.popleft())
        if self.ended is not None:
            return _turned_away(QUICK, self.ended)
        if self.out(now):
            return _turned_away(QUICK, Unavailable("the connection is down"))
        if size > self.profile.frame_limit:
            return _turned_away(QUICK, TooLarge(f"frame too large: {size} recipients"))
        if refusal := self._refusal(size, now):
            return _turned_away(self.profile.limits.refusal_seconds, refusal)
        seconds = self._duration(size, now, in_flight)
        if is_dead and self.profile.numbers.answer != "reported":
            return self._about_the_dead(seconds, failed or {})
        return self._answer(size, seconds, self._risk(size, now), failed or {})

    def allows_at(self, size: int, now: float) -> float:
        """When the far side's limits let a call to `size` recipients in: `now` or later."""
        wanted = min(size, self.profile.limits.recipients_burst)
        buckets = [(self._calls, 1.0), (self._recipients, wanted)]
        return max([now, *(bucket.ready_at(now, tokens) for bucket, tokens in buckets if bucket)])

    def is_dead(self, recipient: str) -> bool:
        """Whether `recipient` is not on WhatsApp."""
        numbers = self.profile.numbers
        if recipient in numbers.dead:
            return True
        if not numbers.dead_share:
            return False
        digest = blake2b(f"{self.profile.seed}/{recipient}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) < numbers.dead_share * 2**64

    def _scripted(self, fate: Fate) -> Fate:
        if isinstance(fate.failure, AccountRestricted | SessionLost):
            self._ended = fate.failure
        return fate

    def strangers(self, recipients: Sequence[str]) -> dict[str, str]:
        """Those of `recipients` whom a call that goes to the account's own audience leaves out, and why."""
        if self.profile.abilities.targets_recipients:
            return {}
        return {jid: NOT_IN_AUDIENCE for jid in recipients if jid not in self.contacts}

    def _about_the_dead(self, seconds: float, failed: dict[str, str]) -> Fate:
        """The answer to a call that is not sent to anybody, because one of its recipients is dead."""
        seconds = min(seconds, self.profile.timeout.seconds)
        if self.profile.numbers.answer == "failure":
            return _turned_away(seconds, Unavailable("server returned error 500"))
        named = failed if self.profile.numbers.answer == "named" else {}
        return _turned_away(seconds, RecipientsRejected("server returned error 400", rejected=named))

    def _answer(self, size: int, seconds: float, risk: float, failed: dict[str, str]) -> Fate:
        timeout = self.profile.timeout
        if self._random.random() < risk:
            failure = Unavailable("server returned error 500")
            return _turned_away(min(seconds, timeout.seconds) * self._random.random(), failure)
        if seconds > timeout.seconds or size > (self.profile.latency.hangs_above or size):
            reaches = self._random.random() < timeout.delivers
            unknown = OutcomeUnknown(f"no acknowledgement within {timeout.seconds:g} s")
            return Fate(seconds=timeout.seconds, reaches=reaches, failed=failed, failure=unknown)
        return Fate(seconds=seconds, reaches=True, failed=failed)

    @property
    def _has_dead(self) -> bool:
        return bool(self.profile.numbers.dead or self.profile.numbers.dead_share)

    def _refusal(self, size: int, now: float) -> RateLimited | None:
        # A call that needs more than the whole bucket ever holds waits for a full one.
        wanted = min(size, self.profile.limits.recipients_burst)
        buckets = [(self._calls, 1.0), (self._recipients, wanted)]
        waits = [bucket.ready_at(now, tokens) - now for bucket, tokens in buckets if bucket]
        if not any(waits):
            for bucket, tokens in buckets:
                if bucket:
                    bucket.take(now, tokens)
            return None
        told = max(waits) if self.profile.limits.tells_retry_after else None
        return RateLimited("rate-overlimit", retry_after=told)

    def _duration(self, size: int, now: float, in_flight: int) -> float:
        latency = self.profile.latency
        work = base_seconds(latency, size) * (1 + latency.concurrency_cost * in_flight)
        if latency.noise:
            work *= self._random.lognormvariate(-(latency.noise**2) / 2, latency.noise)
        if self._random.random() < latency.stall_share:
            more = max(0.0, latency.stall_factor_most - latency.stall_factor)
            work *= latency.stall_factor + (more and more * self._random.random())
        return seconds_for(work, self.profile.conditions, now)

    def _risk(self, size: int, now: float) -> float:
        failures = self.profile.failures
        by_size = (size / failures.scale) ** 2 if failures.scale else 0.0
        return 1 - math.exp(-(failures.base + by_size) * risk_factor(self.profile.conditions, now))


def base_seconds(latency: Latency, size: int) -> float:
    """What a call to `size` recipients takes in good times, without noise."""
    if not latency.points:
        return latency.a + latency.b * size + latency.c * size**2
    points = latency.points
    if size <= points[0][0] or len(points) == 1:
        return points[0][1]
    upper = next((place for place, point in enumerate(points) if point[0] >= size), len(points) - 1)
    (x0, y0), (x1, y1) = points[upper - 1], points[upper]
    prolonged = y0 + (y1 - y0) * (size - x0) / (x1 - x0)
    return max(prolonged, y1) if size > x1 else prolonged


def _turned_away(seconds: float, failure: EngineFailure) -> Fate:
    return Fate(seconds=seconds, reaches=False, failure=failure)


def _bucket(rate: float, burst: float) -> TokenBucket | None:
    return TokenBucket(rate, burst) if rate else None
