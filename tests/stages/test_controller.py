"""controller: one answer for every result, what was learned kept and dated, and no store that can stop it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import anyio
import pytest
from anyio.abc import ObjectReceiveStream
from msgspec import structs

from stages.adaptive.belief import Belief
from stages.cadence import NO_LIMIT, Pace
from stages.checkpoint import Checkpoint
from stages.controller import Controller, sample_of, with_ceiling
from stages.engine import Capabilities
from stages.errors import StoreFailed
from stages.flow import Batch, BatchResult, Feedback, Story
from stages.history import VERSION, History, HistoryStore, MemoryHistories, Shut
from stages.messages import BatchOutcome, Scaling
from stages.options import SmartSend
from stages.policy import TRIES
from tests.support import (
    EPOCH,
    FULL,
    SESSION,
    Pipe,
    batch,
    drained,
    filled,
    no_leaks,
    proven,
    result,
    story,
    virtual_now,
)

pytestmark = pytest.mark.anyio


class Broken(MemoryHistories):
    """A store that is down."""

    async def load(self, session: str) -> History | None:
        raise StoreFailed("the store is down")

    async def save(self, session: str, history: History) -> None:
        raise StoreFailed("the store is down")


class Bench:
    """A controller, fed with results."""

    def __init__(
        self,
        *results: BatchResult,
        inbox: ObjectReceiveStream[BatchResult] | None = None,
        histories: HistoryStore | None = None,
        able: Capabilities = FULL,
    ) -> None:
        self.histories = histories or MemoryHistories()
        self.feedback = Pipe()
        self.controller = Controller(
            inbox or filled(*results),
            self.feedback.into,
            capabilities=able,
            histories=self.histories,
            now=virtual_now,
        )

    async def run(self) -> tuple[list[Feedback], list[Scaling]]:
        await self.controller()
        feedback: list[Feedback] = drained(self.feedback)
        return feedback, [each.scaling for each in feedback if each.scaling]


def of(recipients: int = 20_000, **options: Any) -> Story:
    return story(recipients, options=SmartSend(**options))


def anchor(of: Story) -> BatchResult:
    return result(batch(of, size=1, role="anchor", index=0), duration=30)


def sent(of: Story, size: int, *, planned: int | None = None, **fields: Any) -> BatchResult:
    return result(batch(of, size=size, planned=planned), **{"duration": 5.0} | fields)


async def remembering(*results: BatchResult, history: History, **given: Any) -> tuple[list[Feedback], Bench]:
    """What is answered to `results` by a session that knows `history`."""
    histories = MemoryHistories()
    await histories.save(SESSION, history)
    bench = Bench(*results, histories=histories, **given)
    return (await bench.run())[0], bench


async def test_exactly_one_answer_comes_for_each_result_in_their_order() -> None:
    story = of()
    outcomes: list[BatchOutcome] = ["sent", "failed", "timed-out", "refused", "parked"]
    results = [anchor(story), *(result(batch(story, size=100), outcome) for outcome in outcomes)]
    feedback, _ = await Bench(*results).run()
    assert [answer.result for answer in feedback] == results


async def test_the_anchor_decides_the_first_size_and_is_no_sample_of_speed() -> None:
    feedback, scalings = await Bench(anchor(of())).run()
    assert (feedback[0].size, scalings[0].size) == (100, 100)
    assert scalings[0].reason == "nothing is proven yet: start with 100"


async def test_every_decision_is_published_with_its_reason_gap_and_time() -> None:
    story = of(batch_delay=250)
    _, scalings = await Bench(anchor(story), sent(story, 100, duration=0.8, gap=4.0)).run()
    assert [(one.size, one.gap_ms) for one in scalings] == [(100, 250), (1_000, 4_000)]
    assert scalings[1].reason == "100 in 0.8 s: fast: up to 1,000"
    assert (scalings[1].session_id, scalings[1].story_id, scalings[1].at) == (SESSION, "sale", EPOCH)


@pytest.mark.parametrize("outcome", ["refused", "parked"])
async def test_where_nothing_is_to_be_decided_the_size_stays_and_nothing_is_published(
    outcome: BatchOutcome,
) -> None:
    feedback, scalings = await Bench(result(batch(of(), size=70), outcome)).run()
    assert (feedback[0].size, scalings) == (70, [])


@pytest.mark.parametrize("used", [True, False])
async def test_a_story_that_goes_on_used_what_it_had_used_before_and_climbs_from_what_is_known(
    *, used: bool
) -> None:
    left = Checkpoint(session_id=SESSION, story_id="sale", used_history=used)
    later = story(20_000, checkpoint=left)
    results = [sent(later, 1_000, duration=5), sent(of(), 100)]
    feedback, _ = await remembering(*results, history=proven(1_000, rung=2))
    assert [answer.learning.used_historical_data for answer in feedback] == [used, False]
    assert feedback[0].learning.max_proven_batch_size == 1_000
    assert feedback[0].size == 2_000


@pytest.mark.parametrize("sent", [0, 40])
async def test_a_batch_that_was_called_off_teaches_nothing_and_leaves_the_size(sent: int) -> None:
    of_all = batch(of(), size=100, planned=500)
    halted = result(of_all, "halted", sent=of_all.recipients[:sent], unsent=of_all.recipients[sent:])
    feedback, bench = await remembering(halted, history=proven(4_000))
    assert (feedback[0].size, feedback[0].planned) == (500, 500)
    assert await bench.histories.load(SESSION) == proven(4_000)


async def test_a_plain_call_teaches_nothing() -> None:
    bench = Bench(result(batch(of(), size=5_000, role="plain"), duration=1))
    feedback, scalings = await bench.run()
    assert (scalings, await bench.histories.load(SESSION)) == ([], None)
    assert feedback[0].learning.max_proven_batch_size == 0


async def test_a_plain_call_did_not_use_any_history_whatever_the_story_before_it_used() -> None:
    smart, plain = of(), result(batch(of(), size=50, role="plain"))
    feedback, _ = await remembering(anchor(smart), plain, history=proven(4_000))
    assert [answer.learning.used_historical_data for answer in feedback] == [True, False]


@pytest.mark.parametrize(("age", "known"), [(0, 4_000), (24.1, 0)])
async def test_a_plain_story_knows_what_its_session_has_proven_without_having_used_it(
    age: float, known: int
) -> None:
    kept = proven(4_000, age_hours=age)
    feedback, bench = await remembering(result(batch(of(), size=50, role="plain")), history=kept)
    learning = feedback[0].learning
    assert (learning.max_proven_batch_size, learning.used_historical_data) == (known, False)
    assert learning.will_skip_ramping_next_time is (known > 100)
    assert await bench.histories.load(SESSION) == kept


async def test_a_plain_story_without_learning_knows_nothing() -> None:
    plain = result(batch(of(enable_learning=False), size=50, role="plain"))
    feedback, _ = await remembering(anchor(of()), plain, history=proven(4_000))
    assert feedback[1].learning.max_proven_batch_size == 0
    assert not feedback[1].learning.will_skip_ramping_next_time


async def test_the_history_is_read_once_for_each_lane_whatever_kind_its_stories_are_of() -> None:
    class Counting(MemoryHistories):
        loads = 0

        async def load(self, session: str) -> History | None:
            self.loads += 1
            return await super().load(session)

    histories, smart, plain = Counting(), of(), of()
    first, second = (result(batch(plain, size=50, role="plain", index=index)) for index in (1, 2))
    lost = result(batch(of(), size=3, role="anchor", index=0), "failed")
    other = of()
    await Bench(anchor(smart), sent(smart, 100), anchor(other), sent(other, 100), histories=histories).run()
    assert histories.loads == 1
    await Bench(first, second, histories=histories).run()
    assert histories.loads == 2
    await Bench(lost, histories=histories).run()
    assert histories.loads == 3


async def test_a_story_without_an_anchor_knows_what_its_session_has_proven_and_did_not_use_it() -> None:
    lost = result(batch(of(), size=3, role="anchor", index=0), "failed")
    feedback, _ = await remembering(lost, history=proven(4_000))
    learning = feedback[0].learning
    assert (learning.max_proven_batch_size, learning.used_historical_data) == (4_000, False)


async def test_what_was_proven_is_kept_with_its_date() -> None:
    bench = Bench(anchor(of()), sent(of(), 100))
    await bench.run()
    kept = await bench.histories.load(SESSION)
    assert kept is not None
    assert (kept.proven, kept.at) == (100, EPOCH)


async def test_a_decision_that_teaches_nothing_does_not_make_what_is_known_any_younger() -> None:
    kept = proven(4_000, age_hours=20)
    _, bench = await remembering(anchor(of()), sent(of(), 37, planned=4_000), history=kept)
    assert await bench.histories.load(SESSION) == kept


@pytest.mark.parametrize(("age", "size", "used"), [(0, 4_000, True), (23.9, 4_000, True), (24.1, 100, False)])
async def test_a_history_counts_for_its_time_to_live(age: float, size: int, *, used: bool) -> None:
    feedback, _ = await remembering(anchor(of()), history=proven(4_000, age_hours=age))
    assert feedback[0].size == size
    assert feedback[0].learning.used_historical_data is used


async def test_the_time_to_live_is_an_option_and_is_asked_anew_for_every_story() -> None:
    histories = MemoryHistories()
    await histories.save(SESSION, proven(4_000))
    results, out = anyio.create_memory_object_stream[BatchResult](1)
    bench = Bench(inbox=out, histories=histories)
    sizes = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.controller)
        for _ in range(2):
            await results.send(anchor(of(memory_ttl_hours=1)))
            sizes.append((await bench.feedback.out.receive()).size)
            await anyio.sleep(timedelta(hours=1.01).total_seconds())
        results.close()
    assert sizes == [4_000, 100]
    bench.feedback.close()


async def test_without_learning_nothing_is_read_and_nothing_kept() -> None:
    story = of(enable_learning=False)
    kept = proven(4_000)
    feedback, bench = await remembering(anchor(story), sent(story, 100, duration=0.5), history=kept)
    assert [answer.size for answer in feedback] == [100, 1_000]
    assert await bench.histories.load(SESSION) == kept
    assert not feedback[1].learning.will_skip_ramping_next_time


async def test_a_store_that_is_down_stops_nothing_and_the_session_goes_on_with_what_it_has_in_memory() -> (
    None
):
    story = of()
    results = [anchor(story), sent(story, 100, duration=0.5), sent(story, 1_000), anchor(of())]
    bench = Bench(*results, histories=Broken())
    feedback, _ = await bench.run()
    assert [answer.size for answer in feedback] == [100, 1_000, 2_000, 1_000]
    assert bench.controller.statistics().store_failures == 4
    assert (bench.controller.statistics().decisions, bench.controller.statistics().proven) == (4, 1_000)


@pytest.mark.parametrize(
    ("options", "able", "size"),
    [
        ({"max_batch_size": 700}, FULL, 700),
        ({}, Capabilities(reuses_message_id=True, targets_recipients=True, max_batch=300), 300),
        (
            {"max_batch_size": 700},
            Capabilities(reuses_message_id=True, targets_recipients=True, max_batch=300),
            300,
        ),
        ({}, FULL, 4_000),
    ],
)
async def test_a_size_never_passes_the_caps_of_the_options_and_of_the_engine(
    options: dict[str, int], able: Capabilities, size: int
) -> None:
    feedback, _ = await remembering(anchor(of(**options)), history=proven(4_000), able=able)
    assert (feedback[0].size, feedback[0].planned) == (size, size)


@pytest.mark.parametrize("strategy", ["fixed", "tiered"])
async def test_a_size_that_was_cut_is_told_with_what_it_was_cut_to(strategy: str) -> None:
    story = of(strategy=strategy, batch_size=9_000, max_batch_size=700)
    feedback, scalings = await Bench(anchor(story)).run()
    assert (feedback[0].size, feedback[0].planned > 700) == (700, True)
    assert scalings[0].reason.endswith("(at most 700 a batch)")


async def test_the_largest_batch_allowed_is_a_rung_of_its_own_that_is_proven_and_climbed_to() -> None:
    story = of(max_batch_size=1_500)
    fast = [sent(story, size, duration=1) for size in (100, 1_000, 1_500)]
    feedback, _ = await Bench(anchor(story), *fast).run()
    assert [answer.size for answer in feedback] == [100, 1_000, 1_500, 1_500]
    assert feedback[-1].learning.max_proven_batch_size == 1_500


async def test_time_outs_of_batches_that_were_cut_are_not_held_against_rungs_that_never_went_out() -> None:
    story = of(max_batch_size=1_500)
    late = result(batch(story, size=1_500), "timed-out", duration=15)
    feedback, bench = await remembering(anchor(story), late, history=proven(5_000))
    kept = await bench.histories.load(SESSION)
    assert kept is not None
    assert list(kept.shut) == [1_500]
    assert [answer.size for answer in feedback] == [1_500, 500]


async def test_a_ceiling_that_was_learned_ends_the_ladder_of_this_story_and_the_next() -> None:
    story = of()
    halved = sent(story, 4_000, ceiling=2_250, whole=False, duration=9)
    feedback, _ = await remembering(
        anchor(story), halved, sent(story, 2_250), anchor(story), history=proven(4_000)
    )
    assert [(answer.size, answer.planned) for answer in feedback] == [(4_000, 4_000), *[(2_250, 2_250)] * 3]


async def test_batches_that_time_out_together_are_one_setback_of_the_session() -> None:
    story = of()
    late = [result(batch(story, size=5_000), "timed-out", duration=15) for _ in range(3)]
    feedback, bench = await remembering(anchor(story), *late, history=proven(5_000))
    assert [answer.size for answer in feedback] == [5_000, 2_000, 2_000, 2_000]
    kept = await bench.histories.load(SESSION)
    assert kept is not None
    assert kept.shut == {5_000: Shut(left=5, span=5)}


async def test_a_batch_that_was_too_large_sets_a_ceiling_that_is_kept_and_never_rises() -> None:
    story = of(strategy="fixed", batch_size=9_000)
    first, second = (sent(story, 9_000, ceiling=ceiling, whole=False) for ceiling in (2_250, 4_500))
    bench = Bench(anchor(story), first, second)
    feedback, scalings = await bench.run()
    assert [answer.size for answer in feedback] == [9_000, 2_250, 2_250]
    assert "at most 2,250" in scalings[1].reason
    kept = await bench.histories.load(SESSION)
    assert kept is not None
    assert kept.ceiling == 2_250


async def test_learning_says_what_is_known_and_whether_the_next_story_skips_the_ramp() -> None:
    story = of()
    feedback, _ = await Bench(anchor(story), sent(story, 100), sent(story, 500)).run()
    known = [
        (one.learning.max_proven_batch_size, one.learning.will_skip_ramping_next_time) for one in feedback
    ]
    assert known == [(0, False), (100, False), (500, True)]


async def test_an_anchor_that_was_not_reached_decides_nothing() -> None:
    lost = result(batch(of(), size=3, role="anchor", index=0), "failed")
    bench = Bench(lost)
    feedback, scalings = await bench.run()
    assert (len(feedback), scalings) == (1, [])


def test_a_sample_says_what_went_out_which_share_was_sent_and_how_long_the_last_call_took() -> None:
    of: Batch = batch(story(200), planned=500)
    found = sample_of(result(of, sent=of.recipients[:150], duration=3.5, elapsed=60, whole=False))
    assert (found.size, found.share, found.duration, found.whole) == (200, 0.75, 3.5, False)


def test_without_a_ceiling_the_history_stays_as_it_is() -> None:
    history = proven(100, ceiling=9)
    assert with_ceiling(history, result()) is history


def test_a_sample_says_how_many_wait_what_was_beside_it_and_which_attempt_it_was() -> None:
    pace = Pace(per_call=3.0)
    of = structs.replace(batch(story(200)), waiting=700, attempt=2)
    back = result(of, "failed", beside=1.5, pace=pace)
    found = sample_of(back)
    assert (found.waiting, found.beside, found.attempt, found.pace) == (900, 1.5, 2, pace)
    assert sample_of(result(of)).waiting == 700
    assert sample_of(result(of, "timed-out")).waiting == 900


# Where the adaptive policy decides

LIMITED = Pace(per_call=3.0, per_recipient=0.001, sure=True)


def adaptive(**options: Any) -> Story:
    return of(strategy="adaptive", **options)


def remembered(pace: Pace = LIMITED, **fields: Any) -> History:
    """The history of a session whose far side was met to be limited."""
    return History(belief=Belief(pace=pace, proven=4_000), proven=4_000, at=EPOCH, **fields)


async def test_what_was_decided_goes_to_the_planner_whole() -> None:
    story = adaptive(max_concurrent=3)
    feedback, _ = await Bench(anchor(story), sent(story, 4_000, duration=3.0)).run()
    assert [answer.tries for answer in feedback] == [1, 1]
    assert all(answer.width is not None and 1 <= answer.width <= 3 for answer in feedback)
    others, _ = await Bench(anchor(of()), sent(of(), 100)).run()
    assert [(answer.width, answer.tries) for answer in others] == [(None, TRIES)] * 2


async def test_the_pace_that_was_learned_is_kept_and_the_next_lane_holds_to_it_from_its_anchor_on() -> None:
    story = adaptive()
    bench = Bench(anchor(story), sent(story, 4_000, pace=LIMITED))
    feedback, _ = await bench.run()
    assert [answer.pace for answer in feedback] == [NO_LIMIT, LIMITED]
    later = Bench(anchor(adaptive()), histories=bench.histories)
    feedback, _ = await later.run()
    assert feedback[0].pace == LIMITED
    assert feedback[0].learning.used_historical_data


async def test_the_pace_of_a_session_is_held_to_whatever_the_strategy() -> None:
    feedback, _ = await remembering(anchor(of()), history=remembered())
    assert feedback[0].pace == LIMITED


async def test_a_store_that_takes_its_time_holds_no_batch_up_and_keeps_what_was_learned_all_the_same() -> (
    None
):
    class Slow(MemoryHistories):
        async def save(self, session: str, history: History) -> None:
            await anyio.sleep(60)
            await super().save(session, history)

    histories = Slow()
    story = adaptive()
    bench = Bench(anchor(story), histories=histories)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bench.controller)
        began = anyio.current_time()
        answer = await bench.feedback.out.receive()
        assert anyio.current_time() == began
        assert await histories.load(SESSION) is None
    assert await histories.load(SESSION) == answer.history
    bench.feedback.close()


@pytest.mark.parametrize("version", [VERSION - 1, VERSION + 1])
async def test_a_history_of_another_version_is_ignored_and_replaced(version: int) -> None:
    story = adaptive()
    feedback, bench = await remembering(anchor(story), history=remembered(version=version))
    cold, _ = await Bench(anchor(story)).run()
    assert (feedback[0].size, feedback[0].pace) == (cold[0].size, NO_LIMIT)
    assert not feedback[0].learning.used_historical_data
    kept = await bench.histories.load(SESSION)
    assert kept is not None
    assert (kept.version, kept.belief) == (VERSION, Belief())


async def test_a_history_beyond_its_time_to_live_is_as_if_there_were_none() -> None:
    old = structs.replace(remembered(), at=EPOCH - timedelta(hours=25))
    feedback, _ = await remembering(anchor(adaptive()), history=old)
    assert feedback[0].pace == NO_LIMIT


async def test_a_story_that_goes_on_goes_by_the_belief_it_was_left_with() -> None:
    left = Checkpoint(session_id=SESSION, story_id="sale", history=remembered())
    later = story(20_000, options=SmartSend(strategy="adaptive"), checkpoint=left)
    feedback, _ = await Bench(sent(later, 4_000, pace=LIMITED)).run()
    assert feedback[0].history is not None
    assert feedback[0].history.belief is not None
    assert feedback[0].history.belief.calls == 1
    assert feedback[0].history.belief.proven == 4_000
    assert feedback[0].pace == LIMITED


async def test_cancelling_it_closes_its_ends() -> None:
    with no_leaks():
        into, out = anyio.create_memory_object_stream[BatchResult](1)
        bench = Bench(inbox=out)
        async with anyio.create_task_group() as tasks:
            await tasks.start(bench.controller)
            await anyio.sleep(1)
            tasks.cancel_scope.cancel()
        into.close()
        assert drained(bench.feedback) == []
        del bench
