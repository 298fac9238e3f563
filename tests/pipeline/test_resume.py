"""A story outlives its lane: however often that ends and at whatever instant, one report comes, and it is true."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct, structs

from pipeline.topology import Lane
from stages.checkpoint import Checkpoint, MemoryJobs, finished
from stages.control import Order
from stages.course import MAX_STARTS
from stages.delivery import Limits
from stages.engine import Capabilities, EngineStatus, Receipt
from stages.errors import ContentRefused, EngineFailure, StoreFailed, Superseded
from stages.flow import Outgoing, Paused, Reported
from stages.history import MemoryHistories
from stages.message_id import message_id_of
from stages.messages import Content, ProgressEvent, Report
from stages.options import SmartSend
from stages.ranges import Ranges
from stages.recipients import in_sending_order
from tests.support import (
    SESSION,
    LaneRun,
    ScriptedEngine,
    delivery,
    no_leaks,
    on_virtual_time,
    people,
    request,
    run_through,
)
from transports.simulated import Ledger, Profile, SimulatedEngine
from transports.simulated.profile import Failures, FarLimits, Latency, Numbers, Timeout, Window

YEAR = 365 * 86_400.0
ID = message_id_of(SESSION, "sale")
LIVES = 60

Instant = Literal["seconds", "call", "answer", "before save", "after save"]
Act = Literal["crash", "pause", "cancel", "leave", "pause and resume"]


class Happening(Struct, frozen=True):
    """`act` at an `instant` of a life: after so many seconds, or at the `count`-th call, answer or save of it."""

    act: Act
    instant: Instant
    count: float


class CallMade(Struct, frozen=True):
    """One call: in which life, to whom, and how it ended; `sent` and `cut` reached those in `reached`."""

    life: int
    recipients: tuple[str, ...]
    ended: str
    reached: frozenset[str] = frozenset()


class Far:
    """An engine around a simulated one, whose calls that a crash cuts off may have got through all the same."""

    def __init__(
        self, profile: Profile, world: World, *, cut_off_reach: bool, refuses_from: float = math.inf
    ) -> None:
        self.engine, self.world = SimulatedEngine(profile), world
        self.dead = frozenset(profile.numbers.dead)
        self.cut_off_reach, self.refuses_from = cut_off_reach, refuses_from
        self.made: list[CallMade] = []

    @property
    def capabilities(self) -> Capabilities:
        return self.engine.capabilities

    async def status(self) -> EngineStatus:
        return await self.engine.status()

    async def audience(self) -> Sequence[str]:
        return await self.engine.audience()

    async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
        await self.world.at("call")
        if len(self.made) + 1 >= self.refuses_from:
            raise ContentRefused("server returned error 415")
        ended, reached = "cut", frozenset[str]()
        try:
            receipt = await self.engine.send(content, recipients, message_id)
            ended, reached = "sent", frozenset(recipients) - receipt.failed.keys()
        except EngineFailure as failure:
            ended = failure.kind
            raise
        finally:
            if ended == "cut" and self.cut_off_reach:
                reached = frozenset(recipients) - self.dead
                self.engine.ledger.note_delivery(message_id or "", content, reached)
            if ended == "cut" and not self.world.dying:
                ended = "outcome-unknown"
            self.made.append(CallMade(self.world.life, tuple(recipients), ended, reached))
        await self.world.at("answer", wait=False)
        return receipt


class Jobs(MemoryJobs):
    """A store that may be down at some of its calls, and keeps every checkpoint."""

    def __init__(self, world: World, down_at: frozenset[int]) -> None:
        super().__init__()
        self.world, self.down_at, self.calls = world, down_at, 0
        self.history: list[Checkpoint] = []

    async def load(self, session_id: str, story_id: str) -> Checkpoint | None:
        self._answer()
        return await super().load(session_id, story_id)

    async def save(self, checkpoint: Checkpoint) -> None:
        self._answer()
        await self.world.at("before save")
        read_again = msgspec.json.decode(msgspec.json.encode(checkpoint), type=Checkpoint)
        await super().save(read_again)
        self.history.append(read_again)
        self.world.check_checkpoint(checkpoint)
        await self.world.at("after save")

    @property
    def last(self) -> Checkpoint | None:
        return self.kept.get((SESSION, "sale"))

    def _answer(self) -> None:
        self.calls += 1
        if self.calls in self.down_at:
            raise StoreFailed("the store is down")


class Outbox(list[Outgoing]):
    """What leaves the lanes; no event in it may claim more than what is stored when it leaves."""

    def __init__(self, world: World) -> None:
        self.world = world

    def append(self, item: Outgoing) -> None:
        if isinstance(item, ProgressEvent):
            self.world.check_event(item)
        super().append(item)


class World:
    """One story and all that outlives a lane: engine, stores, and what is to happen in each life."""

    def __init__(
        self,
        recipients: int,
        profile: Profile,
        *,
        options: SmartSend,
        limits: Limits,
        lives: Sequence[Sequence[Happening]] = (),
        cut_off_reach: bool = False,
        refuses_from: float = math.inf,
        down_at: frozenset[int] = frozenset(),
        **fields: Any,
    ) -> None:
        self.body = request("sale", recipients, **fields)
        self.people = people(recipients)
        self.options, self.limits, self.lives = options, limits, lives
        self.jobs = Jobs(self, down_at)
        self.histories = MemoryHistories()
        self.far = Far(profile, self, cut_off_reach=cut_off_reach, refuses_from=refuses_from)
        self.life = 0
        self.dying = False
        self.endings: dict[int, str] = {}
        self.out_at_crash: dict[int, Checkpoint | None] = {}
        self.paused = 0
        self.outgoing = Outbox(self)
        self.order = in_sending_order(self.people, {}, regional=options.regional)

    async def run(self) -> Report:
        """Lanes one after the other, until there is a report."""
        with trio.fail_after(YEAR):
            while not self.reports and self.life < LIVES:
                self.life += 1
                await self._live()
                await trio.sleep(1)
        [report] = self.reports
        return report

    @property
    def reports(self) -> list[Report]:
        return [item.report for item in self.outgoing if isinstance(item, Reported)]

    @property
    def ledger(self) -> Ledger:
        return self.far.engine.ledger

    async def at(self, instant: Instant, *, wait: bool = True) -> None:
        """An instant has come: do what is to happen at it."""
        self.counts[instant] = self.counts.get(instant, 0) + 1
        for happening in self.plan:
            if happening.instant == instant and happening.count == self.counts[instant]:
                self.do(happening.act)
        if self.dying and wait:
            await trio.lowlevel.checkpoint()

    def do(self, act: Act) -> None:
        if act == "crash":
            self.dying = True
            self.scope.cancel()
        elif self.lane is not None:
            self._order(self.lane, act)

    def _order(self, lane: Lane, act: Act) -> None:
        if act == "leave":
            lane.leave()
        elif act == "pause and resume":
            lane.control.give("sale", "pause")
            lane.control.take_back("sale")
        elif act != "crash":
            order: Order = act
            lane.control.give("sale", order)

    async def _live(self) -> None:
        self.plan = self.lives[self.life - 1] if self.life <= len(self.lives) else ()
        self.counts: dict[str, int] = {}
        self.lane: Lane | None = None
        self.dying = False
        run = LaneRun(self.far, self.histories, outgoing=self.outgoing)
        before = len(self.outgoing)
        with trio.CancelScope() as self.scope:
            async with trio.open_nursery() as timers:
                for happening in self.plan:
                    if happening.instant == "seconds":
                        timers.start_soon(self._later, happening)
                await run_through(
                    [delivery(self.body, key="sale", attempt=self.life)],
                    jobs=self.jobs,
                    options=self.options,
                    limits=self.limits,
                    into=run,
                    on_start=self._started,
                )
                timers.cancel_scope.cancel()
        self.dying = self.scope.cancelled_caught
        left = [item for item in self.outgoing[before:] if isinstance(item, Paused)]
        self.paused += len(left)
        self.endings[self.life] = "crash" if self.dying else "pause" if left else "other"
        if self.dying:
            self.out_at_crash[self.life] = self.jobs.last
        if left and (last := self.jobs.last) is not None:
            assert (last.state, last.out) == ("paused", ())
            self.jobs.kept[SESSION, "sale"] = structs.replace(last, state="open")
        if self.reports:
            self.jobs.kept[SESSION, "sale"] = finished(SESSION, "sale")

    def _started(self, lane: Lane) -> None:
        self.lane = lane

    async def _later(self, happening: Happening) -> None:
        await trio.sleep(happening.count)
        self.do(happening.act)

    # What is looked at on the way

    def check_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Everyone is in one place, and who counts as sent has it."""
        packed = [checkpoint.sent, checkpoint.unknown, *checkpoint.failed.values()]
        packed += [retry.places for retry in (*checkpoint.retries, *checkpoint.out)]
        places = [place for one in packed for place in Ranges.unpacked(one)]
        assert sorted(places) == list(range(checkpoint.next))
        sent = {self.order[place] for place in Ranges.unpacked(checkpoint.sent)}
        audience = self.ledger.audience(ID)
        assert sent <= audience
        refused = {self.order[it] for packed in checkpoint.failed.values() for it in Ranges.unpacked(packed)}
        assert not refused & audience
        assert len(checkpoint.out) <= (self.options.max_concurrent if checkpoint.anchored else 1)
        assert checkpoint.message_id == (ID if sent else checkpoint.message_id)
        assert (checkpoint.reuses, checkpoint.total) == (True, len(self.order))
        self._check_batches(checkpoint)

    def _check_batches(self, checkpoint: Checkpoint) -> None:
        before = self.jobs.history[-2] if len(self.jobs.history) > 1 else None
        earlier = before.batches if before else ()
        assert checkpoint.batches[: len(earlier)] == earlier, "no batch is forgotten"
        assert len(checkpoint.batches) == checkpoint.counts.total <= len(earlier) + 1
        began = before.began if before and before.began else checkpoint.began
        assert checkpoint.began == began

    def check_event(self, event: ProgressEvent) -> None:
        """It claims no more than what is stored, unless the story is over, for which there is the report."""
        last = self.jobs.last
        stored = len(Ranges.unpacked(last.sent)) if last else 0
        report = self.life_is_over(event)
        assert event.progress.recipients_sent <= stored or report
        assert 0 <= event.progress.percentage <= 100

    def life_is_over(self, event: ProgressEvent) -> bool:
        """Nobody is left to be sent to: the next thing stored is the report."""
        return event.state in {"completed", "failed", "cancelled"} or self.nothing_is_left(event)

    def nothing_is_left(self, event: ProgressEvent) -> bool:
        assert self.lane is not None
        return self.lane.planner.statistics().story is None


