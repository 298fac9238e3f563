"""`storycast watch` shows what happens, as it happens: all of it, or that of one session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.ops.support import QUICK, TRACE, Call, Command, Ended, NatsServer, json_lines, run

PEOPLE = "\n".join(str(6281200000000 + number) for number in range(120))


class Watched(NamedTuple):
    """What three watchers said of the same three requests."""

    everything: str
    one_session: str
    as_json: str
    stderr: str
    sent: list[Ended]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    home = tmp_path_factory.mktemp("watch")
    with (
        NatsServer(home, config=TRACE) as server,
        Command("worker", "--url", server.url, home=home, settings=QUICK) as worker,
        Command("watch", "--url", server.url, home=home) as everything,
        Command("watch", "one", "--url", server.url, home=home) as one_session,
        Command("watch", "one", "--json", "--url", server.url, home=home) as as_json,
    ):
        # They listen to alerts last of all.
        server.until("[SUB storycast.alerts.> ", stream="err")
        server.until("[SUB storycast.alerts.one ", stream="err", times=2)
        worker.until("serving requests")
        send = ("send", "--text", "Hi", "--wait", "--url", server.url)
        sent = [
            run(*send, "--session", "two", "--story", "theirs", home=home, stdin=PEOPLE),
            run(*send, "--session", "one", "--story", "group", "1@g.us", home=home),
            run(*send, "--session", "one", "--story", "ours", home=home, stdin=PEOPLE),
        ]
        everything.until("one/ours: completed: 120 of 120 sent")
        one_session.until("one/ours: completed: 120 of 120 sent")
        as_json.until('"sessionLearning"')
        stderr = everything.err + one_session.err + as_json.err
        yield Watched(everything.out, one_session.out, as_json.out, stderr, sent)


def test_watch_shows_every_session(watched: Watched) -> None:
    assert [ended.code for ended in watched.sent] == [0, 2, 0]
    for story in ("one/ours", "two/theirs"):
        assert f"{story}: anchor of 1 sent in " in watched.everything
        assert f"{story}: batch 1 of 100 sent in " in watched.everything
        assert f"{story}: completed: 120 of 120 sent in " in watched.everything
    assert "two: next 100 a batch: nothing is proven yet" in watched.everything
    assert "one: refused: recipients[0]: target-not-allowed: found a group" in watched.everything


def test_watch_of_a_session_shows_all_of_it_and_nothing_of_another(watched: Watched) -> None:
    lines = watched.one_session.splitlines()
    assert {line.partition(":")[0] for line in lines} == {"one", "one/ours"}
    assert sorted(lines) == sorted(line for line in watched.everything.splitlines() if line.startswith("one"))


def test_watch_json_is_an_object_a_line_for_every_line_that_people_see(watched: Watched) -> None:
    events = json_lines(watched.as_json)
    assert {event["sessionId"] for event in events} == {"one"}
    assert len(events) == len(watched.one_session.splitlines())
    states = [event["state"] for event in events if event.get("event") == "story-send-progress"]
    assert (states[0], states[-1]) == ("anchoring", "completed")
    assert 100 in [event["size"] for event in events if "gapMs" in event]
    assert [event["code"] for event in events if "code" in event] == ["target-not-allowed"]
    assert [event["sentSuccessfully"] for event in events if "sessionLearning" in event] == [120]


def test_watch_complains_of_nothing(watched: Watched) -> None:
    assert watched.stderr == ""


@pytest.mark.parametrize("session", ["a b", ""])
def test_watch_of_a_session_that_cannot_be_is_a_mistake(call: Call, up_url: str, session: str) -> None:
    ended = call("watch", session, "--url", up_url)
    assert ended.code == 2
    assert "allowed: 1-64 letters" in ended.err
