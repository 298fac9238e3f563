"""Ctrl-C, SIGTERM and SIGKILL: whenever they come, nothing is left behind and nobody reads a traceback."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.ops.support import (
    CTRL_C,
    PATIENCE,
    TRACE,
    Command,
    NatsServer,
    OnTerminal,
    leftovers,
    servers,
    wait_for_death,
)

AT_MOST = 5.0
"""Seconds within which whoever pressed Ctrl-C gets the prompt back."""

DEMO = ("demo", "--fast", "--recipients", "500")


@pytest.mark.parametrize(
    "moment",
    ["the first story", "anchor of 1", "batch 1 of", "a second story"],
)
def test_ctrl_c_ends_the_demo_with_130_whatever_it_is_at(tmp_path: Path, moment: str) -> None:
    with Command(*DEMO, home=tmp_path) as demo:
        demo.until(moment)
        demo.interrupt()
        ended = demo.end(AT_MOST)
    assert ended.code == 130
    assert ended.err == ""
    assert servers(tmp_path) == []
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("module", ["msgspec", "trio", "ops.cli"])
def test_ctrl_c_while_the_program_is_still_loading_ends_it_with_130(tmp_path: Path, module: str) -> None:
    with Command(*DEMO, home=tmp_path, python=["-X", "importtime"]) as demo:
        demo.until(f" {module}\n", stream="err")
        demo.interrupt()
        ended = demo.end(AT_MOST)
    said = [line for line in ended.err.splitlines() if not line.startswith("import time:")]
    assert said == []
    assert ended.code == 130
    assert servers(tmp_path) == []
    assert leftovers(tmp_path) == []


def test_ctrl_c_pressed_again_and_again_is_no_other_than_once(tmp_path: Path) -> None:
    with Command(*DEMO, home=tmp_path) as demo:
        demo.until("anchor of 1")
        for _ in range(5):
            demo.interrupt()
        ended = demo.end(AT_MOST)
    assert ended.code == 130
    assert ended.err == ""
    assert servers(tmp_path) == []


def test_sigterm_ends_the_demo_as_ctrl_c_does(tmp_path: Path) -> None:
    with Command(*DEMO, home=tmp_path) as demo:
        demo.until("anchor of 1")
        demo.process.terminate()
        ended = demo.end(AT_MOST)
    assert (ended.code, ended.err) == (130, "")
    assert servers(tmp_path) == []
    assert leftovers(tmp_path) == []


def test_a_demo_that_is_killed_leaves_no_server(tmp_path: Path) -> None:
    with Command(*DEMO, home=tmp_path) as demo:
        demo.until("anchor of 1")
        [server] = servers(tmp_path)
        demo.process.kill()
        assert demo.end().code == -signal.SIGKILL
        assert wait_for_death(server)
    assert servers(tmp_path) == []


# On a terminal


def test_on_a_terminal_the_demo_draws_a_live_view_and_the_reports_stay(tmp_path: Path) -> None:
    with OnTerminal("demo", "--fast", "--recipients", "300", home=tmp_path) as demo:
        ended = demo.end()
    assert ended.code == 0
    assert "\x1b[" in ended.out
    assert "━" in ended.out, "there is no progress bar"
    assert "batch 2 of 2" in ended.out
    assert "up to" in ended.out, "it does not say why the size changed"
    assert "demo/story-1: batch 1" not in ended.out, "it prints the lines that are for pipes"
    assert ended.out.count("completed: 300 of 300 sent in") == 2
    assert ended.out.rstrip().endswith("is proven now")


@pytest.mark.parametrize("moment", ["the first story", "anchor", "batch 1 of"])
def test_ctrl_c_on_a_terminal_ends_the_demo_and_leaves_the_screen_in_order(
    tmp_path: Path, moment: str
) -> None:
    with OnTerminal(*DEMO, home=tmp_path) as demo:
        demo.until(moment)
        demo.press(CTRL_C)
        ended = demo.end(AT_MOST)
    assert ended.code == 130
    assert "Traceback" not in ended.out
    hidden, shown = ended.out.rfind("\x1b[?25l"), ended.out.rfind("\x1b[?25h")
    assert shown >= hidden, "the cursor stays hidden"
    assert servers(tmp_path) == []
    assert leftovers(tmp_path) == []


# The other commands that wait


def test_ctrl_c_ends_send_that_waits_with_130(tmp_path: Path) -> None:
    waiting = ("send", "--text", "Hello", "--wait", "6281234567890")
    with NatsServer(tmp_path, config=TRACE) as server:
        server.make_streams()
        with Command(*waiting, "--url", server.url, home=tmp_path) as send:
            server.until("[HPUB storycast.send.main ", stream="err")  # and no worker will answer it
            send.interrupt()
            ended = send.end(AT_MOST)
    assert (ended.code, ended.err) == (130, "")


@pytest.mark.parametrize("options", [(), ("main", "--json")])
def test_ctrl_c_ends_watch_with_130(tmp_path: Path, options: tuple[str, ...]) -> None:
    with (
        NatsServer(tmp_path, config=TRACE) as server,
        Command("watch", *options, "--url", server.url, home=tmp_path) as watch,
    ):
        server.until("[PING]", stream="err", times=2)  # it has said hello, and that it listens
        watch.interrupt()
        ended = watch.end(AT_MOST)
    assert ended == (130, "", "")


@pytest.mark.parametrize(
    "arguments", [("worker",), ("doctor",), ("watch",), ("send", "--text", "Hello", "6281234567890")]
)
def test_ctrl_c_while_a_server_does_not_answer_ends_with_130(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        url = f"nats://127.0.0.1:{silent.getsockname()[1]}"
        # A connection that was not made yet is left to the end of the process, which says so to developers only.
        with Command(*arguments, "--url", url, home=tmp_path, settings={"PYTHONWARNINGS": ""}) as command:
            connection, _ = silent.accept()
            with connection:
                command.interrupt()
                ended = command.end(AT_MOST)
    assert ended == (130, "", "")
