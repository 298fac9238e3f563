"""A token bucket: how often something may happen, by a clock that is passed in."""

from __future__ import annotations


class TokenBucket:
    """`rate` tokens a second, at most `capacity` of them saved up; starts full.

    With capacity 1 two takes are never nearer than 1/rate seconds. Times are seconds on any clock that
    does not go back. The rate can change while it runs.
    """

    def __init__(self, rate: float, capacity: float = 1.0) -> None:
        self._rate = rate
        self._capacity = capacity
        self._tokens = capacity
        self._at: float | None = None

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self._rate

    def set_rate(self, rate: float, now: float) -> None:
        """From `now` on, `rate` tokens a second; what is saved up stays."""
        self._fill(now)
        self._rate = rate

    def ready_at(self, now: float, tokens: float = 1.0) -> float:
        """When `tokens` can be taken: `now` or later."""
        self._fill(now)
        # A millionth is forgiven, or rounding alone would ask for one more, endlessly short, wait.
        missing = tokens - self._tokens
        return now if missing <= 1e-6 else now + missing / self._rate

    def take(self, now: float, tokens: float = 1.0) -> bool:
        """Take `tokens` if they are there now, else nothing and False."""
        if self.ready_at(now, tokens) > now:
            return False
        self._tokens -= tokens
        return True

    def _fill(self, now: float) -> None:
        if self._at is not None and now > self._at:
            self._tokens = min(self._capacity, self._tokens + (now - self._at) * self._rate)
        self._at = now if self._at is None else max(now, self._at)
