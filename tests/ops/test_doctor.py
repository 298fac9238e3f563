"""`storycast doctor` says what is wrong, and how to mend it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio

from stages.messages import Alert
from tests.nats_support import free_port
from tests.ops.support import Call, NatsServer, decoded, run
from transports.bus import open_bus
from transports.parking import park, unpark
from transports.subjects import (
    BUCKET_JOBS,
    BUCKET_LEASES,
    BUCKET_RECIPIENTS,
    BUCKET_SESSIONS,
    CONSUMERS,
    STREAM_EVENTS,
    STREAM_REJECTED,
    STREAM_SENDS,
)

THINGS = {
    *(f"stream {name}" for name in (STREAM_SENDS, STREAM_EVENTS, STREAM_REJECTED)),
    *(f"consumer {name}" for name in CONSUMERS.values()),
    *(f"bucket {name}" for name in (BUCKET_SESSIONS, BUCKET_JOBS, BUCKET_LEASES)),
    f"object store {BUCKET_RECIPIENTS}",
}


def checks(text: str) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in decoded(text)}


def test_all_is_well_where_a_worker_is(up_url: str, tmp_path: Path) -> None:
    ended = run("doctor", "--url", up_url, home=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert all(line.startswith("ok ") for line in ended.out.splitlines())
    for thing in THINGS | {"JetStream", "engine of main: simulated", "environment", "sessions"}:
        assert thing in ended.out


def test_json_has_an_object_for_each_thing_and_nothing_else_is_on_stdout(call: Call, up_url: str) -> None:
    ended = call("doctor", "--json", "--url", up_url)
    assert (ended.code, ended.err) == (0, "")
    found = checks(ended.out)
    assert set(found) == THINGS | {
        "server",
        "JetStream",
        "engine of main: simulated",
        "environment",
        "sessions",
        "suppression list",
    }
    assert all(check["ok"] for check in found.values())
    assert found["server"]["found"].startswith("nats-server 2.")


def test_a_fresh_server_lacks_the_streams_and_it_is_said_how_to_get_them(tmp_path: Path, call: Call) -> None:
    with NatsServer(tmp_path) as server:
        ended = run("doctor", "--url", server.url, home=tmp_path)
        by_json = call("doctor", "--json", "--url", server.url)
    assert (ended.code, by_json.code) == (1, 1)
    lines = ended.out.splitlines()
    for thing in THINGS:
        [number] = [
            number
            for number, line in enumerate(lines)
            if line.split() == ["WRONG", *thing.split(), "is", "missing"]
        ]
        assert (
            lines[number + 1].strip() == "mend: storycast worker (or storycast up) creates it when it starts"
        )
    wrong = {name for name, check in checks(by_json.out).items() if not check["ok"]}
    assert wrong == THINGS


def test_it_changes_nothing(tmp_path: Path, call: Call) -> None:
    with NatsServer(tmp_path) as server:
        first, second = (call("doctor", "--json", "--url", server.url) for _ in range(2))
    assert first == second


def test_a_server_without_jetstream_is_said_to_be_one(tmp_path: Path, call: Call) -> None:
    with NatsServer(tmp_path, jetstream=False) as server:
        ended = call("doctor", "--json", "--url", server.url)
    assert ended.code == 1
    check = checks(ended.out)["JetStream"]
    assert not check["ok"]
    assert "nats-server -js" in check["mend"]


def test_the_account_of_a_stopped_session_is_not_connected(call: Call, up_url: str, tmp_path: Path) -> None:
    data = tmp_path / "sessions"
    env = {
        "STORYCAST_ENGINE": "neonize",
        "STORYCAST_NEONIZE_DATA": str(data),
        "STORYCAST_NEONIZE_START_TIMEOUT": "20",
    }
    name = "engine of banned: neonize"
    asked = ("doctor", "--json", "--session", "banned", "--url", up_url)
    trio.run(_stop, up_url, "banned")
    try:
        found = checks(call(*asked, env=env).out)
        assert (found[name]["ok"], found[name]["found"]) == (True, "not asked while the session is stopped")
        assert not found["session banned"]["ok"]
        assert not data.exists()
    finally:
        trio.run(_resume, up_url, "banned")
    found = checks(call(*asked, env=env).out)
    assert "not asked" not in found[name]["found"]


def test_no_account_is_connected_where_nobody_can_tell_whether_it_is_stopped(
    call: Call, tmp_path: Path
) -> None:
    data = tmp_path / "sessions"
    env = {"STORYCAST_ENGINE": "neonize", "STORYCAST_NEONIZE_DATA": str(data)}
    ended = call("doctor", "--json", "--url", f"nats://127.0.0.1:{free_port()}", env=env)
    assert ended.code == 3
    assert "not known" in checks(ended.out)["engine of main: neonize"]["found"]
    assert not data.exists()


async def _stop(url: str, session: str) -> None:
    async with open_bus(url) as bus:
        alert = Alert(session_id=session, kind="account-restricted", reason="banned", at=datetime.now(UTC))
        await park(bus, alert)


async def _resume(url: str, session: str) -> None:
    async with open_bus(url) as bus:
        await unpark(bus, session)


@pytest.mark.parametrize(
    ("env", "name", "found"),
    [
        ({"SMART_SEND_STRATEGI": "fixed"}, "environment", "SMART_SEND_STRATEGI"),
        ({"STORYCAST_PROFILE": "sunny"}, "engine of main: simulated", "profile 'sunny'"),
        ({"STORYCAST_SUPPRESSION_FILE": "missing.txt"}, "suppression list", "missing.txt"),
    ],
)
def test_what_is_wrong_on_our_side_is_found_too(
    call: Call, up_url: str, env: dict[str, str], name: str, found: str
) -> None:
    ended = call("doctor", "--json", "--url", up_url, env=env)
    assert ended.code == 1
    wrong = {check["name"]: check for check in decoded(ended.out) if not check["ok"]}
    assert set(wrong) == {name}
    assert found in wrong[name]["found"]
    assert wrong[name]["mend"]
