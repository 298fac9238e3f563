"""Settings: where each value comes from, and how a wrong one is said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.resolution import SettingsError, load_settings, resolve, unknown_variables
from pipeline.settings import Settings
from stages.delivery import Limits
from stages.options import SmartSend

ORIGINAL: Mapping[str, tuple[str, str, Any]] = {
    "SMART_SEND_ENABLED": ("enabled", "false", False),
    "SMART_SEND_STRATEGY": ("strategy", "tiered", "tiered"),
    "SMART_SEND_MIN_RECIPIENTS": ("min_recipients", "50", 50),
    "SMART_SEND_BATCH_SIZE_SMALL": ("batch_size_small", "11", 11),
    "SMART_SEND_BATCH_SIZE_MEDIUM": ("batch_size_medium", "12", 12),
    "SMART_SEND_BATCH_SIZE_LARGE": ("batch_size_large", "13", 13),
    "SMART_SEND_BATCH_SIZE_XLARGE": ("batch_size_xlarge", "14", 14),
    "SMART_SEND_BATCH_SIZE_XXLARGE": ("batch_size_xxlarge", "15", 15),
    "SMART_SEND_BATCH_SIZE_ENTERPRISE": ("batch_size_enterprise", "16", 16),
    "SMART_SEND_BATCH_DELAY": ("batch_delay", "250", 250),
    "SMART_SEND_MAX_CONCURRENT": ("max_concurrent", "3", 3),
    "SMART_SEND_FAST_THRESHOLD_MS": ("fast_threshold_ms", "1500", 1500),
    "SMART_SEND_SLOW_THRESHOLD_MS": ("slow_threshold_ms", "9000", 9000),
    "SMART_SEND_MIN_SUCCESS_RATE": ("min_success_rate", "0.9", 0.9),
    "SMART_SEND_ENABLE_LEARNING": ("enable_learning", "false", False),
    "SMART_SEND_MEMORY_TTL_HOURS": ("memory_ttl_hours", "12", 12.0),
    "SMART_SEND_MAX_BATCH_SIZE": ("max_batch_size", "4000", 4000),
    "SMART_SEND_MAX_BATCHES_PER_SECOND": ("max_batches_per_second", "0.5", 0.5),
    "SMART_SEND_PROGRESSIVE_SEQUENCE": ("progressive_sequence", "10,20,40", (10, 20, 40)),
}


def sources(settings: Settings) -> dict[str, str]:
    return {each.env: each.source for each in settings.listed() if each.source != "default"}


# Where a value comes from


@pytest.mark.parametrize("name", ORIGINAL)
def test_every_name_of_the_original_system_works_in_the_environment(name: str) -> None:
    field, text, value = ORIGINAL[name]
    settings = resolve({name: text}, {})
    assert getattr(settings.smart_send, field) == value
    assert getattr(SmartSend(), field) != value
    assert sources(settings) == {name: "environment"}


def test_without_anything_all_is_default() -> None:
    settings = resolve({}, {})
    assert settings == Settings()
    assert sources(settings) == {}
    assert settings.smart_send.progressive_sequence == (100, 500, 1000, 2000, 4000, 5000)


def test_the_environment_is_over_the_file_which_is_over_the_defaults() -> None:
    document = {"smart_send": {"batch_delay": 7, "max_retries": 5}, "storycast": {"grace": 1.5}}
    settings = resolve({"SMART_SEND_BATCH_DELAY": "9"}, document)
    assert (settings.smart_send.batch_delay, settings.smart_send.max_retries) == (9, 5)
    assert settings.smart_send.min_recipients == 100
    assert settings.storycast.grace == 1.5
    assert sources(settings) == {
        "SMART_SEND_BATCH_DELAY": "environment",
        "SMART_SEND_MAX_RETRIES": "storycast.toml",
        "STORYCAST_GRACE": "storycast.toml",
    }


def test_a_session_is_over_the_environment_in_what_it_names_and_nothing_else() -> None:
    document = {
        "smart_send": {"batch_delay": 7},
        "sessions": {"main": {"batch_delay": 1}, "slow": {"max_batches_per_second": 0.2}},
    }
    settings = resolve({"SMART_SEND_BATCH_DELAY": "9", "SMART_SEND_MAX_RETRIES": "4"}, document)
    assert [settings.of_session(name).smart_send.batch_delay for name in ("main", "slow", "other")] == [
        1,
        9,
        9,
    ]
    assert [settings.of_session(name).smart_send.max_retries for name in ("main", "slow", "other")] == [
        4,
        4,
        4,
    ]
    assert settings.of_session("slow").smart_send.max_batches_per_second == 0.2
    assert settings.of_session("other").smart_send.max_batches_per_second == 2.0
    slow = {each.env: (each.value, each.source) for each in settings.seen_by("slow").listed()}
    assert slow["SMART_SEND_MAX_BATCHES_PER_SECOND"] == ("0.2", "session")
    assert slow["SMART_SEND_BATCH_DELAY"] == ("9", "environment")
    assert slow["SMART_SEND_REGIONAL"] == ("false", "default")


def test_infrastructure_is_set_by_storycast_variables_and_makes_the_limits_of_calls() -> None:
    environ = {
        "STORYCAST_URL": "nats://nats.example:4333,tls://me:secret@other.example",
        "STORYCAST_REPLICAS": "3",
        "STORYCAST_CALL_TIMEOUT": "12.5",
        "STORYCAST_PATIENCE": "60",
        "STORYCAST_UNSURE_PAUSE": "0",
        "STORYCAST_MAX_SESSIONS": "3",
    }
    settings = resolve(environ, {})
    assert settings.storycast.url == "nats://nats.example:4333,tls://me:secret@other.example"
    assert settings.storycast.replicas == 3
    assert settings.storycast.max_sessions == 3
    assert settings.limits() == Limits(call=12.5, patience=60, unsure_pause=0)


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("TRUE", True), ("1", True), ("false", False), ("False", False), ("0", False)],
)
def test_a_switch_is_understood_in_the_usual_spellings(text: str, value: bool) -> None:
    assert resolve({"SMART_SEND_ENABLED": text}, {}).smart_send.enabled is value


def test_spaces_around_a_value_of_the_environment_do_not_matter() -> None:
    environ = {
        "SMART_SEND_PROGRESSIVE_SEQUENCE": " 10, 20 ,40 ",
        "SMART_SEND_BATCH_DELAY": " 5 ",
        "SMART_SEND_STRATEGY": "tiered ",
        "SMART_SEND_ENABLED": " false",
    }
    options = resolve(environ, {}).smart_send
    assert options == SmartSend(
        progressive_sequence=(10, 20, 40), batch_delay=5, strategy="tiered", enabled=False
    )


# The file


def written(folder: Path, text: str, name: str = "storycast.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


FILE = """
[smart_send]
batch_delay = 5
progressive_sequence = [10, 20]
[storycast]
profile = "calm"
[sessions.main]
enabled = false
"""


def test_the_file_is_read_from_where_it_was_said(tmp_path: Path) -> None:
    settings = load_settings({}, written(tmp_path, FILE, "mine.toml"))
    assert settings.smart_send.batch_delay == 5
    assert settings.smart_send.progressive_sequence == (10, 20)
    assert not settings.of_session("main").smart_send.enabled
    assert settings.of_session("main").smart_send.batch_delay == 5


def test_the_file_may_be_named_in_the_environment(tmp_path: Path) -> None:
    path = written(tmp_path, FILE, "mine.toml")
    assert load_settings({"STORYCAST_CONFIG": str(path)}).smart_send.batch_delay == 5


def test_storycast_toml_in_this_folder_is_found_and_may_be_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings({}) == Settings()
    written(tmp_path, FILE)
    assert load_settings({}).smart_send.batch_delay == 5


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    with pytest.raises(SettingsError, match=r"missing\.toml: there is no such file"):
        load_settings({}, missing)
    with pytest.raises(SettingsError, match=r"missing\.toml: there is no such file"):
        load_settings({"STORYCAST_CONFIG": str(missing)})


@pytest.mark.parametrize("text", ["[smart_send\n", "a = \n", "x = 1\nx = 2\n"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"storycast\.toml: .*line \d"):
        load_settings({}, written(tmp_path, text))


def test_a_file_that_is_no_text_or_no_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "storycast.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"storycast\.toml: "):
        load_settings({}, path)
    with pytest.raises(SettingsError, match=str(tmp_path)):
        load_settings({}, tmp_path)


# Errors: the setting, where it came from, what was found, what is allowed


WRONG_IN_ENVIRONMENT = [
    ("SMART_SEND_BATCH_DELAY", "soon", "a whole number, >= 0, <= 3,600,000"),
    ("SMART_SEND_BATCH_DELAY", "1.5", "a whole number, >= 0, <= 3,600,000"),
    ("SMART_SEND_BATCH_DELAY", "", "a whole number, >= 0, <= 3,600,000"),
    ("SMART_SEND_MAX_BATCH_SIZE", "0", "a whole number, >= 1, <= 1,000,000"),
    ("SMART_SEND_MAX_CONCURRENT", "17", "a whole number, >= 1, <= 16"),
    ("SMART_SEND_MIN_SUCCESS_RATE", "1.01", "a number, >= 0, <= 1"),
    ("SMART_SEND_MIN_SUCCESS_RATE", "nan", "a number, >= 0, <= 1"),
    ("SMART_SEND_MAX_BATCHES_PER_SECOND", "0", "a number, > 0, <= 1,000"),
    ("SMART_SEND_MEMORY_TTL_HOURS", "inf", "a number, > 0, <= 8,760"),
    ("SMART_SEND_ENABLED", "yes", "true or false"),
    ("SMART_SEND_STRATEGY", "guess", "adaptive | fixed | progressive | tiered"),
    ("SMART_SEND_PROGRESSIVE_SEQUENCE", "100,many", "comma-separated: a whole number, >= 1"),
    ("SMART_SEND_PROGRESSIVE_SEQUENCE", "", "comma-separated: a whole number, >= 1"),
    ("STORYCAST_URL", "localhost:4222", "nats://host:port"),
    ("STORYCAST_URL", "nats://a:4222,localhost:4222", "nats://host:port"),
    ("STORYCAST_URL", "nats://a:4222,", "nats://host:port"),
    ("STORYCAST_REPLICAS", "6", "a whole number, >= 1, <= 5"),
    ("STORYCAST_SPEED", "0", "a number, > 0, <= 1,000"),
]


@pytest.mark.parametrize(("name", "text", "allowed"), WRONG_IN_ENVIRONMENT)
def test_a_wrong_variable_is_said_with_source_found_and_allowed(name: str, text: str, allowed: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve({name: text}, {})
    said = str(caught.value)
    assert said.startswith(f"{name} in the environment: found ")
    assert text.partition(",")[0] in said
    assert "allowed: " in said
    assert allowed in said


WRONG_IN_FILE: list[tuple[str, str, Any, str]] = [
    ("smart_send", "batch_delay", "soon", "a whole number, >= 0, <= 3,600,000"),
    ("smart_send", "batch_delay", True, "a whole number"),
    ("smart_send", "enabled", "perhaps", "true or false"),
    ("smart_send", "progressive_sequence", [100, 0], "a whole number, >= 1"),
    ("smart_send", "strategy", "guess", "adaptive | fixed | progressive | tiered"),
    ("storycast", "engine", "telepathy", "simulated"),
    ("storycast", "grace", -1, "a number, >= 0"),
    ("sessions.main", "max_retries", 21, "a whole number, >= 0, <= 20"),
]


@pytest.mark.parametrize(("table", "key", "value", "allowed"), WRONG_IN_FILE)
def test_a_wrong_key_of_the_file_is_said_with_its_table_found_and_allowed(
    table: str, key: str, value: Any, allowed: str
) -> None:
    document: Any = {key: value}
    for name in reversed(table.split(".")):
        document = {name: document}
    with pytest.raises(SettingsError) as caught:
        resolve({}, document)
    said = str(caught.value)
    where, _, rest = said.partition(": found ")
    assert where.startswith(f"{key} ")
    assert f"[{table}]" in where
    assert where.endswith("storycast.toml")
    assert rest.startswith(f"{value!r}, allowed: ")
    assert allowed in said


@pytest.mark.parametrize("ladder", ["500,100", "100,100", "1,2,4,3"])
def test_a_ladder_that_does_not_rise_is_refused_wherever_it_stands(ladder: str) -> None:
    match = f"(?i)progressive_sequence.*: found {ladder}, allowed: sizes that rise"
    with pytest.raises(SettingsError, match=match):
        resolve({"SMART_SEND_PROGRESSIVE_SEQUENCE": ladder}, {})
    sizes = [int(size) for size in ladder.split(",")]
    with pytest.raises(SettingsError, match=match):
        resolve({}, {"sessions": {"main": {"progressive_sequence": sizes}}})


@pytest.mark.parametrize("table", ["smart_send", "storycast", "sessions.main"])
def test_an_unknown_key_is_refused_with_those_there_are(table: str) -> None:
    document: Any = {"batchDelay": 5}
    for name in reversed(table.split(".")):
        document = {name: document}
    known = "grace" if table == "storycast" else "batch_delay"
    with pytest.raises(SettingsError, match=rf"\[{table}\] in storycast\.toml: found 'batchDelay'.*{known}"):
        resolve({}, document)


def test_an_unknown_table_is_refused_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match=r"found \[smartsend\], allowed: .*\[smart_send\]"):
        resolve({}, {"smartsend": {}})


@pytest.mark.parametrize("document", [{"smart_send": 5}, {"sessions": 5}, {"sessions": {"main": 5}}])
def test_a_value_where_a_table_belongs_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"allowed: a table|allowed: tables"):
        resolve({}, document)


def test_variables_that_are_misspelt_are_found_and_others_left_alone() -> None:
    environ = {
        "SMART_SEND_BATCHDELAY": "1",
        "STORYCAST_URI": "x",
        "SMART_SEND_BATCH_DELAY": "1",
        "STORYCAST_CONFIG": "x",
        "STORYCAST_GRACE": "1",
        "PATH": "/bin",
        "MY_SMART_SEND_X": "1",
    }
    assert unknown_variables(environ) == ["SMART_SEND_BATCHDELAY", "STORYCAST_URI"]


# The reference


def test_every_setting_is_listed_once_with_a_description_and_what_is_allowed() -> None:
    listed = Settings().listed()
    names = [each.env for each in listed]
    assert len(set(names)) == len(names)
    assert set(ORIGINAL) < set(names)
    for each in listed:
        assert each.description.endswith("."), each.env
        assert each.allowed, each.env
        key = each.key.replace(".", "_").upper()
        assert each.env in {key, f"STORYCAST_{key}"}
        assert each.value == each.default


def test_what_is_listed_can_be_set_again_as_it_is_written() -> None:
    changed = {name: text for name, (_, text, _) in ORIGINAL.items()}
    listed = resolve(changed, {}).listed()
    again = resolve({each.env: each.value for each in listed}, {}).listed()
    assert [each.value for each in again] == [each.value for each in listed]
    assert {each.env: each.value for each in listed}.items() >= changed.items()


def test_a_session_may_have_an_engine_of_its_own_with_settings_over_those_of_all() -> None:
    document = {
        "storycast": {"engine": "waha"},
        "waha": {"url": "http://waha.example:3000", "timeout": 30},
        "sessions": {"main": {"batch_delay": 1, "waha": {"timeout": 60}}, "phone": {"engine": "neonize"}},
    }
    settings = resolve({"STORYCAST_WAHA_CONNECTIONS": "3"}, document)
    main, phone, other = (settings.of_session(name) for name in ("main", "phone", "other"))
    assert [each.engine for each in (main, phone, other)] == ["waha", "neonize", "waha"]
    assert [each.waha.timeout for each in (main, phone, other)] == [60, 30, 30]
    assert {each.waha.connections for each in (main, phone, other)} == {3}
    said = {each.env: (each.value, each.source) for each in settings.seen_by("phone").listed()}
    assert said["STORYCAST_ENGINE"] == ("neonize", "session")
    assert said["STORYCAST_WAHA_TIMEOUT"] == ("30", "storycast.toml")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"sessions": {"main": {"engine": "baileys"}}}, "engine under [sessions.main] in storycast.toml"),
        (
            {"sessions": {"main": {"waha": {"uri": "x"}}}},
            "[sessions.main.waha] in storycast.toml: found 'uri'",
        ),
        ({"waha": {"url": "waha:3000"}}, "like http://127.0.0.1:3000"),
    ],
)
def test_a_wrong_engine_or_setting_of_one_is_said_with_its_place(document: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        resolve({}, document)
    assert said in str(refused.value)


def test_an_api_key_is_shown_nowhere() -> None:
    settings = resolve({"STORYCAST_WAHA_API_KEY": "s3cret"}, {})
    assert settings.waha.api_key == "s3cret"
    assert {each.env: each.value for each in settings.listed()}["STORYCAST_WAHA_API_KEY"] == "(hidden)"
    assert "s3cret" not in repr(settings)
    with pytest.raises(SettingsError) as refused:
        resolve({"STORYCAST_WAHA_API_KEY": "s3cret" * 1_000}, {})
    assert "s3cret" not in str(refused.value)


def the_key(environ: Mapping[str, str], common: Mapping[str, str], own: Mapping[str, str]) -> tuple[str, str]:
    settings = resolve(environ, {"waha": common, "sessions": {"main": {"waha": own}}})
    waha = settings.of_session("main").waha
    return waha.api_key, waha.api_key_file


KEY, KEY_FILE = "STORYCAST_WAHA_API_KEY", "STORYCAST_WAHA_API_KEY_FILE"


@pytest.mark.parametrize(
    ("environ", "common", "own", "key"),
    [
        ({}, {"api_key": "toml"}, {"api_key_file": "/own"}, ("", "/own")),
        ({}, {"api_key_file": "/toml"}, {"api_key": "own"}, ("own", "")),
        ({KEY: "env"}, {}, {"api_key_file": "/own"}, ("", "/own")),
        ({KEY_FILE: "/env"}, {"api_key": "toml"}, {}, ("", "/env")),
        ({KEY: "env"}, {"api_key_file": "/toml"}, {}, ("env", "")),
        ({KEY: "env"}, {"api_key_file": "/toml"}, {"api_key": ""}, ("", "")),
        ({KEY: "", KEY_FILE: "/env"}, {"api_key": "toml"}, {"timeout": 5}, ("", "/env")),
        ({"STORYCAST_WAHA_TIMEOUT": "5"}, {"api_key": "toml"}, {}, ("toml", "")),
    ],
)
def test_a_key_is_over_the_other_way_to_give_it(
    environ: dict[str, str], common: dict[str, str], own: dict[str, str], key: tuple[str, str]
) -> None:
    assert the_key(environ, common, own) == key


def test_a_key_that_was_taken_back_says_by_what() -> None:
    settings = resolve({KEY_FILE: "/env"}, {"waha": {"api_key": "toml"}})
    assert sources(settings) == {KEY: "environment", KEY_FILE: "environment"}


def test_two_keys_in_one_place_are_refused_with_their_names() -> None:
    both = {"api_key": "s3cret", "api_key_file": "/key"}
    for document, place in (
        ({"waha": both}, "[waha]"),
        ({"sessions": {"main": {"waha": both}}}, "[sessions.main.waha]"),
    ):
        with pytest.raises(SettingsError, match="found both, allowed: one") as refused:
            resolve({}, document)
        assert str(refused.value).startswith(f"api_key and api_key_file under {place}")
        assert "s3cret" not in str(refused.value)
    with pytest.raises(SettingsError, match=f"^{KEY} and {KEY_FILE} in the environment: found both"):
        resolve({KEY: "s3cret", KEY_FILE: "/key"}, {})


PASSWORDS = [
    "nats://u:s3cret@h",
    "nats://s3cret@h:1",
    "nats://a:1,nats://u:s3cret@h:2",
    "nats://u:s3,cret@h",
    "nats://u:s3/cret@h@i:bad",
    "u:s3cret@h",
]


@pytest.mark.parametrize("url", PASSWORDS)
@pytest.mark.parametrize("table", ["storycast", "waha"])
def test_the_password_in_an_address_is_shown_nowhere(table: str, url: str) -> None:
    for value in (url, [url], {"a": url}):
        try:
            said = str(resolve({}, {table: {"url": value}}).listed())
        except SettingsError as refused:
            said = str(refused)
        assert not re.search("s3|cret", said)
        assert "@h" in said or "@i" in said or "found a table" in said


def test_of_an_address_without_password_all_is_shown() -> None:
    several = "nats://one:4222,tls://two:4223"
    assert {each.env: each.value for each in resolve({"STORYCAST_URL": several}, {}).listed()}[
        "STORYCAST_URL"
    ] == several


@pytest.mark.parametrize(
    ("value", "said"),
    [("s3cret", "a text"), (["s3cret"], "a list"), (True, "true or false"), (5, "a number")],
)
def test_of_what_is_no_table_only_the_type_is_said(value: Any, said: str) -> None:
    for document in (
        {"waha": value},
        {"sessions": value},
        {"sessions": {"main": value}},
        {"sessions": {"main": {"waha": value}}},
    ):
        with pytest.raises(SettingsError, match=rf"found {said}, allowed: (a table|tables)"):
            resolve({}, document)
