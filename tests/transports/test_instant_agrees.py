"""The simulated engine's two faces agree: a story played in no time makes the calls of the real pipeline."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec import Struct, structs

from stages.delivery import Limits
from stages.history import History, stamped
from stages.options import SmartSend, Strategy
from stages.policies import policy_for
from tests.support import EPOCH, LaneRun, delivery, on_virtual_time, people, request, run_through
from transports.simulated.instant import PATIENCE, UNSURE_PAUSE, Ending, Rules, play
from transports.simulated.profile import (
    Condition,
    Failures,
    FarLimits,
    Latency,
    Numbers,
    Profile,
    Timeout,
    Window,
)
from transports.simulated.world import Fate, World

NOISY = Latency(a=0.7, b=0.7e-3, noise=0.2, stall_share=0.02, stall_factor=2.0, stall_factor_most=8.0)
WORLDS = {
    "calm, with noise": Profile(latency=NOISY),
    "a limit on calls": Profile(latency=NOISY, limits=FarLimits(calls_per_second=0.25, calls_burst=4)),
    "a limit on recipients": Profile(
        latency=NOISY, limits=FarLimits(recipients_per_second=600, recipients_burst=6_000)
    ),
    "a limit that is told": Profile(
        latency=NOISY, limits=FarLimits(calls_per_second=0.2, calls_burst=2, tells_retry_after=True)
    ),
    "congestion": Profile(latency=NOISY, conditions=(Condition(start=3, end=20, slower=4),)),
    "failures by size": Profile(latency=NOISY, failures=Failures(base=0.01, scale=4_000)),
    "many failures": Profile(latency=NOISY, failures=Failures(base=0.4)),
    "time-outs": Profile(latency=structs.replace(NOISY, c=5e-8), timeout=Timeout(seconds=5.0, delivers=0.0)),
    "calls that hang": Profile(
        latency=structs.replace(NOISY, hangs_above=3_000), timeout=Timeout(seconds=8.0, delivers=0.0)
    ),
}
NOTHING = History()
DEAD = (700, 1_500, 1_501)
"""Places of those who fail their batch."""
STRATEGIES: tuple[Strategy, ...] = ("adaptive", "progressive", "tiered")


class Call(Struct, frozen=True, order=True):
    """A call as the far side saw it: when it began, in seconds since the first, to how many, and what came of it."""

    began: float
    size: int
    outcome: str


class Watched(World):
    """A world that writes down what it is asked."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self.calls: list[Call] = []

    def fate_of(
        self,
        size: int,
        now: float,
        *,
        in_flight: int = 0,
        is_dead: bool = False,
        failed: dict[str, str] | None = None,
    ) -> Fate:
        """As it is, and written down."""
        fate = super().fate_of(size, now, in_flight=in_flight, is_dead=is_dead, failed=failed)
        self.calls.append(Call(now, size, fate.failure.kind if fate.failure else "sent"))
        return fate


class InOrder:
    """Has trio run its tasks in the order in which they became ready, and not at random in that or the reverse."""

    def random(self) -> float:
        return 0.9

    def shuffle(self, tasks: list[object]) -> None:
        """Leaves `tasks` in the order in which they were started."""


@pytest.fixture(autouse=True)
def _in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio._core._run._r", InOrder())


def in_no_time(
    profile: Profile, options: SmartSend, total: int, history: History, dead: Sequence[int] = ()
) -> tuple[Ending, list[Call]]:
    world = Watched(profile)
    rules = Rules(
        largest=options.max_batch_size,
        rate=options.max_batches_per_second,
        pause=options.batch_delay / 1000,
        width=options.max_concurrent,
        retries=options.max_retries,
        anchored=True,
    )
    ending = play(total, policy_for(options), world, rules=rules, history=history, dead=dead)
    return ending, sorted(world.calls)


