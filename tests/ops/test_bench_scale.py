"""`storycast bench scale` sends real stories to lists of several sizes, says what they cost, and leaves nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ops.bench.memory import peak_rss
from ops.bench.one_story import recipients
from tests.ops.support import Call, Command, decoded, leftovers, run, servers, wait_for_death

FOREIGN = {
    "STORYCAST_URL": "nats://127.0.0.1:1",
    "STORYCAST_PROFILE": "nowhere",
    "SMART_SEND_BATCH_DELAY": "60000",
}
LONG = ("bench", "scale", "--sizes", "300,3000000")
"""A second story that never ends in time for a test."""


def workers(home: Path) -> list[int]:
    """The workers whose temporary files go to `home`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command, environ = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            except OSError:  # it has ended meanwhile, or is somebody else's
                continue
            if b"\0worker\0" in command and f"TMPDIR={home}\0".encode() in environ:
                found.append(int(entry.name))
    return found


def test_each_size_is_a_story_that_reached_everybody_with_its_figures(tmp_path: Path) -> None:
    ended = run("bench", "scale", "--sizes", "1000,300", "--json", home=tmp_path, settings=FOREIGN)
    assert ended.code == 0, ended.err
    found = decoded(ended.out)
    assert [cost["recipients"] for cost in found["costs"]] == [300, 1000]
    for cost in found["costs"]:
        assert cost["seconds"] + 0.01 >= cost["engineSeconds"] >= 0  # calls are told in whole milliseconds
        assert cost["sendingSeconds"] > 0
        assert cost["microsPerRecipient"] == pytest.approx(cost["seconds"] / cost["recipients"] * 1e6)
        assert cost["batches"] >= 3
        assert cost["checkpoints"] >= cost["batches"]
        assert 0 < cost["largestCheckpoint"] < 10_000
        assert cost["workerPeak"] > 10_000_000
        assert cost["senderPeak"] > 10_000_000
    shortest, longest = (cost["microsPerRecipient"] for cost in found["costs"])
    assert found["growth"] == pytest.approx(longest / shortest)
    assert "VmHWM" in found["memoryFrom"]
    assert (servers(tmp_path), workers(tmp_path), leftovers(tmp_path)) == ([], [], [])


def test_people_get_a_row_for_each_size_and_how_time_grows(tmp_path: Path) -> None:
    ended = run("bench", "scale", "--sizes", "300,1000", home=tmp_path, settings=FOREIGN)
    assert (ended.code, ended.err) == (0, "")
    rows = [line.split() for line in ended.out.splitlines() if line.rstrip().endswith(" B")]
    assert [row[0] for row in rows] == ["300", "1,000"]
    assert "Time per recipient at 1,000 is " in ended.out
    assert " times that at 300." in ended.out


@pytest.mark.parametrize("sizes", ["", "0", "-5", "1e6", "300,", "5000001", "9" * 5_000, "٣٠٠,x"])
def test_sizes_that_cannot_be_are_refused_with_what_is_allowed(call: Call, sizes: str) -> None:
    ended = call("bench", "scale", f"--sizes={sizes}")
    assert (ended.code, ended.out) == (2, "")
    assert "--sizes: out-of-range: found '" in ended.err
    assert "allowed: numbers from 1 to 5,000,000, comma-separated" in ended.err


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_at_a_story_it_leaves_no_server_no_worker_and_no_file(
    tmp_path: Path, sign: signal.Signals
) -> None:
    with Command(*LONG, home=tmp_path) as bench:
        bench.until("sending to 3,000,000 recipients")
        assert len(workers(tmp_path)) == 1
        bench.process.send_signal(sign)
        ended = bench.end()
    assert (ended.code, ended.err) == (130, "")
    assert (servers(tmp_path), workers(tmp_path), leftovers(tmp_path)) == ([], [], [])


def test_killed_at_a_story_it_leaves_no_server_and_no_worker(tmp_path: Path) -> None:
    with Command(*LONG, home=tmp_path) as bench:
        bench.until("sending to 3,000,000 recipients")
        [server], [worker] = servers(tmp_path), workers(tmp_path)
        bench.process.kill()
        assert bench.end().code == -signal.SIGKILL
        assert wait_for_death(server)
        assert wait_for_death(worker)


def test_a_worker_that_dies_ends_the_measurement_with_what_it_said(tmp_path: Path) -> None:
    with Command(*LONG, home=tmp_path) as bench:
        bench.until("sending to 3,000,000 recipients")
        [worker] = workers(tmp_path)
        os.kill(worker, signal.SIGKILL)
        ended = bench.end()
    assert ended.code == 1
    assert "the worker ended while it was needed" in ended.err
    assert (servers(tmp_path), leftovers(tmp_path)) == ([], [])


def test_no_two_recipients_are_the_same() -> None:
    assert len(set(recipients(100_000))) == 100_000


def test_where_the_system_does_not_tell_the_peak_is_unknown() -> None:
    assert peak_rss(0) is None
