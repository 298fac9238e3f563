"""`storycast worker`: serves requests from a server that is there, and logs what a stranger may read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ops.support import QUICK, Call, Command, Ended, NatsServer, json_lines, run

SECRET = "Nobody but my friends may know this"
PEOPLE = [f"628120000{number:04d}" for number in range(120)]
RESTRICTED = "[latency]\na = 0.0\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("worker")
    (home / "dead.toml").write_text(f'[numbers]\ndead = ["{PEOPLE[7]}@s.whatsapp.net"]\n')
    (home / "strict.toml").write_text("restricted_after_calls = 0\n")
    (home / "never.txt").write_text(f"# they asked for it\n+{PEOPLE[3]}\n")
    return home


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[NatsServer]:
    with NatsServer(home) as server:
        yield server


def send(server: NatsServer, home: Path, story: str, *recipients: str, session: str = "main") -> Ended:
    where = ("--url", server.url, "--session", session, "--story", story)
    return run("send", "--text", SECRET, "--wait", *where, *recipients, home=home)


@pytest.fixture(scope="module")
def worked(server: NatsServer, home: Path) -> Ended:
    """A worker that has sent, has refused, has been asked twice, and was then ended by Ctrl-C."""
    settings = QUICK | {"STORYCAST_PROFILE": "dead.toml", "STORYCAST_SUPPRESSION_FILE": "never.txt"}
    with Command("worker", "--url", server.url, home=home, settings=settings) as worker:
        worker.until("serving requests")
        assert send(server, home, "sale", *PEOPLE).code == 0
        assert send(server, home, "sale", *PEOPLE).code == 0
        assert send(server, home, "group", f"{PEOPLE[0]}-1600000000@g.us").code == 2
        assert send(server, home, f"for-{PEOPLE[0]}", f"{PEOPLE[0]}:12@s.whatsapp.net").code == 0
        worker.interrupt()
        return worker.end()


def test_ctrl_c_ends_a_worker_with_0(worked: Ended) -> None:
    assert worked.code == 0
    assert "Traceback" not in worked.err


def test_a_worker_says_whom_it_serves_and_how_to_end_it(worked: Ended, server: NatsServer) -> None:
    first, *_ = worked.out.splitlines()
    assert first == f"storycast: serving requests from {server.url}. Ctrl-C ends it."


def test_its_log_is_json_lines_on_stderr_with_one_for_each_story(worked: Ended) -> None:
    log = json_lines(worked.err)
    assert all({"at", "level", "event"} <= set(entry) for entry in log)
    counts: list[dict[str, Any]] = [entry for entry in log if entry["event"] == "story finished"]
    assert [(entry["session"], entry["total"]) for entry in counts] == [("main", 120), ("main", 1)]
    assert counts[0] | {"sent": 118, "failed": 1, "skipped": 1, "state": "completed"} == counts[0]
    assert [entry["code"] for entry in log if entry["event"] == "request refused"] == ["target-not-allowed"]


def test_no_phone_number_is_whole_in_its_log(worked: Ended) -> None:
    said = worked.err + worked.out
    assert [number for number in PEOPLE if number in said] == []
    assert '"story":"for-628...00"' in said


def test_no_content_is_in_its_log(worked: Ended) -> None:
    assert SECRET not in worked.err + worked.out


def test_a_session_that_stops_is_logged_as_an_error_and_others_go_on(server: NatsServer, home: Path) -> None:
    settings = QUICK | {"STORYCAST_PROFILE": "strict.toml"}
    with Command("worker", "--url", server.url, "--json", home=home, settings=settings) as worker:
        sending = ("send", "--text", SECRET, "--wait", "--url", server.url, "--session", "stopped", PEOPLE[0])
        with Command(*sending, home=home) as waiting:
            said = waiting.until("STOPPED")
        worker.until("alert", stream="err")
        dry = run(*sending[:-3], "--session", "other", "--dry-run", PEOPLE[0], home=home)
        worker.process.terminate()
        ended = worker.end()
    assert "stopped: STOPPED (account-restricted): server returned error 463" in said
    [entry] = [entry for entry in json_lines(ended.err) if entry["event"] == "alert"]
    assert entry | {"level": "error", "session": "stopped", "kind": "account-restricted"} == entry
    assert dry.code == 0
    assert (ended.code, ended.out) == (0, "")


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"STORYCAST_PROFILE": "sunny"}, "profile 'sunny': "),
        (
            {"SMART_SEND_STRATEGY": "guess"},
            "SMART_SEND_STRATEGY in the environment: found 'guess', allowed: ",
        ),
        ({"STORYCAST_SUPPRESSION_FILE": "nowhere.txt"}, "nowhere.txt"),
        (
            {"STORYCAST_ENGINE": "telegraph"},
            "STORYCAST_ENGINE in the environment: found 'telegraph', allowed: neonize | remote | simulated | waha",
        ),
    ],
)
def test_a_worker_with_a_bad_setting_ends_with_2_and_names_it(
    server: NatsServer, call: Call, env: dict[str, str], said: str
) -> None:
    ended = call("worker", "--url", server.url, env=env)
    assert ended.code == 2
    assert said in ended.err
