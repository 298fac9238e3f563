"""`storycast bench throughput` has every contestant serve the same stories, checks it, and compares medians."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.bench.contest import Contestant, Round, contestants
from ops.bench.throughput import legend, summary, table
from tests.ops.support import Call, decoded, leftovers, run, servers

FOREIGN = {"STORYCAST_URL": "nats://127.0.0.1:1", "STORYCAST_PROFILE": "nowhere"}
TINY = ("bench", "throughput", "--stories", "12", "--sessions", "3", "--rounds", "1")


def rounds(**seconds: list[float]) -> list[Round]:
    names: dict[str, Contestant] = {"storycast": "storycast", "nats": "nats-py", "faststream": "faststream"}
    return [
        Round(contestant=names[name], stories=600, seconds=each, stored={})
        for name, its in seconds.items()
        for each in its
    ]


def test_everybody_stores_the_same_and_every_story_has_its_report(tmp_path: Path) -> None:
    ended = run(*TINY, "--json", home=tmp_path, settings=FOREIGN)
    assert ended.code == 0, ended.err
    found = decoded(ended.out)
    assert [each["contestant"] for each in found["rounds"]] == list(contestants())
    stored = {each["contestant"]: each["stored"] for each in found["rounds"]}
    for name, its in stored.items():
        assert its["events"] == 12 * 4, name  # three events of progress, and the report
        assert its["checkpoints"] == stored["storycast"]["checkpoints"], name
        assert its["leases"] >= 2 * 3, name  # the lease and its term; renewals come on top
    assert found["ratios"].keys() == stored.keys() - {"storycast"}
    for name, ratio in found["ratios"].items():
        assert ratio == pytest.approx(found["rates"]["storycast"] / found["rates"][name])
    assert (servers(tmp_path), leftovers(tmp_path)) == ([], [])


def test_people_get_a_row_for_each_contestant(tmp_path: Path) -> None:
    ended = run(*TINY, home=tmp_path, settings=FOREIGN)
    assert (ended.code, ended.err) == (0, "")
    assert "12 stories of one recipient over 3 sessions" in ended.out
    for name in contestants():
        assert f"round 1: {name}" in ended.out


def test_medians_are_compared_and_not_single_rounds() -> None:
    found = summary(rounds(storycast=[2, 1, 100], nats=[1, 1, 3], faststream=[6, 6, 1]), sessions=3)
    assert found.rates == {"storycast": 300, "nats-py": 600, "faststream": 100}
    assert found.ratios == {"nats-py": 0.5, "faststream": 3}
    [_, nats, faststream] = range(table(found).row_count)
    assert [*table(found).columns[3].cells][nats] == "0.50 x"
    assert [*table(found).columns[3].cells][faststream] == "3.00 x"
    assert [(goal.measured, goal.met) for goal in found.goals] == [(0.5, False), (3, True)]
    assert "Not installed" not in legend(found)


def test_who_is_not_installed_is_named() -> None:
    found = summary(rounds(storycast=[1], nats=[1]), sessions=3)
    assert "faststream" not in found.ratios
    assert "Not installed here: faststream (pip install 'storycast[peers]')" in legend(found)


@pytest.mark.parametrize("option", ["--stories", "--sessions", "--rounds"])
def test_numbers_that_cannot_be_are_refused(call: Call, option: str) -> None:
    ended = call("bench", "throughput", f"{option}=0")
    assert (ended.code, ended.out) == (2, "")
