"""Promises about conduct: content that stays the same, calls at the same time, cancellation, and the end."""

from __future__ import annotations

import anyio

from stages.engine import Engine
from stages.errors import EngineFailure, Unavailable
from stages.messages import Content
from transports.testing.probes import (
    a_text,
    an_id,
    check_receipt,
    expect,
    failure_of,
    opened,
    reached,
    sent_soon,
    some,
)
from transports.testing.rig import SILENCE, Rig

PATIENCE = 0.5
"""Seconds after which a caller gives a silent call up."""
PROMPTLY = 5.0
"""Seconds within which a call that was cancelled must be over."""
AT_ONCE = 5


async def content_stays_the_same_from_the_anchor_to_the_last_batch(rig: Rig) -> None:
    """Every call of a story posts the same content, whatever its kind."""
    async with opened(rig) as engine:
        for number, kind in enumerate(sorted(engine.capabilities.kinds), start=1):
            before = len(await rig.calls())
            await _post_in_parts(rig, engine, rig.contents[kind], an_id(engine, number))
            contents = {call.content for call in (await rig.calls())[before:]}
            expect(len(contents) == 1, f"{len(contents)} different contents of one {kind}")


async def an_engine_that_can_send_says_that_it_is_ready(rig: Rig) -> None:
    """`status` says `ready`, before a call and after it."""
    async with opened(rig) as engine:
        before = await engine.status()
        await engine.send(a_text(rig, engine), await some(rig, engine), an_id(engine))
        after = await engine.status()
        states = (before.state, after.state)
        expect(states == ("ready", "ready"), f"it says {states[0]}, then {states[1]}: {after.reason}")


async def calls_at_the_same_time_keep_apart(rig: Rig) -> None:
    """Calls may run at the same time: each has a receipt of its own, and reaches its own recipients."""
    async with opened(rig) as engine:
        people, content = await some(rig, engine, 2 * AT_ONCE), a_text(rig, engine)
        chosen = engine.capabilities.targets_recipients
        parts = [people[place::AT_ONCE] if chosen else people for place in range(AT_ONCE)]

        async def one(number: int) -> None:
            id = an_id(engine, number + 1)
            check_receipt(await engine.send(content, parts[number], id), parts[number], id)

        async with anyio.create_task_group() as tasks:
            for number in range(AT_ONCE):
                tasks.start_soon(one, number)
        calls = await rig.calls()
        expect(len({call.message_id for call in calls}) == AT_ONCE, "calls at the same time share their ids")
        found = {frozenset(call.recipients) for call in calls}
        expect(found == set(map(frozenset, parts)), "calls at the same time mixed up their recipients")


async def a_cancelled_call_ends_at_once_and_spoils_no_other(rig: Rig) -> None:
    """A call that gets no answer can be cancelled at any instant; the next one goes through, with its own receipt."""
    async with opened(rig) as engine:
        people, content = await some(rig, engine), a_text(rig, engine)
        await rig.arrange(SILENCE)
        with anyio.fail_after(PROMPTLY), anyio.move_on_after(PATIENCE) as scope:
            await engine.send(content, people, an_id(engine, 1))
        expect(scope.cancelled_caught, "a call to a far side that never answers was not cancelled")
        receipt = await sent_soon(engine, content, people, an_id(engine, 2))
        check_receipt(receipt, people, an_id(engine, 2))


async def a_repeated_call_is_the_same_message(rig: Rig) -> None:
    """The same call once more goes through, under the same id: recipients' phones know it by that."""
    async with opened(rig) as engine:
        if not engine.capabilities.reuses_message_id:
            return
        people, content = await some(rig, engine), a_text(rig, engine)
        for _ in range(2):
            check_receipt(await engine.send(content, people, an_id(engine)), people, an_id(engine))
        ids = {call.message_id for call in await rig.calls()}
        expect(ids == {an_id(engine)}, f"the far side saw {sorted(ids)}")


async def after_its_end_nothing_goes_out(rig: Rig) -> None:
    """Once the block is left, `send` raises `Unavailable`, and the far side hears nothing."""
    async with opened(rig) as engine:
        people, content = await some(rig, engine), a_text(rig, engine)
        await engine.send(content, people, an_id(engine))
    before = await rig.calls()
    with anyio.fail_after(PROMPTLY):
        failure = await failure_of(engine, content, people, an_id(engine, 2))
    expect(isinstance(failure, Unavailable), f"a call after the end: {failure!r}")
    expect(await rig.calls() == before, "a call after the end reached somebody")
    expect(await _is_not_ready(engine), "a closed engine says that it is ready")


async def it_can_be_opened_again(rig: Rig) -> None:
    """What was closed can be opened again, and sends."""
    for number in (1, 2):
        async with opened(rig) as engine:
            await engine.send(a_text(rig, engine), await some(rig, engine), an_id(engine, number))
    expect(len(await rig.calls()) == 2, f"{len(await rig.calls())} calls of two engines")


async def _post_in_parts(rig: Rig, engine: Engine, content: Content, id: str | None) -> None:
    people = await some(rig, engine, 4)
    if not engine.capabilities.targets_recipients:
        await engine.send(content, people, id)
        await engine.send(content, people, id)
        return
    for part in (people[:1], people[1:3], people[3:]):
        await engine.send(content, part, id)
    expect(set(people) <= set(reached(await rig.calls())), "somebody was not reached")


async def _is_not_ready(engine: Engine) -> bool:
    try:
        return (await engine.status()).state != "ready"
    except EngineFailure:
        return True


PROMISES = (
    content_stays_the_same_from_the_anchor_to_the_last_batch,
    an_engine_that_can_send_says_that_it_is_ready,
    calls_at_the_same_time_keep_apart,
    a_cancelled_call_ends_at_once_and_spoils_no_other,
    a_repeated_call_is_the_same_message,
    after_its_end_nothing_goes_out,
    it_can_be_opened_again,
)