SECONDS = st.floats(0, 30)
INSTANTS: st.SearchStrategy[tuple[Instant, float]] = st.one_of(
    st.tuples(st.just("seconds"), SECONDS),
    st.tuples(st.sampled_from(["call", "answer", "before save", "after save"]), st.integers(1, 6)),
)


def happenings(*acts: Act) -> st.SearchStrategy[Happening]:
    return st.tuples(st.sampled_from(acts), INSTANTS).map(lambda it: Happening(it[0], it[1][0], it[1][1]))


PROFILES = st.builds(
    Profile,
    seed=st.integers(0, 1_000),
    latency=st.builds(
        Latency,
        a=st.floats(0, 0.4),
        b=st.floats(0, 0.02),
        noise=st.sampled_from([0.0, 0.4]),
        stall_share=st.sampled_from([0.0, 0.2]),
        stall_factor=st.floats(1, 20),
    ),
    timeout=st.builds(Timeout, seconds=st.floats(0.5, 15), delivers=st.floats(0, 1)),
    limits=st.builds(
        FarLimits,
        calls_per_second=st.sampled_from([0.0, 0.2, 1.0]),
        calls_burst=st.floats(1, 5),
        tells_retry_after=st.booleans(),
    ),
    failures=st.builds(
        Failures, base=st.sampled_from([0.0, 0.1, 0.5]), scale=st.sampled_from([0.0, 0.0, 100.0])
    ),
    numbers=st.builds(
        Numbers,
        dead=st.lists(st.sampled_from(people(10)), max_size=4).map(tuple),
        answer=st.sampled_from(["reported", "named", "unnamed"]),
    ),
    outages=st.lists(
        st.tuples(st.floats(0, 30), st.floats(0.1, 60)).map(
            lambda it: Window(start=it[0], end=it[0] + it[1])
        ),
        max_size=1,
    ).map(tuple),
    frame_limit=st.sampled_from([49_000, 49_000, 7, 60]),
)

