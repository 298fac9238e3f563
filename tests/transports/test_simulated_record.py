"""The record of simulated engines: it outlives processes, is shared by them, and says exactly who got what."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import anyio
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as some

from pipeline.engines import engine_opener
from pipeline.resolution import SettingsError
from pipeline.settings import Infrastructure, Settings
from stages.engine import Receipt
from stages.errors import OutcomeUnknown, Unavailable
from stages.messages import Text
from tests.support import on_virtual_time, people
from transports.simulated import Profile, Recording, SimulatedEngine, read_record
from transports.simulated.profile import Latency, Numbers, Timeout, Window
from transports.simulated.record import packed, unpacked

HELLO = Text(text="Hello!")
TEN = people(10)
NUMBERED = some.integers(6281000, 6281020).map("{}@s.whatsapp.net".format)
ANYBODY = NUMBERED | some.integers(6281000, 6281020).map("{}@lid".format) | some.text(max_size=8)

IN_ITS_OWN_PROCESS = """
import sys, time, trio
from pathlib import Path
from stages.messages import Text
from transports.simulated import Profile, Recording, SimulatedEngine
from transports.simulated.profile import Latency

async def main():
    engine = SimulatedEngine(
        Profile(latency=Latency(a=0, b=float(sys.argv[2]))),
        recording=Recording(path=Path(sys.argv[1]), session=sys.argv[3], clock=time.time),
    )
    for message_id in sys.argv[4:]:
        await engine.send(Text(text="Hello!"), ["6281@s.whatsapp.net", "6282@s.whatsapp.net"], message_id)

trio.run(main)
"""


def recording(path: Path, session: str = "main") -> Recording:
    ticks = count(100)
    return Recording(path=path, session=session, clock=lambda: float(next(ticks)))


def send(path: Path, profile: Profile, message_id: str = "A") -> Receipt:
    engine = SimulatedEngine(profile, recording=recording(path))
    return on_virtual_time(lambda: engine.send(HELLO, TEN, message_id))


def in_process(path: Path, seconds: float, session: str, *message_ids: str) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", IN_ITS_OWN_PROCESS, str(path), str(seconds), session, *message_ids]
    return subprocess.Popen(arguments)


def test_a_call_has_session_process_times_recipients_and_outcome(tmp_path: Path) -> None:
    send(tmp_path / "record", Profile())
    [call] = read_record(tmp_path / "record").calls
    assert (call.pid, call.session, call.message_id) == (os.getpid(), "main", "A")
    assert (call.began, call.ended, call.outcome) == (100, 101, "sent")
    assert call.recipients == TEN
    assert call.reached == frozenset(TEN)


def test_who_was_not_reached_has_not_seen_it(tmp_path: Path) -> None:
    send(tmp_path / "record", Profile(numbers=Numbers(dead=(TEN[0],))))
    record = read_record(tmp_path / "record")
    assert record.seen() == record.perhaps_seen() == {jid: {"A"} for jid in TEN[1:]}


@pytest.mark.parametrize(("delivers", "seen"), [(0, {}), (1, {jid: {"A"} for jid in TEN})])
def test_a_call_with_an_unknown_outcome_is_recorded_as_it_was(
    tmp_path: Path, delivers: float, seen: dict[str, set[str]]
) -> None:
    profile = Profile(latency=Latency(a=99), timeout=Timeout(seconds=1, delivers=delivers))
    with pytest.raises(OutcomeUnknown):
        send(tmp_path / "record", profile)
    record = read_record(tmp_path / "record")
    assert record.seen() == seen
    assert record.times_sent() == dict.fromkeys(TEN, 1)


def test_a_failure_that_reached_nobody_is_no_sending(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        send(tmp_path / "record", Profile(outages=(Window(start=0, end=9),)))
    record = read_record(tmp_path / "record")
    assert (record.calls[0].outcome, record.times_sent(), record.seen()) == ("unavailable", {}, {})


def test_a_cancelled_call_has_an_end_and_reached_nobody(tmp_path: Path) -> None:
    engine = SimulatedEngine(Profile(latency=Latency(a=9)), recording=recording(tmp_path / "record"))

    async def main() -> None:
        with anyio.move_on_after(1):
            await engine.send(HELLO, TEN, "A")

    on_virtual_time(main)
    [call] = read_record(tmp_path / "record").calls
    assert (call.outcome, call.reached, call.is_cut) == ("cancelled", frozenset(), False)


def test_an_end_is_written_before_the_caller_knows(tmp_path: Path) -> None:
    engine = SimulatedEngine(Profile(), recording=recording(tmp_path / "record"))
    found = []

    async def main() -> None:
        await engine.send(HELLO, TEN, "A")
        found.append(read_record(tmp_path / "record").calls[0].is_cut)

    on_virtual_time(main)
    assert found == [False]


def test_a_killed_process_leaves_a_call_that_began_and_never_ended(tmp_path: Path) -> None:
    with in_process(tmp_path / "record", 99, "main", "A") as process:
        while not read_record(tmp_path / "record").calls:
            assert process.poll() is None
        process.kill()
    assert process.returncode == -signal.SIGKILL
    record = read_record(tmp_path / "record")
    assert (record.calls[0].is_cut, record.seen()) == (True, {})
    assert record.perhaps_seen() == {"6281@s.whatsapp.net": {"A"}, "6282@s.whatsapp.net": {"A"}}


def test_processes_share_a_file_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "record"
    ids = [f"{number:X}" for number in range(50)]
    processes = [in_process(path, 0, session, *ids) for session in "abcd"]
    assert [process.wait(30) for process in processes] == [0] * 4
    record = read_record(path)
    assert len({call.pid for call in record.calls}) == 4
    for session in "abcd":
        assert [(call.message_id, call.outcome) for call in record.of(session).calls] == [
            (one, "sent") for one in ids
        ]


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "record"
    send(path, Profile())
    text = path.read_bytes()
    path.write_bytes(text + text[: len(text) // 3])
    send(path, Profile(), "B")
    assert [(call.message_id, call.outcome) for call in read_record(path).calls] == [
        ("A", "sent"),
        ("B", "sent"),
    ]


def test_twenty_thousand_consecutive_numbers_are_one_short_line(tmp_path: Path) -> None:
    assert packed(people(20_000)) == [f"{people(1)[0].partition('@')[0]}..{people(20_000)[-1]}"]


@given(some.lists(ANYBODY))
def test_what_is_packed_comes_out_as_it_was(recipients: list[str]) -> None:
    unambiguous = [recipient for recipient in recipients if ".." not in recipient]
    assert unpacked(packed(unambiguous)) == unambiguous


def test_nothing_is_recorded_unless_the_setting_says_so(tmp_path: Path) -> None:
    for name in ("", str(tmp_path / "record")):
        settings = Settings(storycast=Infrastructure(record=name, speed=1000))
        trio.run(_send, settings)
    assert [path.name for path in tmp_path.iterdir()] == ["record"]
    assert len(read_record(tmp_path / "record").calls) == 1


def test_a_record_that_cannot_be_written_stops_the_worker_from_starting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"STORYCAST_RECORD: .*nowhere"):
        engine_opener(Settings(storycast=Infrastructure(record=str(tmp_path / "nowhere" / "record"))), None)


def test_a_record_that_can_no_longer_be_written_sends_nothing(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be written"):
        send(tmp_path / "nowhere" / "record", Profile())


async def _send(settings: Settings) -> None:
    async with engine_opener(settings, None)("main") as engine:
        await engine.send(HELLO, TEN, "A")
