"""What the checks have in common: sending as the pipeline would, and saying what was expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

import anyio

from stages.engine import Engine, Receipt
from stages.errors import EngineFailure, Unavailable
from stages.messages import Content
from transports.testing.rig import Call, NotConforming, Rig

ENOUGH = 20.0
"""Seconds that nothing in a check may take."""
AGAIN = 0.05
"""Seconds between two tries while an engine recovers."""


def expect(holds: object, otherwise: str) -> None:
    """Raise `NotConforming` with the words `otherwise`, unless it holds."""
    if not holds:
        raise NotConforming(otherwise)


@asynccontextmanager
async def opened(rig: Rig) -> AsyncIterator[Engine]:
    """The engine of `rig`; the block may not take longer than is enough for any check."""
    with anyio.fail_after(ENOUGH):
        async with rig.open() as engine:
            yield engine


async def some(rig: Rig, engine: Engine, count: int = 3) -> list[str]:
    """Recipients for one call: `count`, or all where the engine does not choose."""
    if engine.capabilities.targets_recipients:
        return rig.people(count)
    return list(await engine.audience())


def an_id(engine: Engine, number: int = 1) -> str | None:
    """A message id of the form that the pipeline makes, if the engine takes one."""
    return f"3EB0{number:018X}" if engine.capabilities.reuses_message_id else None


def a_text(rig: Rig, engine: Engine) -> Content:
    """A content that the engine can post."""
    kind = "text" if "text" in engine.capabilities.kinds else min(engine.capabilities.kinds)
    return rig.contents[kind]


async def failure_of(
    engine: Engine, content: Content, to: Sequence[str], id: str | None
) -> EngineFailure | None:
    """The typed failure of a call, or None if it went through. Anything else that it raises is against the port."""
    try:
        await engine.send(content, to, id)
    except EngineFailure as failure:
        return failure
    except Exception as problem:
        raise NotConforming(
            f"send raised {type(problem).__name__}, which is no EngineFailure: {problem}"
        ) from problem
    return None


async def sent_soon(engine: Engine, content: Content, to: Sequence[str], id: str | None) -> Receipt:
    """The receipt of a call, made again for as long as an engine that recovers says that it is not available."""
    while True:
        try:
            return await engine.send(content, to, id)
        except Unavailable:
            await anyio.sleep(AGAIN)


async def new_calls(rig: Rig, since: int) -> Sequence[Call]:
    """The calls after the first `since`."""
    return (await rig.calls())[since:]


def reached(calls: Iterable[Call]) -> Counter[str]:
    """How often each was reached."""
    return Counter(jid for call in calls for jid in call.recipients)


def check_receipt(receipt: Receipt, to: Sequence[str], id: str | None) -> None:
    """A receipt has an id, the one that was asked for, and names nobody else."""
    expect(receipt.message_id, "a receipt without a message id")
    if id is not None:
        expect(receipt.message_id == id, f"asked for {id}, the receipt says {receipt.message_id}")
    strangers = set(receipt.failed) - set(to)
    expect(not strangers, f"the receipt names {len(strangers)} who were not in the call")
