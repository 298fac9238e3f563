"""The demonstration shows what storycast does, in words that people and programs understand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from stages.messages import Report
from tests.ops.support import Call, Command, Ended, leftovers, servers

TOML = """
description = "Nobody waits, and one number is dead"
[latency]
points = [[1, 0.01], [10000, 0.02]]
[numbers]
dead = ["6281200000007@s.whatsapp.net"]
"""
FOREIGN = {"STORYCAST_URL": "nats://127.0.0.1:1", "SMART_SEND_STRATEGY": "fixed"}
DEMOS = {
    "plain": ("--recipients", "500"),
    "json": ("--recipients", "500", "--json"),
    "tiered": ("--recipients", "3000", "--strategy", "tiered", "--profile", "calm", "--json"),
    "progressive": ("--recipients", "5000", "--strategy", "progressive", "--json"),
    "own profile": ("--recipients", "300", "--profile", "own.toml", "--json"),
    "nobody": ("--recipients", "150", "--profile", "nobody.toml", "--json"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all demonstrations of this module ran at the same time."""
    home = tmp_path_factory.mktemp("demo")
    (home / "own.toml").write_text(TOML)
    (home / "storycast.toml").write_text('[storycast]\nurl = "nats://127.0.0.1:1"\nprofile = "nowhere"\n')
    (home / "nobody.toml").write_text("[numbers]\ndead_share = 1.0\n")
    return home


@pytest.fixture(scope="module")
def demos(home: Path) -> Iterator[dict[str, Ended]]:
    """How they ended. They mostly wait, so they run at the same time."""
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(Command("demo", "--fast", *options, home=home, settings=FOREIGN))
            for name, options in DEMOS.items()
        }
        yield {name: command.end() for name, command in running.items()}


def reports(ended: Ended) -> list[Report]:
    return msgspec.json.decode(ended.out, type=list[Report])


def stories(text: str) -> tuple[str, str]:
    """What is said of the first story and of the second one."""
    _, first, second = re.split(
        r"^(?:the first story|a second story in the same session): .*$", text, flags=re.M
    )
    return first, second


# What people read


def test_demo_succeeds_and_complains_of_nothing(demos: dict[str, Ended]) -> None:
    assert demos["plain"].code == 0
    assert demos["plain"].err == ""


def test_demo_has_a_line_for_each_batch_with_its_size_and_time(demos: dict[str, Ended]) -> None:
    for number, text in enumerate(stories(demos["plain"].out), start=1):
        batches = re.findall(
            rf"^demo/story-{number}: (\w+(?: \d)?) of (\d+) sent in (?:\d+\.\d s|\d+ ms)", text, re.M
        )
        assert batches == [("anchor", "1"), ("batch 1", "100"), ("batch 2", "399")]


def test_demo_says_why_the_size_changed(demos: dict[str, Ended]) -> None:
    first, second = stories(demos["plain"].out)
    assert "next 100 a batch: nothing is proven yet: start with 100\n" in first
    assert re.search(r"next 1,000 a batch: 100 in \d\.\d s: fast: up to 1,?000\n", first)
    assert "next 100 a batch: 100 is proven: start with 100\n" in second


def test_demo_says_how_far_a_story_is_and_what_time_is_left(demos: dict[str, Ended]) -> None:
    for text in stories(demos["plain"].out):
        assert re.search(r"batch 1 of 100 .*; 101/500 20%, \d+\.\d s to go\n", text)
        assert re.search(r"batch 2 of 399 .*; 500/500 100%\n", text)


def test_demo_ends_each_story_with_its_report(demos: dict[str, Ended]) -> None:
    first, second = stories(demos["plain"].out)
    for number, text in enumerate((first, second), start=1):
        assert re.search(rf"^story +story-{number}  \(session demo, message 3EB0\w+\)", text, re.M)
        assert re.search(r"^result +completed: 500 of 500 sent in ", text, re.M)
        assert re.search(r"^sizes +1 anchor, then 100, 399 *$", text, re.M)
    assert re.search(r"^learned +started without knowledge; 100 a batch is proven now", first, re.M)
    assert re.search(r"^learned +started from what the session knew; 100 a batch", second, re.M)


