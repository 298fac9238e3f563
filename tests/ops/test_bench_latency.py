"""`storycast bench latency` times real stories from publish to the anchor's call, and tells it in round trips."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.bench.latency import legend, percentile, summary, table
from tests.ops.support import Call, decoded, leftovers, run, servers

FOREIGN = {"STORYCAST_URL": "nats://127.0.0.1:1", "STORYCAST_PROFILE": "nowhere"}
TINY = ("bench", "latency", "--samples", "3", "--waiting", "300")


def test_each_situation_has_its_stories_timed_in_round_trips_of_the_run(tmp_path: Path) -> None:
    ended = run(*TINY, "--json", home=tmp_path, settings=FOREIGN)
    assert ended.code == 0, ended.err
    found = decoded(ended.out)
    assert [each["situation"] for each in found["situations"]] == ["idle", "cold", "backlog"]
    for each in found["situations"]:
        assert each["samples"] == 3
        assert 0 < each["p50Seconds"] <= each["p99Seconds"]
        assert each["p50RoundTrips"] == pytest.approx(each["p50Seconds"] / found["roundTripSeconds"])
        assert each["p99RoundTrips"] == pytest.approx(each["p99Seconds"] / found["roundTripSeconds"])
    assert (servers(tmp_path), leftovers(tmp_path)) == ([], [])


def test_a_backlog_that_is_over_before_the_last_story_is_no_measurement(tmp_path: Path) -> None:
    ended = run("bench", "latency", "--samples", "3", "--waiting", "10", home=tmp_path, settings=FOREIGN)
    assert ended.code == 1
    assert "the backlog was over before the last story" in ended.err


def test_what_is_cold_has_no_goal() -> None:
    found = summary({"idle": [0.002, 0.004], "cold": [0.009]}, [0.001, 0.001, 0.5], waiting=7)
    idle, cold = found.situations
    assert (idle.p50_round_trips, idle.p99_round_trips, cold.p50_round_trips) == pytest.approx((2, 4, 9))
    assert [*table(found).columns[4].cells] == ["2.0", "9.0"]
    assert [(goal.at_most, goal.met) for goal in found.goals] == [(6, True), (25, True)]
    assert "1000 µs (median)" in legend(found)
    assert "7 bulk stories" in legend(found)


@pytest.mark.parametrize(("share", "expected"), [(50, 50), (99, 99), (100, 100)])
def test_a_percentile_is_one_of_what_was_found(share: int, expected: int) -> None:
    assert percentile(range(100, 0, -1), share) == expected
    assert percentile([3.0], share) == 3.0


@pytest.mark.parametrize("option", ["--samples=0", "--waiting=9"])
def test_numbers_that_cannot_be_are_refused(call: Call, option: str) -> None:
    ended = call("bench", "latency", option)
    assert (ended.code, ended.out) == (2, "")
