"""What an engine must make of a signal of its far side: the right failure, and the truth about who got it."""

from __future__ import annotations

import re

from stages.errors import AccountRestricted, EngineFailure, OutcomeUnknown, RateLimited, SessionLost
from transports.testing.probes import (
    a_text,
    an_id,
    check_receipt,
    expect,
    failure_of,
    opened,
    sent_soon,
    some,
)
from transports.testing.rig import Rig

LASTING = (AccountRestricted, SessionLost)
"""Failures that are a state of the whole account: a person has to act."""
_NUMBER = re.compile(r"[0-9]{8,}")


async def meets(signal: str, rig: Rig) -> None:
    """A call that meets `signal` fails as the rig says it must; what lasts shows in `status`, the rest is over."""
    expected = rig.signals[signal]
    async with opened(rig) as engine:
        people, content = await some(rig, engine), a_text(rig, engine)
        await rig.arrange(signal)
        failure = await failure_of(engine, content, people, an_id(engine, 1))
        expect(failure is not None, f"{signal}: the call went through")
        expect(type(failure) is expected, f"{signal}: {failure!r}, which should be {expected.__name__}")
        assert failure is not None
        _is_discreet(failure)
        if signal in rig.waits:
            told = failure.retry_after if isinstance(failure, RateLimited) else None
            expect(told == rig.waits[signal], f"{signal}: retry_after {told}, not {rig.waits[signal]}")
        if expected is not OutcomeUnknown:
            calls = await rig.calls()
            expect(not calls, f"{signal}: somebody got it, though the engine says nobody did")
        if expected in LASTING:
            state = (await engine.status()).state
            expect(state in {"restricted", "lost"}, f"{signal}: status says {state}")
        else:
            receipt = await sent_soon(engine, content, people, an_id(engine, 2))
            check_receipt(receipt, people, an_id(engine, 2))


def _is_discreet(failure: EngineFailure) -> None:
    found = _NUMBER.search(str(failure))
    expect(found is None, "the failure's words hold a phone number")
