"""`storycast bench story` compares ways of sending with one call, and the original system's words with figures."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from ops.bench import charts
from ops.bench.profiles import CHEAP, ORIGINAL, seeded, written
from ops.bench.story import KNOWN
from ops.bench.story_chart import panels
from ops.bench.story_claims import CLAIMED_BATCHES, CLAIMED_ONE_CALL, claims
from ops.bench.story_figures import ONE_CALL, Sample, Story, cells
from ops.bench.story_sessions import planned
from tests.ops.support import Call, run
from transports.simulated import load_profile
from transports.simulated.world import base_seconds

TOLD = Sample(
    engine=ORIGINAL,
    way=ONE_CALL,
    again=False,
    recipients=3_000,
    seed=1,
    seconds=6.0,
    delivered=3_000,
    calls=1,
    failed_calls=0,
    by_first_call=3_000,
    call_seconds=[2.5],
)


def quick(size: int, seconds: float, *, delivered: float = 1.0, one_call: float = 60.0) -> list[Sample]:
    """One call, and batches that take so long."""
    one = structs.replace(TOLD, recipients=size, seconds=one_call, delivered=size)
    batched = structs.replace(one, way="tiered", seconds=seconds, delivered=round(size * delivered))
    return [one, batched]


def test_one_call_by_the_original_profile_takes_what_the_original_system_said() -> None:
    latency = load_profile("original").latency
    for size, (low, high) in CLAIMED_ONE_CALL.items():
        assert low < base_seconds(latency, size) < high


def test_a_varied_profile_is_read_by_the_worker_as_it_was_written(tmp_path: Path) -> None:
    for profile in (seeded(5), seeded(6, fails=False)):
        assert load_profile(str(written(profile, tmp_path / "profile.toml"))) == profile
    assert seeded(5).failures.scale > 0
    assert seeded(5, fails=False).failures.scale == 0


def test_ways_are_compared_with_one_call_of_the_same_seed() -> None:
    samples = [
        structs.replace(TOLD, seed=1, seconds=6.0),
        structs.replace(TOLD, seed=2, seconds=60.0),
        structs.replace(TOLD, way="tiered", seed=1, seconds=3.0),
        structs.replace(TOLD, way="tiered", seed=2, seconds=6.0),
    ]
    one, tiered = cells(samples)
    assert (one.times_as_fast, one.seconds) == (1.0, 33.0)
    assert tiered.times_as_fast == pytest.approx((6 / 3 + 60 / 6) / 2)


def test_each_engine_has_claims_of_its_own_and_both_are_compared_with_the_same_one_call() -> None:
    samples = [*quick(3_000, 30.0), structs.replace(TOLD, engine=CHEAP, way="tiered", seconds=2.0)]
    found = cells(samples)
    assert [cell.times_as_fast for cell in found] == [1.0, 2.0, 30.0]
    assert [goal.met for goal in claims(found)] == [False, False, True]
    assert [goal.met for goal in claims(found, CHEAP)] == [True, True, True]


def test_a_second_story_is_told_apart_from_the_first() -> None:
    both = [
        TOLD,
        structs.replace(TOLD, way="progressive"),
        structs.replace(TOLD, way="progressive", again=True),
    ]
    assert [(cell.way, cell.again, cell.stories) for cell in cells(both)] == [
        (ONE_CALL, False, 1),
        ("progressive", False, 1),
        ("progressive", True, 1),
    ]


def test_the_delivered_share_is_that_of_all_stories_and_of_the_worst_one() -> None:
    samples = [TOLD, structs.replace(TOLD, seed=2, delivered=1_500, failed_calls=3, by_first_call=0)]
    [cell] = cells(samples)
    assert (cell.delivered, cell.delivered_least, cell.by_first_call) == (0.75, 0.5, 0.5)
    assert (cell.failed_calls, cell.stories) == (3, 2)


def test_claims_are_met_by_the_quickest_way_up_to_what_was_said() -> None:
    for size, (_, most) in CLAIMED_BATCHES.items():
        for seconds, met in ((most, True), (most + 0.01, False)):
            [in_time, *_] = claims(cells(quick(size, seconds)))
            assert (in_time.measured, in_time.at_most, in_time.met) == (seconds, most, met)


def test_times_as_fast_and_the_delivered_share_are_claims_too() -> None:
    assert [goal.met for goal in claims(cells(quick(100, 20.0, delivered=0.99)))] == [True, True]
    assert [goal.met for goal in claims(cells(quick(100, 20.1, delivered=0.98)))] == [False, False]
    assert claims(cells([TOLD])) == []


def test_sessions_do_not_start_at_the_same_moment_and_those_that_learn_send_twice() -> None:
    plans = [
        plan
        for place in range(3)
        for plan in planned([300, 1_000], [ONE_CALL, "tiered", "progressive"], place, 3)
    ]
    assert len({plan.delay for plan in plans}) == len(plans) == 18
    assert {plan.way: plan.stories for plan in plans} == {ONE_CALL: 1, "tiered": 1, "progressive": 2}
    assert len({plan.session for plan in plans}) == 6


@pytest.mark.parametrize("strategies", ["", "fixed", "tiered,", "tiered,sudden"])
def test_strategies_that_there_are_not_are_refused_with_those_that_there_are(
    call: Call, strategies: str
) -> None:
    ended = call("bench", "story", f"--strategies={strategies}")
    assert (ended.code, ended.out) == (2, "")
    assert "--strategies: out-of-range: found '" in ended.err
    assert f"allowed: {', '.join(KNOWN)}" in ended.err


def test_every_way_reaches_who_can_be_reached_and_one_call_is_one_call(tmp_path: Path) -> None:
    ended = run(
        *("bench", "story", "--sizes", "300", "--seeds", "1", "--strategies", "tiered,progressive"),
        *("--json", "--out", "found"),
        home=tmp_path,
    )
    assert ended.code == 0, ended.err
    found = msgspec.json.decode(ended.out, type=Story)
    assert msgspec.json.decode((tmp_path / "found" / "story.json").read_bytes(), type=Story) == found
    ways = {(cell.engine, cell.way, cell.again): cell for cell in found.cells}
    batched = [("tiered", False), ("progressive", False), ("progressive", True)]
    assert set(ways) == {
        (ORIGINAL, ONE_CALL, False),
        *((it, *way) for it in (ORIGINAL, CHEAP) for way in batched),
    }
    assert len({cell.delivered for cell in found.cells if cell.engine == ORIGINAL}) == 1
    assert {cell.delivered for cell in found.cells if cell.engine == CHEAP} == {1.0}
    went_well = {way: cell.calls - cell.failed_calls for way, cell in ways.items()}
    assert went_well[ORIGINAL, ONE_CALL, False] == 1
    assert went_well[ORIGINAL, "tiered", False] >= 4  # the first contact may be dead
    assert went_well[CHEAP, "tiered", False] == 4
    assert charts.svg(panels(found), title="story")
