"""The simulated engine under the conformance suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from math import inf

from stages.engine import ContentKind
from stages.errors import (
    AccountRestricted,
    ContentRefused,
    EngineFailure,
    OutcomeUnknown,
    RateLimited,
    RecipientsRejected,
    SessionLost,
    TooLarge,
    Unavailable,
)
from stages.messages import Content
from tests.support import people
from transports.simulated import Profile, SimulatedEngine, open_simulated
from transports.simulated.profile import Abilities, Latency
from transports.testing import SAMPLES, SILENCE, Call

QUICK = Latency(a=0.01, b=0.0)
_FAILURES: Mapping[str, EngineFailure] = {
    "too many calls": RateLimited("rate-overlimit"),
    "too many calls, with a wait": RateLimited("rate-overlimit", retry_after=7),
    "an outage": Unavailable("the connection is down"),
    "a time-out": OutcomeUnknown("no acknowledgement within 15 s"),
    "rejected recipients": RecipientsRejected("server returned error 400"),
    "a frame that is too large": TooLarge("frame too large"),
    "a restricted account": AccountRestricted("server returned error 463"),
    "a lost session": SessionLost("logged out"),
    "refused content": ContentRefused("server returned error 415"),
}


class SimulatedRig:
    """A `Rig`: an engine in this process, with a script for each signal."""

    signals: Mapping[str, type[EngineFailure]] = {name: type(why) for name, why in _FAILURES.items()}
    waits: Mapping[str, float] = {"too many calls, with a wait": 7}
    contents: Mapping[ContentKind, Content] = SAMPLES

    def __init__(self, abilities: Abilities | None = None) -> None:
        self._profile = Profile(latency=QUICK, abilities=abilities or Abilities())
        self._engines: list[SimulatedEngine] = []

    def open(self) -> AbstractAsyncContextManager[SimulatedEngine]:
        """An engine that takes 10 ms for a call."""
        return self._open()

    def people(self, count: int) -> list[str]:
        """Anybody."""
        return people(count)

    async def arrange(self, signal: str) -> None:
        """By the engine's own script."""
        engine = self._engines[-1]
        if signal == SILENCE:
            engine.script(seconds=inf)
        else:
            engine.script(_FAILURES[signal])

    async def calls(self) -> Sequence[Call]:
        """What the engines delivered."""
        return [
            Call(message_id=one.message_id, recipients=one.recipients, content=one.content)
            for engine in self._engines
            for one in engine.ledger.deliveries
        ]

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[SimulatedEngine]:
        async with open_simulated(self._profile) as engine:
            self._engines.append(engine)
            yield engine
