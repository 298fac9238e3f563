"""`storycast up`: a server and a worker in one command, whose data outlive it."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stages.messages import Report
from tests.ops.support import QUICK, Command, leftovers, run, servers, unused_port, wait_for_death
from transports.simulated.record import read_record

SEND = ("send", "--text", "Hello", "--wait", "--json", "--recipients", "-")
PEOPLE = "\n".join(f"+62 812-0000-0{number:03d}" for number in range(150))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up")


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Command]:
    """One that runs while the others try to start; its port is the last word of its address."""
    with Command("up", "--data", "kept", "--port", str(unused_port()), home=home, settings=QUICK) as up:
        up.until("serving requests")
        yield up


def address(up: Command) -> str:
    """Where it says that its server is."""
    return next(word for word in up.out.split() if word.startswith("nats://")).rstrip(",")


def send(home: Path, story: str, url: str) -> Report:
    ended = run(*SEND, "--story", story, "--url", url, home=home, stdin=PEOPLE)
    assert ended.code == 0, ended.err
    return msgspec.json.decode(ended.out, type=Report)


def test_up_says_where_its_server_is_where_its_data_are_and_how_to_end_it(running: Command) -> None:
    said = r"storycast: nats-server on nats://127\.0\.0\.1:\d+, data in kept; serving requests\. Ctrl-C ends it\.\n"
    assert re.fullmatch(said, running.until("ends it.\n"))
    assert running.err == ""


def test_a_second_up_on_the_same_data_ends_with_3_and_says_so(running: Command, home: Path) -> None:
    ended = run("up", "--data", "kept", "--port", str(unused_port()), home=home)
    assert ended.code == 3
    assert f"storycast: another nats-server uses the store {home}/kept" in ended.err
    assert "Traceback" not in ended.err
    assert running.process.poll() is None


def test_a_second_up_on_the_same_port_ends_with_3_and_says_so(running: Command, home: Path) -> None:
    ended = run("up", "--data", "other", "--port", address(running).rpartition(":")[2], home=home)
    assert ended.code == 3
    assert "address already in use" in ended.err
    assert f"{home}/other/nats-server.log ends:" in ended.err
    assert "Traceback" not in ended.err
    assert len(servers(home)) == 1


def test_data_that_cannot_be_written_end_with_3_and_name_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = run("up", "--data", "file/data", "--port", str(unused_port()), home=tmp_path)
    assert ended.code == 3
    assert f"{tmp_path}/file/data" in ended.err
    assert "Traceback" not in ended.err


def test_after_a_restart_sessions_know_what_they_learned_and_stories_get_their_first_report(
    tmp_path: Path,
) -> None:
    port = str(unused_port())
    reports = []
    for story in ("first", "second"):
        with Command("up", "--port", port, home=tmp_path, settings=QUICK) as up:
            up.until("serving requests")
            reports += [send(tmp_path, "first", address(up)), send(tmp_path, story, address(up))]
            up.process.terminate()
            ended = up.end()
        assert ended.code == 0
        assert servers(tmp_path) == []
    first, again, after_restart, second = reports
    assert first.sent_successfully == 150
    assert again == first
    assert after_restart == first
    assert not first.session_learning.used_historical_data
    assert second.session_learning.used_historical_data
    assert second.message_id != first.message_id
    assert (tmp_path / "storycast-data" / "jetstream").is_dir()
    assert leftovers(tmp_path) == []


def test_up_leaves_a_story_at_its_checkpoint_when_told_to_end_and_goes_on_from_there(tmp_path: Path) -> None:
    record, port = tmp_path / "record", str(unused_port())
    settings = {
        "STORYCAST_PROFILE": "calm",
        "STORYCAST_DATA": "where-i-said",
        "STORYCAST_RECORD": str(record),
    }
    with Command("up", "--port", port, home=tmp_path, settings=settings) as up:
        up.until("serving requests")
        arguments = ("send", "--text", "Hello", "--wait", "--url", address(up), "--recipients", "-")
        with Command(*arguments, home=tmp_path, stdin=PEOPLE) as waiting:
            waiting.until("anchoring")
            up.process.terminate()
            ended = up.end()
            with Command("up", "--port", port, home=tmp_path, settings=settings):
                sent = waiting.end()
    assert (ended.code, sent.code) == (0, 0)
    assert "storycast: ending; calls under way get to finish, stories go on later." in ended.out
    assert "completed: 150 of 150 sent" in sent.out
    assert set(read_record(record).times_sent().values()) == {1}
    assert (tmp_path / "where-i-said").is_dir()


def test_a_second_ctrl_c_ends_up_without_waiting_for_stories(tmp_path: Path) -> None:
    (tmp_path / "endless.toml").write_text("[latency]\na = 3000\n[timeout]\nseconds = 4000\n")
    settings = {
        "STORYCAST_PROFILE": "endless.toml",
        "STORYCAST_CALL_TIMEOUT": "3600",
        "STORYCAST_GRACE": "3600",
    }
    with Command("up", "--port", str(unused_port()), home=tmp_path, settings=settings) as up:
        up.until("serving requests")
        arguments = ("send", "--text", "Hello", "--wait", "--url", address(up), "6281234567890")
        with Command(*arguments, home=tmp_path) as waiting:
            waiting.until("sending")
            up.interrupt()
            up.until("Once more ends at once")
            up.interrupt()
            ended = up.end()
    assert ended.code == 0
    assert "Traceback" not in ended.err
    assert servers(tmp_path) == []


def test_up_with_json_keeps_stdout_free(tmp_path: Path) -> None:
    port = str(unused_port())
    with Command("up", "--json", "--port", port, home=tmp_path, settings=QUICK) as up:
        # It does not say when it is ready, so whoever needs that has to ask.
        while run(*SEND, "--url", f"nats://127.0.0.1:{port}", home=tmp_path, stdin=PEOPLE).code != 0:
            assert up.process.poll() is None
        [server] = servers(tmp_path)
        up.process.send_signal(signal.SIGINT)
        ended = up.end()
    assert (ended.code, ended.out) == (0, "")
    assert wait_for_death(server)
