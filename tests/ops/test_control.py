"""`storycast pause|resume|cancel|status|list|workers`: orders that count, overviews that are true, words and codes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.ops.support import PATIENCE, Call, Ended, NatsServer, decoded

ORDERS = ("pause", "resume", "cancel", "status")


@pytest.fixture
def session() -> str:
    """One that no other test has."""
    return f"s{uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def deserted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server without any worker."""
    with NatsServer(tmp_path_factory.mktemp("deserted")) as server:
        yield server.url


def until(ask: Callable[[], Ended], is_it: Callable[[Ended], bool]) -> Ended:
    """Ask again and again until the answer is the one that must come."""
    deadline = time.monotonic() + PATIENCE
    while not is_it(ended := ask()):
        assert time.monotonic() < deadline, f"still {ended}"
    return ended


def send(call: Call, url: str, session: str, *more: str) -> Ended:
    arguments = ("send", "--text", "Hi", "--session", session, "--story", "sale", "--url", url)
    return call(*arguments, *more, "6281234567890", "6281234567891")


def served(ended: Ended, session: str) -> dict[str, Any]:
    """What `list --json` says of a session."""
    assert (ended.code, ended.err) == (0, "")
    found: list[dict[str, Any]] = [each for each in decoded(ended.out) if each["sessionId"] == session]
    return found[0] if found else {}


def test_a_story_is_paused_listed_resumed_and_finished_in_plain_words(
    call: Call, up_url: str, session: str
) -> None:
    at = ("--url", up_url)
    assert call("status", session, "sale", *at) == (0, "story sale is unknown\n", "")
    assert call("pause", session, "sale", *at) == (0, "story sale is paused\n", "")
    assert send(call, up_url, session).code == 0
    listed = until(lambda: call("list", *at), lambda ended: session in ended.out and "paused" in ended.out)
    heading, *rows = [line.split() for line in listed.out.splitlines()]
    assert heading == ["session", "story", "state", "waiting", "worker"]
    [row] = [row for row in rows if row[0] == session]
    assert row[1:3] == ["sale", "paused"]
    worker = row[3]
    workers = call("workers", *at)
    assert workers.code == 0
    assert any(line.startswith(worker) for line in workers.out.splitlines())
    assert session in "".join(workers.out.split())  # a long list of sessions takes several lines
    said = call("resume", session, "sale", *at)
    assert said == (0, f"story sale is waiting (worker {worker})\n", "")
    ended = until(lambda: call("status", session, "sale", *at), lambda ended: "finished" in ended.out)
    assert ended == (0, f"story sale is finished (worker {worker})\n", "")


def test_a_story_is_paused_listed_cancelled_and_finished_as_json(
    call: Call, up_url: str, session: str
) -> None:
    at = ("--json", "--url", up_url)
    paused = decoded(call("pause", session, "sale", *at).out)
    assert (paused["sessionId"], paused["storyId"], paused["state"]) == (session, "sale", "paused")
    assert send(call, up_url, session).code == 0
    listed = until(lambda: call("list", *at), lambda ended: bool(served(ended, session).get("paused")))
    its = served(listed, session)
    assert (its["paused"], its["storyId"], its["waiting"]) == (["sale"], None, 0)
    [worker] = decoded(call("workers", *at).out)
    assert session in [each["sessionId"] for each in worker["sessions"]]
    assert {"worker", "host", "pid", "since"} <= set(worker)
    assert decoded(call("cancel", session, "sale", *at).out)["state"] in {"cancelling", "finished"}
    ended = until(
        lambda: call("status", session, "sale", *at), lambda ended: decoded(ended.out)["state"] == "finished"
    )
    assert decoded(ended.out)["reason"] == "cancelled"
    repeated = send(call, up_url, session, "--wait", "--json")
    assert repeated.code == 1, repeated
    assert decoded(repeated.out)["skips"] == {"cancelled": 2}


def test_a_cancelled_story_is_not_resumed_and_it_is_said_why(call: Call, up_url: str, session: str) -> None:
    assert call("cancel", session, "sale", "--url", up_url).out == "story sale is cancelling\n"
    ended = call("resume", session, "sale", "--url", up_url)
    assert ended == (1, "", "storycast: it is cancelled, and will not go on\n")


def test_a_session_that_was_not_stopped_can_be_resumed_all_the_same(
    call: Call, up_url: str, session: str
) -> None:
    ended = call("resume", session, "--url", up_url)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"session {session} is waiting; it was not stopped\n"


# What is wrong


@pytest.mark.parametrize("json", [(), ("--json",)], ids=["plain", "json"])
@pytest.mark.parametrize("command", ORDERS)
def test_an_order_without_any_worker_ends_with_3_and_says_so(
    call: Call, deserted: str, command: str, json: tuple[str, ...]
) -> None:
    ended = call(command, "main", "sale", "--url", deserted, *json)
    verb = "tell the status of" if command == "status" else command
    problem, hint = ended.err.splitlines()
    assert (ended.code, ended.out) == (3, "")
    assert problem == f"storycast: no worker is running that could {verb} story sale"
    assert "`storycast up` starts one" in hint


@pytest.mark.parametrize("command", ["list", "workers"])
def test_an_overview_without_any_worker_ends_with_3_and_says_so(
    call: Call, deserted: str, command: str
) -> None:
    said = "storycast: no worker is running\n"
    assert call(command, "--url", deserted) == (3, "", said)
    assert call(command, "--url", deserted, "--json") == (3, "[]\n", said)


@pytest.mark.parametrize("command", ORDERS)
@pytest.mark.parametrize(
    ("names", "field"),
    [
        (("bad.session", "sale"), "sessionId"),
        (("", "sale"), "sessionId"),
        (("x" * 65, "sale"), "sessionId"),
        (("main", "bad story"), "storyId"),
        (("main", "*"), "storyId"),
        (("main", "x" * 129), "storyId"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_name_that_cannot_be_ends_with_2_and_is_named(
    call: Call, up_url: str, command: str, names: tuple[str, str], field: str
) -> None:
    ended = call(command, *names, "--url", up_url)
    assert (ended.code, ended.out) == (2, "")
    assert field in ended.err
    assert "letters, digits" in ended.err


@pytest.mark.parametrize(
    "arguments", [("pause", "main"), ("cancel",), ("status", "main"), ("resume",), ("list", "main")]
)
def test_names_that_are_missing_or_too_many_end_with_2(call: Call, arguments: tuple[str, ...]) -> None:
    ended = call(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err
