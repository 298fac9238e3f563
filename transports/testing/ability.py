"""Promises about capabilities: what an engine says that it can do is so, and what it says it cannot is refused."""

from __future__ import annotations

from typing import get_args

from stages.engine import ContentKind
from stages.errors import ContentRefused, TooLarge
from stages.recipients import canonical
from transports.testing.probes import (
    a_text,
    an_id,
    check_receipt,
    expect,
    failure_of,
    new_calls,
    opened,
    reached,
    some,
)
from transports.testing.rig import Rig


async def capabilities_do_not_change(rig: Rig) -> None:
    """What an engine can do is known when it is open, and stays so."""
    async with opened(rig) as engine:
        before = engine.capabilities
        expect(before.kinds, "it can post nothing at all")
        expect(before.max_batch is None or before.max_batch > 0, f"max_batch is {before.max_batch}")
        expect(before.targets_recipients or before.lists_audience, "it can post to nobody that can be named")
        await engine.send(a_text(rig, engine), await some(rig, engine), an_id(engine))
        expect(engine.capabilities == before, "capabilities changed while it was open")


async def a_message_id_is_borne_by_every_call_that_is_given_it(rig: Rig) -> None:
    """Calls under one id bear that one; where ids cannot be reused, each call has one of its own."""
    async with opened(rig) as engine:
        content, id = a_text(rig, engine), an_id(engine)
        people = await some(rig, engine, 4)
        parts = [people[:1], people[1:]] if engine.capabilities.targets_recipients else [people, people]
        receipts = [await engine.send(content, part, id) for part in parts]
        for receipt, part in zip(receipts, parts, strict=True):
            check_receipt(receipt, part, id)
        ids = {receipt.message_id for receipt in receipts}
        seen = {call.message_id for call in await rig.calls()}
        expect(seen == ids, f"the receipts say {sorted(ids)}, the far side saw {sorted(seen)}")
        expect(len(ids) == (1 if id else 2), f"{len(ids)} ids in two calls")


async def an_id_is_chosen_where_none_is_given(rig: Rig) -> None:
    """Without an id the engine chooses one, another one each time."""
    async with opened(rig) as engine:
        people = await some(rig, engine)
        receipts = [await engine.send(a_text(rig, engine), people, None) for _ in range(2)]
        expect(all(receipt.message_id for receipt in receipts), "a receipt without a message id")
        expect(receipts[0].message_id != receipts[1].message_id, "two stories under one id")


async def a_call_reaches_whom_it_names_and_nobody_else(rig: Rig) -> None:
    """Everybody whom the receipt does not leave out has it, once, and nobody else has."""
    async with opened(rig) as engine:
        people = await some(rig, engine, 5)
        receipt = await engine.send(a_text(rig, engine), people, an_id(engine))
        check_receipt(receipt, people, an_id(engine))
        wanted = dict.fromkeys((jid for jid in people if jid not in receipt.failed), 1)
        found = reached(await rig.calls())
        expect(
            found == wanted,
            f"{len(wanted)} were to be reached once, {found.total()} sightings by {len(found)}",
        )


async def an_audience_is_listed_or_refused(rig: Rig) -> None:
    """An engine that lists its audience names canonical recipients, each once; any other refuses."""
    async with opened(rig) as engine:
        if not engine.capabilities.lists_audience:
            try:
                await engine.audience()
            except ContentRefused:
                return
            expect(False, "it lists an audience, though lists_audience is false")
        audience = list(await engine.audience())
        expect(audience, "an empty audience")
        expect(len(set(audience)) == len(audience), "somebody is listed twice")
        expect(
            all(canonical(jid) == jid for jid in audience), "a recipient that is not in its canonical form"
        )


async def kinds_are_posted_or_refused(rig: Rig) -> None:
    """Each kind of content that an engine says it can post is posted; any other is refused, and reaches nobody."""
    async with opened(rig) as engine:
        for number, kind in enumerate(get_args(ContentKind), start=1):
            people, before = await some(rig, engine), len(await rig.calls())
            failure = await failure_of(engine, rig.contents[kind], people, an_id(engine, number))
            calls = await new_calls(rig, before)
            if kind in engine.capabilities.kinds:
                expect(failure is None, f"{kind} was refused: {failure!r}")
                expect(calls, f"{kind} reached nobody")
            else:
                expect(isinstance(failure, ContentRefused), f"{kind} is no kind of this engine: {failure!r}")
                expect(not calls, f"{kind} was refused, and reached somebody")


async def the_largest_batch_is_taken_and_a_larger_one_is_not(rig: Rig) -> None:
    """A batch of `max_batch` is one call; one more is too large, and reaches nobody."""
    async with opened(rig) as engine:
        most = engine.capabilities.max_batch
        if most is None or not engine.capabilities.targets_recipients:
            return
        people, content = rig.people(most + 1), a_text(rig, engine)
        await engine.send(content, people[:most], an_id(engine))
        expect(len(await rig.calls()) == 1, f"{len(await rig.calls())} calls for one batch")
        failure = await failure_of(engine, content, people, an_id(engine, 2))
        expect(isinstance(failure, TooLarge), f"one more than max_batch: {failure!r}")
        expect(len(await rig.calls()) == 1, "a batch that was too large reached somebody")


PROMISES = (
    capabilities_do_not_change,
    a_message_id_is_borne_by_every_call_that_is_given_it,
    an_id_is_chosen_where_none_is_given,
    a_call_reaches_whom_it_names_and_nobody_else,
    an_audience_is_listed_or_refused,
    kinds_are_posted_or_refused,
    the_largest_batch_is_taken_and_a_larger_one_is_not,
)
