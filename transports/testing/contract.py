"""The checks: one for each promise of the engine port, and one for each signal of the far side."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

from msgspec import Struct

from stages.errors import EngineFailure
from transports.testing import ability, conduct
from transports.testing.rig import Rig
from transports.testing.signal import meets


class Check(Struct, frozen=True):
    """One promise, and how to see whether it is kept: `run` raises `NotConforming` if not."""

    name: str
    promise: str
    run: Callable[[Rig], Awaitable[None]]

    def __str__(self) -> str:
        return self.name


class Verdict(Struct, frozen=True):
    """Whether a check holds, and if not, why."""

    name: str
    promise: str
    problem: str = ""

    @property
    def holds(self) -> bool:
        """Whether the promise was kept."""
        return not self.problem


_PROMISES = (*ability.PROMISES, *conduct.PROMISES)


def checks(signals: Mapping[str, type[EngineFailure]]) -> Sequence[Check]:
    """All checks for an engine whose far side knows these signals."""
    held = [Check(_name(promise), (promise.__doc__ or "").strip(), promise) for promise in _PROMISES]
    met = [
        Check(
            f"signal: {signal}",
            f"{signal} is told as {kind.kind}, and who got it is clear.",
            partial(meets, signal),
        )
        for signal, kind in signals.items()
    ]
    return [*held, *met]


async def conform(
    signals: Mapping[str, type[EngineFailure]], open_rig: Callable[[], AbstractAsyncContextManager[Rig]]
) -> Sequence[Verdict]:
    """Run every check on a rig of its own, whatever it raises."""
    return [await _verdict(check, open_rig) for check in checks(signals)]


async def _verdict(check: Check, open_rig: Callable[[], AbstractAsyncContextManager[Rig]]) -> Verdict:
    try:
        async with open_rig() as rig:
            await check.run(rig)
    except Exception as problem:  # an engine under construction may raise anything, and that is the verdict
        return Verdict(check.name, check.promise, f"{type(problem).__name__}: {problem}")
    return Verdict(check.name, check.promise)


def _name(promise: Callable[[Rig], Awaitable[None]]) -> str:
    return getattr(promise, "__name__", "").replace("_", " ")