def in_the_pipeline(
    profile: Profile, options: SmartSend, total: int, history: History
) -> tuple[LaneRun, list[Call]]:
    async def main() -> LaneRun:
        return await run_through(
            [delivery(request(recipients=total))],
            profile=profile,
            options=options,
            history=history,
            limits=Limits(patience=PATIENCE, unsure_pause=UNSURE_PAUSE),
            seed=profile.seed,
        )

    run = on_virtual_time(main)
    calls = [Call(call.began, call.recipients, call.outcome) for call in run.ledger.calls]
    return run, sorted(calls)


def assert_alike(found: list[Call], true: list[Call]) -> None:
    """The same calls in the same order, at nearly the same times."""
    assert [(call.size, call.outcome) for call in found] == [(call.size, call.outcome) for call in true]
    assert [call.began for call in found] == pytest.approx([call.began for call in true], abs=0.01)


def assert_agree(
    profile: Profile,
    options: SmartSend,
    total: int,
    history: History = NOTHING,
    dead: Sequence[int] = (),
) -> None:
    """Both make the same calls and come to the same end."""
    run, true = in_the_pipeline(profile, options, total, history)
    ending, found = in_no_time(profile, options, total, history, dead)
    assert_alike(found, true)
    report = run.report
    assert ending.sent == report.sent_successfully
    assert ending.failed == total - report.sent_successfully
    assert ending.seconds == pytest.approx(run.ended_at, abs=0.01)
    assert ending.refusals == sum(call.outcome == "rate-limited" for call in true)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_story_played_in_no_time_makes_the_calls_of_the_pipeline(
    strategy: Strategy, world: str, seed: int
) -> None:
    assert_agree(structs.replace(WORLDS[world], seed=seed), SmartSend(strategy=strategy), 30_000)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("width", [3])
def test_so_it_does_with_several_batches_under_way(strategy: Strategy, world: str, width: int) -> None:
    options = SmartSend(strategy=strategy, max_concurrent=width)
    assert_agree(structs.replace(WORLDS[world], seed=4), options, 30_000)


@pytest.mark.parametrize("total", [100, 101, 500, 2_000, 4_001, 8_001, 20_000])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_so_it_does_whatever_the_total(strategy: Strategy, total: int) -> None:
    assert_agree(Profile(seed=5, latency=NOISY), SmartSend(strategy=strategy), total)


@pytest.mark.parametrize("world", ["calm, with noise", "a limit on calls", "congestion", "calls that hang"])
@pytest.mark.parametrize("strategy", ["adaptive", "progressive"])
def test_so_it_does_with_what_was_learned_before(strategy: Strategy, world: str) -> None:
    options, profile = SmartSend(strategy=strategy), structs.replace(WORLDS[world], seed=6)
    learned = stamped(in_no_time(profile, options, 20_000, History())[0].history, now=EPOCH)
    assert_agree(structs.replace(profile, seed=7), options, 30_000, learned)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_so_it_does_in_an_outage(strategy: Strategy) -> None:
    outages = (Window(start=5, end=60), Window(start=90, end=100))
    assert_agree(Profile(seed=8, latency=NOISY, outages=outages), SmartSend(strategy=strategy), 30_000)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_session_whose_engine_is_away_for_too_long_stops_at_the_same_call(strategy: Strategy) -> None:
    options = SmartSend(strategy=strategy)
    profile = Profile(seed=9, latency=NOISY, outages=(Window(start=5, end=1e6),))
    run, true = in_the_pipeline(profile, options, 30_000, History())
    ending, found = in_no_time(profile, options, 30_000, History())
    assert_alike(found, true)
    assert run.reports == []
    assert ending.sent < 30_000


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("seed", [1, 2])
def test_so_it_does_where_some_numbers_fail_their_batch(strategy: Strategy, seed: int) -> None:
    numbers = Numbers(dead=tuple(people(3_000)[place] for place in DEAD), answer="failure")
    profile = Profile(seed=seed, latency=NOISY, numbers=numbers)
    assert_agree(profile, SmartSend(strategy=strategy), 3_000, dead=DEAD)