OPTIONS = st.builds(
    SmartSend,
    enabled=st.sampled_from([True, True, True, False]),
    min_recipients=st.sampled_from([2, 20]),
    max_concurrent=st.integers(1, 4),
    max_retries=st.integers(0, 3),
    max_batch_size=st.sampled_from([10_000, 150, 17]),
    max_batches_per_second=st.sampled_from([0.5, 2.0, 50.0]),
    batch_delay=st.sampled_from([0, 100, 2_000]),
    progressive_sequence=st.sampled_from([(5, 20, 100), (50, 100), (1, 2, 3, 400)]),
)

LIMITS = st.builds(
    Limits,
    call=st.sampled_from([4.0, 90.0]),
    patience=st.sampled_from([30.0, 900.0]),
    unsure_pause=st.just(1.0),
)
SIZES = st.one_of(st.integers(1, 8), st.integers(1, 300))


def the_report_is_true(world: World, report: Report) -> None:
    ledger, asked = world.ledger, world.people
    audience = ledger.audience(ID)
    parts = report.sent_successfully + report.failed + report.skipped + report.unknown
    assert parts == report.total_recipients == len(asked)
    unsent = [*report.failed_recipients, *report.unknown_recipients, *report.skipped_recipients]
    assert len(unsent) == len(set(unsent))
    sent = set(asked) - set(unsent)
    assert len(sent) == report.sent_successfully
    assert sent <= audience
    assert audience <= sent | set(report.unknown_recipients), "who saw it is not reported as failed"
    assert set(ledger.sightings().values()) <= {1}
    assert {call.message_id for call in ledger.calls} <= {ID}
    assert report.message_id == (ID if sent else None)
    assert report.state == {None: "completed", "cancelled": "cancelled"}.get(report.reason, "failed")
    assert set(report.skips) <= {"cancelled"}


