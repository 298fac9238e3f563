"""The password in the address of NATS is in nothing that a command says."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio

from ops.pair import _resumed
from tests.ops.support import QUICK, Call, Command, NatsServer, unused_port

USER = "nats://somebody:s3cret@"


def with_user(url: str) -> str:
    return url.replace("nats://", USER)


@pytest.mark.parametrize("command", ["worker", "engine"])
def test_the_line_that_says_where_it_serves(command: str, tmp_path: Path) -> None:
    arguments = ("engine", "simulated") if command == "engine" else ("worker",)
    with NatsServer(tmp_path) as server:
        url = with_user(server.url)
        with Command(*arguments, home=tmp_path, settings={**QUICK, "STORYCAST_URL": url}) as running:
            running.until("Ctrl-C ends it")
            running.process.send_signal(signal.SIGTERM)
            ended = running.end()
    assert url.partition("@")[2] in ended.out
    assert "s3cret" not in ended.out + ended.err


def test_the_doctor_and_the_settings(call: Call, up_url: str) -> None:
    for command in ("doctor", "settings"):
        ended = call(command, "--json", env={"STORYCAST_URL": with_user(up_url)})
        assert up_url.partition("//")[2] in ended.out
        assert "s3cret" not in ended.out + ended.err


@pytest.mark.parametrize("command", ["doctor", "list", "workers"])
def test_what_is_out_of_reach(command: str, call: Call) -> None:
    ended = call(command, "--json", "--url", f"{USER}127.0.0.1:{unused_port()}")
    assert ended.code == 3
    assert "nats://...@127.0.0.1" in ended.out + ended.err
    assert "s3cret" not in ended.out + ended.err


def test_what_pairing_says_of_it() -> None:
    said = trio.run(_resumed, f"{USER}127.0.0.1:{unused_port()}", "main")
    assert "nats://...@127.0.0.1" in said
    assert "s3cret" not in said
