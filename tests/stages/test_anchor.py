"""anchor: one contact first, three candidates at most, and everything else passed on as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from stages.anchor import Anchor
from stages.control import Control
from stages.delivery import Limits, Sender
from stages.engine import Receipt
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
from stages.flow import BatchResult, Held, StoryOpened
from stages.messages import Content
from stages.pacing import Pacer
from tests.support import (
    Hang,
    Pipe,
    ScriptedEngine,
    batch,
    drained,
    filled,
    no_jitter,
    no_leaks,
    people,
    story,
)

pytestmark = pytest.mark.anyio

OF = story(500)
CANDIDATES = batch(OF, size=3, role="anchor", index=0)


class Bench:
    """An anchor actor with an engine that answers as it is told."""

    def __init__(self, engine: ScriptedEngine, *items: Any) -> None:
        self.engine, self.onward = engine, Pipe()
        sender = Sender(engine, Pacer(1_000, random=no_jitter), limits=Limits(), random=no_jitter)
        self.anchor = Anchor(filled(*items), self.onward.into, sender=sender)

    async def run(self) -> list[Any]:
        await self.anchor()
        return drained(self.onward)


async def anchored(*answers: Any) -> tuple[BatchResult, Bench]:
    bench = Bench(ScriptedEngine(*answers), CANDIDATES)
    came = [item for item in await bench.run() if not isinstance(item, Held)]
    [came_back] = came
    return came_back, bench


async def test_the_first_candidate_that_has_it_is_the_anchor_and_the_others_are_untried() -> None:
    came_back, bench = await anchored()
    assert (came_back.outcome, came_back.sent, came_back.untried) == ("sent", people(1), 2)
    assert bench.engine.sizes == [1]
    assert (bench.anchor.statistics().anchored, bench.anchor.statistics().unreachable) == (1, 0)


async def test_a_contact_that_is_not_on_whatsapp_is_failed_and_the_next_is_tried() -> None:
    first, second, _ = people(3)
    came_back, bench = await anchored({first: "not-on-whatsapp"})
    assert (came_back.outcome, came_back.sent) == ("sent", [second])
    assert (came_back.failed, came_back.untried) == ({first: "not-on-whatsapp"}, 1)
    assert [call.recipients for call in bench.engine.calls] == [(first,), (second,)]
    assert (bench.anchor.statistics().anchored, bench.anchor.statistics().unreachable) == (1, 1)


async def test_a_rejected_contact_is_failed_and_the_next_is_tried() -> None:
    first, second, third = people(3)
    came_back, _ = await anchored(RecipientsRejected(), RecipientsRejected(rejected={second: "x"}))
    assert (came_back.outcome, came_back.sent) == ("sent", [third])
    assert came_back.failed == {first: "recipients-rejected", second: "x"}


async def test_a_contact_whose_outcome_is_unknown_is_given_back_as_unsure() -> None:
    first, second, _ = people(3)
    came_back, _ = await anchored(OutcomeUnknown())
    assert (came_back.sent, came_back.unsure, came_back.untried) == ([second], [first], 1)


async def test_a_contact_that_could_not_be_sent_to_is_given_back_as_unsent() -> None:
    first, second, _ = people(3)
    came_back, _ = await anchored(TooLarge())
    assert (came_back.sent, came_back.unsent) == ([second], [first])


@pytest.mark.parametrize("failure", [Unavailable("server error 500"), RateLimited()])
async def test_an_outage_and_refusals_use_up_no_candidate(failure: EngineFailure) -> None:
    came_back, bench = await anchored(*[failure] * 20)
    assert (came_back.outcome, came_back.sent, came_back.untried) == ("sent", people(1), 2)
    assert {call.recipients for call in bench.engine.calls} == {(people(1)[0],)}
    assert bench.anchor.statistics().unreachable == 0


async def test_when_refusals_outlast_all_patience_the_search_ends_with_all_candidates_still_to_be_sent_to() -> (
    None
):
    came_back, bench = await anchored(*[RateLimited("slow down")] * 1_000)
    assert (came_back.outcome, came_back.failure, came_back.reason) == ("parked", "rate-limited", "slow down")
    assert (came_back.failed, came_back.unsent, came_back.untried) == ({}, people(1), 2)
    assert {call.recipients for call in bench.engine.calls} == {(people(1)[0],)}


async def test_when_every_candidate_meets_the_same_unavailable_engine_the_story_is_for_another_time() -> None:
    came_back, _ = await anchored(*[Unavailable("server error 500")] * 1_000)
    assert (came_back.outcome, came_back.failure) == ("parked", "unavailable")
    assert (came_back.failed, came_back.unsent, came_back.untried) == ({}, people(3), 0)


async def test_a_contact_at_which_the_server_fails_each_time_does_not_keep_the_others_from_the_story() -> (
    None
):
    class Poisoned(ScriptedEngine):
        """Fails at one contact, whatever it is sent."""

        async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
            receipt = await super().send(content, recipients, message_id)
            if people(1)[0] in recipients:
                raise Unavailable("server error 500")
            return receipt

    bench = Bench(Poisoned(), CANDIDATES)
    [came_back] = [item for item in await bench.run() if not isinstance(item, Held)]
    assert (came_back.outcome, came_back.sent, came_back.unsent) == ("sent", [people(2)[1]], people(1))


async def test_the_time_of_an_anchor_is_that_of_all_candidates_that_were_tried() -> None:
    first, second, _ = people(3)
    came_back, _ = await anchored({first: "not-on-whatsapp"}, {second: "not-on-whatsapp"})
    assert came_back.elapsed == pytest.approx(0.3, abs=1e-6)


async def test_after_three_contacts_it_gives_up() -> None:
    dead = dict.fromkeys(people(3), "not-on-whatsapp")
    came_back, bench = await anchored(dead, dead, dead, None)
    assert (came_back.outcome, came_back.failed, came_back.sent) == ("failed", dead, [])
    assert came_back.untried == 0
    assert len(bench.engine.calls) == 3
    assert bench.anchor.statistics().unreachable == 3


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [(AccountRestricted(), "parked"), (SessionLost(), "parked"), (ContentRefused(), "refused")],
)
async def test_what_stops_the_story_or_the_session_ends_the_search(
    failure: EngineFailure, outcome: str
) -> None:
    came_back, bench = await anchored(failure)
    assert (came_back.outcome, came_back.untried, came_back.unsent) == (outcome, 2, people(1))
    assert len(bench.engine.calls) == 1


async def test_what_is_no_anchor_passes_through_unchanged_and_in_order() -> None:
    items = [StoryOpened(story=OF), batch(OF, size=9), batch(OF, size=9, role="plain")]
    bench = Bench(ScriptedEngine(), *items)
    assert await bench.run() == items
    assert bench.engine.calls == []


async def test_waits_are_passed_on_before_the_result() -> None:
    bench = Bench(ScriptedEngine(Unavailable("down")), CANDIDATES)
    held, came_back = await bench.run()
    assert (held.reason, held.batch) == ("down", CANDIDATES)
    assert isinstance(came_back, BatchResult)


async def test_cancelling_it_within_a_call_closes_its_ends() -> None:
    with no_leaks():
        bench = Bench(ScriptedEngine(Hang()), CANDIDATES)
        async with anyio.create_task_group() as tasks:
            await tasks.start(bench.anchor)
            await anyio.sleep(10)
            tasks.cancel_scope.cancel()
        assert drained(bench.onward) == []
        del bench


async def test_an_order_calls_the_anchor_off_and_no_further_candidate_is_tried() -> None:
    control, engine, onward = Control(), ScriptedEngine(), Pipe()
    control.give("sale", "pause")
    sender = Sender(
        engine, Pacer(1_000, random=no_jitter), limits=Limits(), random=no_jitter, control=control
    )
    await Anchor(filled(CANDIDATES), onward.into, sender=sender)()
    [came_back] = drained(onward)
    assert (came_back.outcome, came_back.unsent, came_back.untried) == ("halted", people(1), 2)
    assert engine.calls == []