def only_what_was_out_went_out_again(world: World) -> None:
    """Who certainly got it in one life is named again in a later one only if a batch of theirs was out at a crash."""
    for life, ending in world.endings.items():
        later = {jid for call in world.far.made if call.life > life for jid in call.recipients}
        got_it = {
            jid for call in world.far.made if call.life == life for jid in call.reached if call.ended in KNOWN
        }
        again = got_it & later
        if ending != "crash":
            assert not again, f"life {life} ended without a crash"
            continue
        checkpoint = world.out_at_crash[life]
        if checkpoint is not None:
            out = {world.order[at] for retry in checkpoint.out for at in Ranges.unpacked(retry.places)}
            assert again <= out
        else:
            assert len(again) <= world.options.max_concurrent * min(
                world.options.max_batch_size, len(world.order)
            )


KNOWN = {"sent", "cut"}


def its_batches_are_those_of_all_lives(world: World, report: Report) -> None:
    last = world.jobs.history[-1] if world.jobs.history else Checkpoint(session_id="", story_id="")
    sizes = [batch.size for batch in last.batches if batch.index]
    assert report.batch_sequence[: len(sizes)] == sizes
    assert 0 <= report.batches.total - last.counts.total <= 1, (
        "only the last batch is not stored but reported"
    )
    assert report.batches.total == report.batches.successful + report.batches.failed


