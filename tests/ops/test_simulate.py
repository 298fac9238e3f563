"""`storycast simulate` shows what a story would take under several strategies, by the settings a worker would use."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
from rich.console import Console

from ops.plot import NARROWEST, plotted
from ops.whatif import is_smart, outcomes, rules_for
from stages.options import SmartSend, Strategy
from tests.ops.support import Call, OnTerminal, decoded, run
from transports.simulated import Profile, load_profile
from transports.simulated.profile import Latency, Numbers

STRATEGIES: list[str] = list(get_args(Strategy))
AWAY = "[[outages]]\nstart = 0\nend = 1000000\n"


def stories(call: Call, *options: str, env: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """The stories in its JSON."""
    ended = call("simulate", *options, "--json", env=env)
    assert (ended.code, ended.err) == (0, "")
    found: list[dict[str, Any]] = decoded(ended.out)["stories"]
    return found


def sizes(story: dict[str, Any]) -> list[int]:
    return [batch["size"] for batch in story["batches"]]


# What is played


def test_without_a_choice_every_strategy_has_two_stories(call: Call) -> None:
    found = stories(call)
    assert [(one["strategy"], one["story"]) for one in found] == [
        (strategy, place) for strategy in STRATEGIES for place in (1, 2)
    ]
    assert all(one["sent"] == 5_000 for one in found)


def test_it_sends_the_batches_that_the_demonstration_sends(call: Call) -> None:
    """As in test_demo.py, where a worker sends them."""
    first, second = stories(call, "--strategy", "progressive")
    assert sizes(first) == [1, 100, 1000, 3899]
    assert sizes(second) == [1, 4000, 999]
    assert [sizes(one) for one in stories(call, "--strategy", "tiered", "--recipients", "3000")] == [
        [1, 1000, 1000, 999]
    ] * 2


def test_what_was_learned_of_limits_counts_in_the_next_story(call: Call) -> None:
    options = ("--profile", "strict-limits", "--strategy", "adaptive", "--recipients", "50000")
    first, second = stories(call, *options)
    assert second["refusals"] < first["refusals"]


def test_without_learning_every_story_begins_anew(call: Call) -> None:
    env = {"SMART_SEND_ENABLE_LEARNING": "false"}
    first, second = stories(call, "--strategy", "progressive", env=env)
    assert sizes(first) == sizes(second) == [1, 100, 1000, 3899]


def test_it_goes_by_the_settings_of_the_environment_and_of_a_file(call: Call, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[smart_send]\nmax_batch_size = 700\n")
    options = ("--strategy", "fixed", "--recipients", "3000", "--stories", "1")
    [capped] = stories(call, *options, "--config", "own.toml")
    assert sizes(capped) == [1, 700, 700, 700, 700, 199]
    [paced] = stories(call, *options, env={"SMART_SEND_BATCH_DELAY": "5000"})
    assert [late["began"] - early["began"] - early["seconds"] for early, late in pairs(paced)] == [
        pytest.approx(5.0)
    ] * 3
    [wide] = stories(call, *options, env={"SMART_SEND_MAX_CONCURRENT": "4"})
    assert any(late["began"] < early["began"] + early["seconds"] for early, late in pairs(wide))


def pairs(story: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    batches = sorted(story["batches"], key=lambda batch: batch["began"])
    return list(pairwise(batches))


def test_rules_are_those_that_a_worker_has() -> None:
    options = SmartSend(
        max_batches_per_second=5, batch_delay=250, max_concurrent=3, max_retries=1, max_batch_size=800
    )
    rules = rules_for(options, Profile(), 1_000)
    assert (rules.rate, rules.pause, rules.width, rules.retries, rules.largest) == (5, 0.25, 3, 1, 800)
    assert (rules.anchored, rules.foresight, rules.tries) == (True, False, None)
    assert rules_for(options, Profile(frame_limit=300), 1_000).largest == 300


def test_too_few_recipients_go_out_at_once_whatever_the_strategy(call: Call) -> None:
    found = stories(call, "--recipients", "99")
    assert [(one["strategy"], sizes(one)) for one in found] == [("plain", [99])] * 2
    assert not is_smart(SmartSend(enabled=False), 5_000)


def test_the_same_seed_gives_the_same_and_another_one_another(call: Call) -> None:
    options = ("--profile", "flaky", "--strategy", "tiered")
    one = stories(call, *options, "--seed", "3")
    assert one == stories(call, *options, "--seed", "3")
    assert one != stories(call, *options, "--seed", "4")
    assert one[0]["seconds"] != one[1]["seconds"]


def test_a_profile_of_ones_own_is_played(call: Call, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[latency]\na = 2.0\nb = 0.0\n")
    [story] = stories(
        call, "--profile", "own.toml", "--strategy", "fixed", "--stories", "1", "--recipients", "2000"
    )
    assert [batch["seconds"] for batch in story["batches"]] == pytest.approx([2.0] * 3)


def test_numbers_that_a_receipt_names_as_dead_have_failed_and_hold_nobody_up() -> None:
    profile = Profile(numbers=Numbers(dead_share=0.1))
    [story] = outcomes("fixed", 10_000, 1, SmartSend(), profile)
    assert 900 < story.failed < 1_100
    assert (story.sent + story.failed, story.left, len(story.batches)) == (10_000, 0, 11)


def test_a_session_that_gets_nothing_through_is_stopped_and_says_how_many_are_left(
    call: Call, tmp_path: Path
) -> None:
    (tmp_path / "away.toml").write_text(AWAY)
    [story] = stories(call, "--profile", "away.toml", "--strategy", "tiered", "--stories", "1")
    assert story["sent"] == 0
    assert story["left"] + story["failed"] == 5_000
    assert story["left"] > 0
    ended = call("simulate", "--profile", "away.toml", "--strategy", "tiered", "--stories", "1")
    assert f"nothing went through for 15 minutes, and {story['left']:,} were left" in ended.out


def test_ten_million_recipients_can_be_asked_for() -> None:
    [story] = outcomes("tiered", 10_000_000, 1, SmartSend(), Profile(latency=Latency(a=0.1, b=0.0)))
    assert (story.sent, len(story.batches), story.largest_batch) == (10_000_000, 1_001, 10_000)


# What people see


def test_people_get_a_table_a_chart_and_last_words_within_80_columns(tmp_path: Path) -> None:
    ended = run("simulate", home=tmp_path, settings={"COLUMNS": "80"})
    assert (ended.code, ended.err) == (0, "")
    rows = [line.split() for line in ended.out.splitlines()]
    assert ["progressive", "1", "6.4", "s", "5,000", "0", "4", "0", "3,899"] in rows
    assert "tiered: at its end: tiered: stays at 2,000" in ended.out
    assert "┌──" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80
    assert "\x1b" not in ended.out


def test_without_colours_lines_are_told_apart_by_letters(call: Call) -> None:
    ended = call("simulate", "--strategy", "progressive", "--strategy", "fixed")
    chart = ended.out[ended.out.index("┌") : ended.out.index("└")]
    assert re.search(r"pp progressive", chart)
    assert re.search(r"ff fixed", chart)
    assert "ppp" in chart
    assert "fff" in chart


@pytest.mark.parametrize("columns", [20, 30, 45, 60])
def test_a_narrow_screen_shows_every_figure_in_full(tmp_path: Path, columns: int) -> None:
    ended = run(
        "simulate",
        *("--recipients", "100000", "--profile", "calm"),
        home=tmp_path,
        settings={"COLUMNS": str(columns)},
    )
    assert ended.code == 0
    assert max(map(len, ended.out.splitlines())) <= columns
    assert "…" not in ended.out
    assert "sent 100,000, failed 0, batches" in " ".join(ended.out.split())
    assert ("┌" in ended.out) == (columns >= NARROWEST)


def test_on_a_terminal_the_chart_is_in_colours(tmp_path: Path) -> None:
    with OnTerminal("simulate", home=tmp_path, settings={"COLUMNS": "80"}) as screen:
        ended = screen.end()
    assert ended.code == 0
    assert re.search(r"\x1b\[\d+m⢕", ended.out)


def test_one_strategy_alone_tells_its_first_decisions_and_why(call: Call) -> None:
    alone = call("simulate", "--strategy", "progressive").out
    assert "the first 4 of 4 batches of story 1" in alone
    assert re.search(r"0\.5 s +100 +0\.8 s +sent +100 in 0\.8 s: fast: up to 1,000", alone)
    several = call("simulate", "--strategy", "progressive", "--strategy", "fixed").out
    assert "batches of story" not in several


def test_more_than_a_dozen_decisions_are_not_told(call: Call) -> None:
    shown = call("simulate", "--strategy", "fixed", "--recipients", "50000").out
    told = shown.partition("the first 12 of 51 batches of story 1")[2]
    assert len(re.findall(r"^ *\d+\.\d s ", told, re.M)) == 12


def test_the_chart_counts_who_was_sent_to_and_no_batch_that_failed(call: Call) -> None:
    options = ("--profile", "flaky", "--recipients", "20000", "--strategy", "tiered", "--stories", "1")
    [story] = stories(call, *options)
    assert "failed" in [batch["outcome"] for batch in story["batches"]]
    chart = call("simulate", *options).out.partition("┌")[2]
    assert re.findall(r"^ *([\d,]+)┤", chart, re.M)[0] == f"{story['sent']:,}"


def test_a_chart_ends_where_the_last_recipient_was_sent_to() -> None:
    console = Console(width=60, color_system=None)
    chart = plotted({"up": [(10.0, 500.0), (200.0, 1_000.0)]}, console, title="sent")
    assert chart is not None
    lines = chart.plain.splitlines()
    assert lines[0].strip() == "sent"
    assert lines[2].startswith("1,000┤")
    assert "uu" not in lines[3].replace("uu up", "")
    assert [int(word) for word in lines[-2].split()] == [0, 50, 100, 150, 200]


def test_the_plotting_library_is_not_imported_until_something_is_plotted() -> None:
    code = "import sys, ops.cli; sys.exit('plotext' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0


# Bad values


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--recipients", "0"), "--recipients: found 0, allowed: 1 to 10,000,000"),
        (("--recipients", "10000001"), "--recipients: found 10000001, allowed: 1 to 10,000,000"),
        (("--recipients", "x"), 'Invalid value for --recipients: unable to convert "x" into int.'),
        (("--stories", "0"), "--stories: found 0, allowed: 1 to 100"),
        (("--stories", "101"), "--stories: found 101, allowed: 1 to 100"),
        (("--strategy", "magic"), f'for --strategy. Choose from: "{STRATEGIES[0]}", "{STRATEGIES[1]}"'),
        (("--profile", "sunny"), "profile 'sunny': No such file or directory; give a file, or one of: "),
        (("--profile", "bad.toml"), "profile 'bad.toml': Expected `float` >= 0.0 - at `$.latency.a`"),
        (
            ("--profile", "bad-numbers"),
            "profile 'bad-numbers': numbers.answer: found 'unnamed', allowed here: 'reported', 'failure'",
        ),
        (
            ("--profile", "restricted.toml"),
            "profile 'restricted.toml': restricted_after_calls: found 3, allowed here: none",
        ),
        (
            ("--profile", "audience.toml"),
            "profile 'audience.toml': abilities.targets_recipients: found false, allowed here: true",
        ),
        (("--config", "missing.toml"), "missing.toml"),
    ],
)
def test_a_bad_value_is_refused_with_2_and_what_is_allowed(
    call: Call, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    (tmp_path / "bad.toml").write_text("[latency]\na = -1\n")
    (tmp_path / "restricted.toml").write_text("restricted_after_calls = 3\n")
    (tmp_path / "audience.toml").write_text("[abilities]\ntargets_recipients = false\n")
    ended = call("simulate", *options)
    assert (ended.code, ended.out) == (2, "")
    assert said in " ".join(ended.err.replace("│", " ").split())


def test_a_bad_setting_is_refused_by_its_name(call: Call) -> None:
    ended = call("simulate", env={"SMART_SEND_BATCH_DELAY": "soon"})
    assert (ended.code, ended.out) == (2, "")
    assert "SMART_SEND_BATCH_DELAY in the environment: found 'soon', allowed: a whole number" in ended.err


def test_every_shipped_profile_is_played_or_refused_by_its_field(call: Call) -> None:
    for name in ("calm", "congested", "flaky", "original", "story-timings", "strict-limits"):
        assert stories(call, "--profile", name, "--stories", "1"), name
    assert load_profile("bad-numbers").numbers.answer == "unnamed"
