"""What holds for every command: help, exit codes, an unreachable server, and readers that have seen enough."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.ops.support import (
    PATIENCE,
    Call,
    Command,
    Ended,
    environment,
    leftovers,
    servers,
)

COMMANDS = ("demo", "up", "worker", "send", "watch", "settings", "schema", "doctor", "bench scale")


def test_the_installed_command_lists_all_commands_and_the_exit_codes(tmp_path: Path) -> None:
    installed = shutil.which("storycast", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    assert installed is not None
    ended = subprocess.run(
        [installed, "--help"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    for command in COMMANDS:
        assert f"│ {command.split()[0]} " in ended.stdout
    for code in (
        "0 success",
        "1 a story failed",
        "2 usage or bad input",
        "3 NATS out of reach",
        "130 interrupted",
    ):
        assert code in ended.stdout


def test_without_a_command_the_help_is_shown(call: Call) -> None:
    ended = call()
    assert ended.code == 0
    assert "Usage: storycast COMMAND" in ended.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(call: Call, command: str) -> None:
    ended = call(*command.split(), "--help")
    assert (ended.code, ended.err) == (0, "")
    assert f"Usage: storycast {command}" in ended.out
    assert "--json" in ended.out


def test_the_version_is_that_of_the_distribution(call: Call) -> None:
    assert call("--version") == (0, f"{version('storycast')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("post",),
            'Unknown command "post". Available commands: demo, simulate, up,',
        ),
        (("demo", "--loud"), "Unknown option: --loud"),
        (("demo", "now"), "now"),
        (("schema", "xml"), 'Choose from: "json-schema", "asyncapi"'),
        (("up", "--port", "x"), 'Invalid value for --port: unable to convert "x" into int'),
        (("watch", "--url", "here"), "STORYCAST_URL"),
        (("watch", "one", "two"), "two"),
        (("worker", "--config", "missing.toml"), "missing.toml: there is no such file"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(
    call: Call, arguments: tuple[str, ...], said: str
) -> None:
    ended = call(*arguments)
    assert ended.code == 2
    assert said in " ".join(ended.err.replace("│", " ").split())
    assert ended.out == ""


def test_an_address_that_cannot_be_ends_with_2_and_is_named(call: Call) -> None:
    ended = call("watch", "--url", "nats://127.0.0.1:port")
    assert ended.code == 2
    assert "nats://127.0.0.1:port" in ended.err


# Readers that have seen enough


def stops_reading(home: Path, *arguments: str) -> Ended:
    """How a command ends of whose output only the first line is read, as with `| head -1`."""
    with Command(*arguments, home=home) as command:
        assert command.process.stdout is not None
        first = command.until("\n").partition("\n")[0]
        command.stop_reading()
        ended = command.end()
    return Ended(ended.code, first, ended.err)


@pytest.mark.parametrize("arguments", [("schema",), ("settings",)])
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ended = stops_reading(tmp_path, *arguments)
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.parametrize("arguments", [("schema",), ("schema", "asyncapi"), ("settings", "--json")])
def test_a_reader_that_is_gone_from_the_start_is_no_error(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with Command(*arguments, home=tmp_path) as command:
        command.stop_reading()
        ended = command.end()
    assert (ended.code, ended.err) == (0, "")


def test_a_demo_whose_reader_has_seen_enough_ends_without_a_traceback_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    ended = stops_reading(tmp_path, "demo", "--fast", "--recipients", "120")
    assert servers(tmp_path) == []
    assert leftovers(tmp_path) == []
    assert ended.err == ""