@settings(max_examples=80)
@given(
    recipients=SIZES,
    profile=PROFILES,
    options=OPTIONS,
    limits=LIMITS,
    lives=st.lists(st.lists(happenings("crash"), min_size=1, max_size=1), max_size=4),
    reach=st.booleans(),
    refuses_from=st.one_of(st.just(math.inf), st.integers(1, 12)),
    down_at=st.frozensets(st.integers(1, 30), max_size=10),
)
def test_at_whatever_instants_a_lane_crashes_the_next_goes_on_and_one_true_report_comes(
    recipients: int,
    profile: Profile,
    options: SmartSend,
    limits: Limits,
    lives: list[list[Happening]],
    refuses_from: float,
    down_at: frozenset[int],
    *,
    reach: bool,
) -> None:
    async def main() -> None:
        world = World(
            recipients,
            profile,
            options=options,
            limits=limits,
            lives=lives,
            cut_off_reach=reach,
            refuses_from=refuses_from,
            down_at=down_at,
        )
        report = await world.run()
        the_report_is_true(world, report)
        only_what_was_out_went_out_again(world)
        its_batches_are_those_of_all_lives(world, report)
        assert report.reason in {None, "no-anchor", "content-refused"}
        assert not report.skipped

    with no_leaks():
        on_virtual_time(main)


ACTS: tuple[Act, ...] = ("crash", "pause", "leave", "pause and resume", "cancel")


@settings(max_examples=60)
@given(
    recipients=SIZES,
    profile=PROFILES,
    options=OPTIONS,
    limits=LIMITS,
    lives=st.lists(st.lists(happenings(*ACTS), min_size=1, max_size=2), min_size=1, max_size=4),
    reach=st.booleans(),
    refuses_from=st.one_of(st.just(math.inf), st.just(math.inf), st.integers(1, 12)),
)
def test_whatever_orders_come_and_whatever_crashes_the_report_is_true(
    recipients: int,
    profile: Profile,
    options: SmartSend,
    limits: Limits,
    lives: list[list[Happening]],
    refuses_from: float,
    *,
    reach: bool,
) -> None:
    async def main() -> None:
        world = World(
            recipients,
            profile,
            options=options,
            limits=limits,
            lives=lives,
            cut_off_reach=reach,
            refuses_from=refuses_from,
        )
        report = await world.run()
        the_report_is_true(world, report)
        only_what_was_out_went_out_again(world)
        its_batches_are_those_of_all_lives(world, report)
        acts = {happening.act for life in lives for happening in life}
        assert report.reason != "cancelled" or "cancel" in acts
        assert bool(report.skips) == (report.reason == "cancelled" and report.skipped > 0)
        assert "pause" in world.endings.values() or not world.paused
        assert "pause" in acts or not world.paused

    with no_leaks():
        on_virtual_time(main)


GOOD = Profile(latency=Latency(a=0.2, b=0.001))


def world_of(
    recipients: int = 300,
    *lives: Happening,
    profile: Profile = GOOD,
    down_at: frozenset[int] = frozenset(),
    **options: Any,
) -> World:
    """A story in good conditions, with one happening in each of its first lives."""
    return World(
        recipients,
        profile,
        options=SmartSend(**{"progressive_sequence": (20, 50)} | options),
        limits=Limits(),
        lives=[[happening] for happening in lives],
        cut_off_reach=True,
        down_at=down_at,
    )


@settings(max_examples=30)
@given(
    concurrent=st.integers(1, 4),
    lives=st.lists(happenings("leave", "pause"), min_size=1, max_size=5),
)
def test_a_story_that_is_handed_over_or_paused_is_sent_to_nobody_twice(
    concurrent: int, lives: list[Happening]
) -> None:
    async def main() -> None:
        world = world_of(300, *lives, max_concurrent=concurrent)
        report = await world.run()
        assert (report.sent_successfully, report.state, world.ledger.repeats) == (300, "completed", 0)
        assert sum(len(call.recipients) for call in world.far.made) == 300

    on_virtual_time(main)


