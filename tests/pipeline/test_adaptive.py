"""The adaptive strategy in a whole lane: everybody has the story once, and what it taught is held to the next time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from stages.checkpoint import MemoryJobs
from stages.history import MemoryHistories
from stages.options import SmartSend
from tests.support import SESSION, LaneRun, delivery, most_in_a_window, people, request, run_through
from transports.simulated.profile import Failures, FarLimits, Latency, Profile, Timeout

pytestmark = pytest.mark.anyio

NOISY = Latency(a=0.7, b=0.7e-3, noise=0.2)
ADAPTIVE = SmartSend(strategy="adaptive", max_concurrent=3)
WORLDS = {
    "calm": Profile(latency=NOISY),
    "failures": Profile(latency=NOISY, failures=Failures(base=0.05, scale=5_000)),
    "calls that hang": Profile(
        latency=Latency(a=0.7, b=0.7e-3, hangs_above=2_500), timeout=Timeout(seconds=5, delivers=1.0)
    ),
    "a limit on calls": Profile(latency=NOISY, limits=FarLimits(calls_per_second=0.5)),
}


def refusals(run: LaneRun) -> int:
    return sum(call.outcome == "rate-limited" for call in run.ledger.calls)


@pytest.mark.parametrize("world", WORLDS)
async def test_everybody_sees_the_story_once_within_all_limits(world: str) -> None:
    run = await run_through([delivery(request(recipients=12_000))], profile=WORLDS[world], options=ADAPTIVE)
    assert (run.report.state, run.report.sent_successfully) == ("completed", 12_000)
    assert run.audience() == frozenset(people(12_000))
    starts = [call.began for call in run.ledger.calls]
    assert most_in_a_window(starts, seconds=1 / ADAPTIVE.max_batches_per_second) == 1
    assert run.report.session_learning.max_proven_batch_size > 0


async def test_every_decision_has_its_reason() -> None:
    run = await run_through([delivery(request(recipients=12_000))], options=ADAPTIVE)
    assert run.scalings
    assert all(scaling.reason for scaling in run.scalings)


async def stories(profile: Profile, names: Sequence[str]) -> list[LaneRun]:
    """Each in a lane of its own; of the lanes before it only what they learned is left."""
    histories = MemoryHistories()
    options = SmartSend(strategy="adaptive", max_batch_size=500)
    return [
        await run_through(
            [delivery(request(name, recipients=15_000))],
            profile=profile,
            options=options,
            histories=histories,
            jobs=MemoryJobs(),
        )
        for name in names
    ]


async def test_a_limit_that_one_lane_ran_into_is_held_to_by_the_next() -> None:
    limited = Profile(latency=Latency(a=0.3, b=1e-4), limits=FarLimits(calls_per_second=0.25))
    first, second = await stories(limited, ["sale", "more"])
    assert refusals(second) < refusals(first)
    assert second.report.session_learning.used_historical_data
    assert not first.report.session_learning.used_historical_data


async def test_what_a_story_taught_is_stored() -> None:
    histories = MemoryHistories()
    await run_through([delivery(request(recipients=5_000))], options=ADAPTIVE, histories=histories)
    kept = await histories.load(SESSION)
    assert kept is not None
    assert kept.belief is not None
    assert kept.belief.proven == kept.proven > 0