def test_demo_in_a_pipe_writes_no_control_characters(demos: dict[str, Ended]) -> None:
    assert "\x1b" not in demos["plain"].out


# What programs read


def test_demo_json_is_two_reports_on_stdout_and_nothing_else(demos: dict[str, Ended]) -> None:
    ended = demos["json"]
    first, second = reports(ended)
    assert ended.code == 0
    assert ended.err == ""
    assert first.success
    assert second.success
    assert (first.total_recipients, second.total_recipients) == (500, 500)
    assert not first.session_learning.used_historical_data
    assert second.session_learning.used_historical_data


def test_demo_progressive_climbs_the_ladder_and_then_starts_where_it_arrived(demos: dict[str, Ended]) -> None:
    first, second = reports(demos["progressive"])
    assert first.batch_sequence == [100, 1000, 3899]
    assert first.session_learning.max_proven_batch_size == 4000
    assert second.batch_sequence == [4000, 999]


def test_demo_tiered_takes_the_size_of_the_tier(demos: dict[str, Ended]) -> None:
    assert [report.batch_sequence for report in reports(demos["tiered"])] == [[1000, 1000, 999]] * 2


def test_demo_takes_a_profile_of_ones_own_from_a_file(demos: dict[str, Ended]) -> None:
    ended = demos["own profile"]
    assert ended.code == 0
    for report in reports(ended):
        assert report.failure_reasons == {"6281200000007@s.whatsapp.net": "not-on-whatsapp"}
        assert report.sent_successfully == 299


def test_demo_exits_with_1_when_a_story_fails(demos: dict[str, Ended]) -> None:
    ended = demos["nobody"]
    assert ended.code == 1
    assert [(report.success, report.state, report.reason) for report in reports(ended)] == [
        (False, "failed", "no-anchor")
    ] * 2


def test_demos_at_the_same_time_disturb_each_other_in_nothing_and_leave_nothing(
    demos: dict[str, Ended], home: Path
) -> None:
    assert {name for name, ended in demos.items() if ended.code == 0} == set(DEMOS) - {"nobody"}
    assert servers(home) == []
    assert leftovers(home) == []


def test_demo_follows_no_settings_of_a_real_installation(demos: dict[str, Ended]) -> None:
    ended = demos["json"]
    assert ended.code == 0
    assert [report.batch_sequence for report in reports(ended)] == [[100, 399]] * 2


# Bad values


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--recipients", "0"), "--recipients: found 0, allowed: 1 to 1,000,000"),
        (("--recipients", "-5"), "--recipients: found -5, allowed: 1 to 1,000,000"),
        (("--recipients", "1000001"), "--recipients: found 1000001, allowed: 1 to 1,000,000"),
        (("--recipients", "x"), 'Invalid value for --recipients: unable to convert "x" into int.'),
        (
            ("--strategy", "guess"),
            'for --strategy. Choose from: "tiered", "progressive", "adaptive", "fixed"',
        ),
        (
            ("--profile", "sunny"),
            "profile 'sunny': No such file or directory; give a file, or one of: bad-numbers, calm",
        ),
        (
            ("--profile", "unknown.toml"),
            "profile 'unknown.toml': Object contains unknown field `dead_shar` - at `$.numbers`",
        ),
        (("--profile", "number.toml"), "profile 'number.toml': Expected `float` >= 0.0 - at `$.latency.a`"),
        (("--profile", "syntax.toml"), "profile 'syntax.toml': "),
        (("--profile", "."), "profile '.': Is a directory; give a file, or one of: "),
    ],
)
def test_demo_refuses_a_bad_value_with_2_and_says_what_is_allowed(
    call: Call, tmp_path: Path, options: tuple[str, str], said: str
) -> None:
    (tmp_path / "unknown.toml").write_text("[numbers]\ndead_shar = 1\n")
    (tmp_path / "number.toml").write_text("[latency]\na = -1\n")
    (tmp_path / "syntax.toml").write_text("[latency\n")
    ended = call("demo", *options)
    assert ended.code == 2
    assert said in " ".join(ended.err.replace("│", " ").split())
    assert ended.out == ""
    assert servers(tmp_path) == []
    assert leftovers(tmp_path) == []
