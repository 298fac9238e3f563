"""`storycast settings` shows every setting, its value and where it came from; a bad one is named wherever it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from pipeline.settings import TABLES, env_name
from tests.ops.support import Call, Ended, decoded, run

FILE = """
[smart_send]
strategy = "tiered"
max_retries = 5
batch_delay = 20

[storycast]
url = "nats://in-the-file:4222"

[sessions.vip]
batch_delay = 5
"""
NAMES = {env_name(table, info.name) for table, kind in TABLES.items() for info in structs.fields(kind)}


def by_name(ended: Ended) -> dict[str, dict[str, Any]]:
    assert ended.code == 0, ended.err
    return {setting["env"]: setting for setting in decoded(ended.out)}


def seen(ended: Ended) -> dict[str, tuple[str, str]]:
    """Value and source of each setting."""
    return {name: (setting["value"], setting["source"]) for name, setting in by_name(ended).items()}


def test_the_table_has_every_setting_with_value_and_source(tmp_path: Path) -> None:
    (tmp_path / "storycast.toml").write_text(FILE)
    ended = run("settings", home=tmp_path, settings={"SMART_SEND_MAX_RETRIES": "7"})
    assert (ended.code, ended.err) == (0, "")
    rows = {cells[0]: cells[1:3] for line in ended.out.splitlines() if (cells := line.split())}
    assert set(rows) >= NAMES
    assert rows["SMART_SEND_MAX_RETRIES"] == ["7", "environment"]
    assert rows["SMART_SEND_STRATEGY"] == ["tiered", "storycast.toml"]
    assert rows["SMART_SEND_MIN_RECIPIENTS"] == ["100", "default"]


def test_the_names_are_whole_in_the_narrowest_pipe(call: Call) -> None:
    ended = call("settings", env={"COLUMNS": "80"})
    assert {line.split()[0] for line in ended.out.splitlines() if line.split()} >= NAMES


def test_json_has_every_setting_with_all_that_is_known_of_it(call: Call) -> None:
    settings = by_name(call("settings", "--json"))
    assert set(settings) == NAMES
    assert settings["SMART_SEND_STRATEGY"] == {
        "env": "SMART_SEND_STRATEGY",
        "key": "smart_send.strategy",
        "value": "progressive",
        "default": "progressive",
        "allowed": settings["SMART_SEND_STRATEGY"]["allowed"],
        "description": "The policy that chooses batch sizes.",
        "source": "default",
    }
    assert all(setting["description"] and setting["allowed"] for setting in settings.values())


def test_the_environment_goes_over_the_file_and_the_file_over_the_defaults(
    call: Call, tmp_path: Path
) -> None:
    (tmp_path / "storycast.toml").write_text(FILE)
    env = {"SMART_SEND_MAX_RETRIES": "7", "STORYCAST_URL": "nats://in-the-environment:4222"}
    found = seen(call("settings", "--json", env=env))
    assert found["SMART_SEND_STRATEGY"] == ("tiered", "storycast.toml")
    assert found["SMART_SEND_BATCH_DELAY"] == ("20", "storycast.toml")
    assert found["SMART_SEND_MAX_RETRIES"] == ("7", "environment")
    assert found["STORYCAST_URL"] == ("nats://in-the-environment:4222", "environment")
    assert found["SMART_SEND_REGIONAL"] == ("false", "default")


def test_a_session_has_its_own_values_over_all(call: Call, tmp_path: Path) -> None:
    (tmp_path / "storycast.toml").write_text(FILE)
    env = {"SMART_SEND_BATCH_DELAY": "40"}
    assert seen(call("settings", "--json", env=env))["SMART_SEND_BATCH_DELAY"] == ("40", "environment")
    vip = seen(call("settings", "--json", "--session", "vip", env=env))
    assert vip["SMART_SEND_BATCH_DELAY"] == ("5", "session")
    assert vip["SMART_SEND_STRATEGY"] == ("tiered", "storycast.toml")


@pytest.mark.parametrize("how", ["option", "environment"])
def test_another_file_may_be_named_and_then_the_one_in_the_folder_does_not_count(
    call: Call, tmp_path: Path, how: str
) -> None:
    (tmp_path / "storycast.toml").write_text("[smart_send]\nstrategy = 'fixed'\n")
    (tmp_path / "other.toml").write_text("[smart_send]\nmax_retries = 9\n")
    if how == "option":
        found = seen(call("settings", "--json", "--config", "other.toml"))
    else:
        found = seen(call("settings", "--json", env={"STORYCAST_CONFIG": "other.toml"}))
    assert found["SMART_SEND_MAX_RETRIES"][0] == "9"
    assert found["SMART_SEND_STRATEGY"] == ("progressive", "default")


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (
            {"SMART_SEND_MAX_RETRIES": "99"},
            "SMART_SEND_MAX_RETRIES in the environment: found '99', allowed: a whole",
        ),
        ({"SMART_SEND_MAX_RETRIES": "many"}, "found 'many', allowed: a whole number, >= 0, <= 20"),
        (
            {"SMART_SEND_ENABLED": "perhaps"},
            "SMART_SEND_ENABLED in the environment: found 'perhaps', allowed: true",
        ),
        ({"SMART_SEND_STRATEGY": "guess"}, "found 'guess', allowed: adaptive | fixed | progressive | tiered"),
        (
            {"SMART_SEND_PROGRESSIVE_SEQUENCE": "100,50"},
            "SMART_SEND_PROGRESSIVE_SEQUENCE: found 100,50, allowed: sizes",
        ),
        (
            {"STORYCAST_SPEED": "0"},
            "STORYCAST_SPEED in the environment: found '0', allowed: a number, > 0, <= 1,000",
        ),
        (
            {"STORYCAST_URL": "localhost:4222"},
            "STORYCAST_URL in the environment: found 'localhost:4222', allowed: ",
        ),
        ({"STORYCAST_CONFIG": "missing.toml"}, "missing.toml: there is no such file"),
    ],
)
def test_a_bad_value_in_the_environment_ends_with_2_and_is_named(
    call: Call, env: dict[str, str], said: str
) -> None:
    ended = call("settings", env=env)
    assert ended.code == 2
    assert said in ended.err
    assert ended.out == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[smart_send]\nbatch_delay = -1\n",
            "batch_delay under [smart_send] in storycast.toml: found -1, allowed: a whole",
        ),
        (
            "[smart_send]\nbatch_dely = 1\n",
            "[smart_send] in storycast.toml: found 'batch_dely', allowed: enabled, ",
        ),
        (
            "[smartsend]\n",
            "storycast.toml: found [smartsend], allowed: [neonize], [sessions], [smart_send], [storycast], [waha]",
        ),
        ("smart_send = 3\n", "[smart_send] in storycast.toml: found a number, allowed: a table"),
        ("[sessions]\nvip = 3\n", "[sessions.vip] in storycast.toml: found a number, allowed: a table"),
        (
            "[sessions.vip]\nbatch_size = 0\n",
            "batch_size under [sessions.vip] in storycast.toml: found 0, allowed: ",
        ),
        ("[smart_send\n", "storycast.toml: Expected ']'"),
    ],
)
def test_a_bad_file_ends_with_2_and_the_place_is_named(
    call: Call, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "storycast.toml").write_text(text)
    ended = call("settings")
    assert ended.code == 2
    assert said in ended.err


def test_a_file_that_is_named_has_to_be_there(call: Call) -> None:
    ended = call("settings", "--config", "missing.toml")
    assert ended.code == 2
    assert "missing.toml: there is no such file" in ended.err


def test_a_variable_that_is_no_setting_is_warned_of(call: Call) -> None:
    ended = call("settings", env={"SMART_SEND_STRATEGI": "fixed", "STORYCAST_HOST": "x"})
    assert ended.code == 0
    assert ended.err.splitlines() == [
        "warning: SMART_SEND_STRATEGI is in the environment, but is no setting",
        "warning: STORYCAST_HOST is in the environment, but is no setting",
    ]