@pytest.mark.parametrize("plain", [True, False])
@settings(max_examples=40)
@given(happening=happenings("cancel"), concurrent=st.integers(1, 3))
def test_a_cancelled_story_sends_nothing_after_the_calls_under_way_and_says_so(
    happening: Happening, concurrent: int, *, plain: bool
) -> None:
    async def main() -> None:
        world = world_of(300, happening, max_concurrent=concurrent, enabled=not plain, max_batch_size=40)
        report = await world.run()
        assert world.life == 1
        assert report.sent_successfully + report.skipped == 300
        if report.skipped:
            assert (report.state, report.reason, report.success) == ("cancelled", "cancelled", False)
            assert report.skips == {"cancelled": report.skipped}
        else:
            assert report.state == "completed"
        assert len(world.ledger.audience(ID)) == report.sent_successfully

    on_virtual_time(main)


def test_who_is_paused_stays_so_and_is_told_once_for_each_pause() -> None:
    async def main() -> None:
        pauses = [Happening("pause", "call", 2)] * 2
        world = world_of(300, *pauses)
        await world.run()
        assert list(world.endings.values()) == ["pause", "pause", "other"]
        assert world.paused == 2
        states = [item.state for item in world.outgoing if isinstance(item, ProgressEvent)]
        assert states.count("paused") == 2

    on_virtual_time(main)


@pytest.mark.parametrize("instant", ["call", "before save"])
def test_a_story_that_dies_again_and_again_and_gets_nowhere_is_given_up_with_a_rejection(
    instant: Instant,
) -> None:
    async def main() -> None:
        world = world_of(300, *[Happening("crash", "call", 3)], *[Happening("crash", instant, 1)] * 40)
        # The store of each life is reached before its call; a life that dies before it is not counted.
        if instant == "before save":
            world.lives = [[Happening("crash", "call", 3)], *[[Happening("crash", "before save", 2)]] * 40]
        report = await world.run()
        assert world.life == 1 + MAX_STARTS + 1
        assert (report.reason, report.state, report.success) == ("poison", "failed", False)
        the_report_is_true(world, report)
        [item] = [item for item in world.outgoing if isinstance(item, Reported)]
        assert item.rejection is not None
        assert (item.rejection.code, item.rejection.story_id) == ("poison", "sale")

    on_virtual_time(main)


def test_a_story_that_gets_a_batch_further_each_time_is_never_given_up() -> None:
    async def main() -> None:
        # Its first save says that it was taken up, the second one that a batch came back.
        world = world_of(300, *[Happening("crash", "after save", 2)] * 40, strategy="fixed", batch_size=20)
        report = await world.run()
        assert world.life > 2 * MAX_STARTS
        assert (report.reason, report.sent_successfully) == (None, 300)
        assert [item.rejection for item in world.outgoing if isinstance(item, Reported)] == [None]

    on_virtual_time(main)


def test_a_store_that_fails_for_a_while_delays_and_loses_nothing() -> None:
    async def main() -> tuple[float, Report, World]:
        world = world_of(300, down_at=frozenset(range(3, 40)))
        report = await world.run()
        return trio.current_time(), report, world

    took, report, world = on_virtual_time(main)
    assert (report.sent_successfully, world.life, world.ledger.repeats) == (300, 1, 0)
    assert took > 37


def test_a_lane_whose_story_another_worker_has_taken_over_ends_and_reports_nothing() -> None:
    class Lost(Jobs):
        async def save(self, checkpoint: Checkpoint) -> None:
            if len(self.history) == 3:
                raise Superseded("another worker has it")
            await super().save(checkpoint)

    async def main() -> None:
        world = world_of(300)
        world.jobs = Lost(world, frozenset())
        with pytest.RaisesGroup(Superseded, flatten_subgroups=True):
            await world.run()
        assert world.reports == []
        assert len(world.far.made) == 3

    with no_leaks():
        on_virtual_time(main)


def test_the_message_id_is_the_same_before_and_after_a_crash() -> None:
    async def main() -> None:
        engine, jobs = ScriptedEngine(seconds=1), MemoryJobs()
        with trio.move_on_after(4):
            await run_through([delivery(request("sale", 300))], engine=engine, jobs=jobs)
        assert len(engine.calls) > 1
        run = await run_through([delivery(request("sale", 300), attempt=2)], engine=engine, jobs=jobs)
        assert {call.message_id for call in engine.calls} == {run.report.message_id}

    on_virtual_time(main)


def test_who_may_have_got_it_before_a_crash_is_not_sent_it_again_under_another_id() -> None:
    able = Capabilities(reuses_message_id=False, targets_recipients=True)

    async def main() -> None:
        engine, jobs = ScriptedEngine(capabilities=able, seconds=1), MemoryJobs()
        with trio.move_on_after(2.7):
            await run_through([delivery(request("sale", 900))], engine=engine, jobs=jobs)
        before = len(engine.calls)
        run = await run_through([delivery(request("sale", 900), attempt=2)], engine=engine, jobs=jobs)
        sent_to = Counter(jid for call in engine.calls for jid in call.recipients)
        assert (max(sent_to.values()), len(sent_to)) == (1, 900)
        assert run.report.unknown == len(engine.calls[before - 1].recipients) > 1
        assert run.report.sent_successfully + run.report.unknown == 900

    on_virtual_time(main)


def test_a_dry_run_of_a_story_that_was_left_changes_nothing_of_it() -> None:
    async def main() -> None:
        world = world_of(300, Happening("crash", "call", 3), Happening("crash", "call", 2))
        world.lives = [*world.lives, [Happening("crash", "seconds", 0.01)]]
        jobs = world.jobs
        kept = None
        while not world.reports:
            world.life += 1
            await world._live()
            if world.life == 1:
                kept = jobs.last
                dry = await run_through([delivery(request("sale", 300, dryRun=True))], jobs=jobs)
                assert (dry.report.skips, dry.report.dry_run) == ({"dry-run": 300}, True)
                assert jobs.last is kept
        assert world.reports[0].sent_successfully == 300

    on_virtual_time(main)


@settings(max_examples=40)
@given(happening=happenings("crash", "leave"), reach=st.booleans())
def test_a_list_that_changes_between_two_lives_goes_out_anew_and_the_report_is_true(
    happening: Happening, *, reach: bool
) -> None:
    async def main() -> None:
        world = world_of(300, happening)
        world.far.cut_off_reach, world.far.refuses_from = reach, 8
        shorter = people(300)[1:]
        world.life = 1
        await world._live()
        if not world.reports:
            world.body, world.people, world.order = request("sale", shorter), shorter, shorter
            world.lives = []
            world.jobs.history.clear()  # what is told of batches begins anew too
            await world.run()
        [report] = world.reports
        audience = world.ledger.audience(ID) & set(world.people)
        unsent = {*report.failed_recipients, *report.unknown_recipients}
        assert set(world.people) - unsent <= audience
        assert not audience & set(report.failed_recipients)
        assert report.sent_successfully + len(unsent) == len(world.people)
        assert {call.message_id for call in world.ledger.calls} == {ID}

    on_virtual_time(main)


@settings(max_examples=40)
@given(seconds=st.floats(0, 4), concurrent=st.integers(1, 4), cancel=happenings("cancel"))
def test_who_may_have_got_it_before_a_crash_is_not_skipped_by_a_cancel_after_it(
    seconds: float, concurrent: int, cancel: Happening
) -> None:
    async def main() -> None:
        crash = Happening("crash", "seconds", seconds)
        world = world_of(300, crash, cancel, max_concurrent=concurrent)
        the_report_is_true(world, await world.run())

    on_virtual_time(main)
