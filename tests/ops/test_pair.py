"""`storycast pair` links a session, shows how, and ends with a clear word whatever comes in between."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from ops.exits import run
from ops.pair import pair, phone_digits, qr
from stages.errors import BadRequest
from stages.messages import Alert
from tests.nats_support import open_nats, url_of
from tests.neonize.far_side import DEVICE
from tests.neonize.rig import NeonizeRig
from tests.ops.support import Command, Running, unused_port
from tests.support import EPOCH
from transports.neonize.client import Heard
from transports.neonize.store import open_store
from transports.parking import all_parked, park
from transports.streams import ensure

SCANNED = [
    Heard("Scan", "2@first"),
    Heard("Scan", "2@second"),
    Heard("PairStatus", "6281234567890@s.whatsapp.net"),
    Heard("Connected"),
]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[NeonizeRig]:
    found = NeonizeRig(tmp_path)
    found.far.set(account=None, greeting=SCANNED)
    yield found
    found.far.close()


def paired(rig: NeonizeRig, *, phone: str | None = None, timeout: float = 20, url: str = "") -> int:
    url = url or f"nats://127.0.0.1:{unused_port()}"

    async def main() -> int:
        return await pair(rig.options, url, "main", phone=phone, timeout=timeout, command=rig.command)

    return run(main)


def test_it_shows_each_code_and_whom_it_linked(rig: NeonizeRig, capsys: pytest.CaptureFixture[str]) -> None:
    assert paired(rig) == 0
    said = capsys.readouterr().out
    assert qr("2@first") in said
    assert qr("2@second") in said
    assert "Linked devices" in said
    assert "session main is linked to 628...90." in said
    assert "1234567" not in said


def test_the_code_can_be_typed_in_instead(rig: NeonizeRig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.far.set(greeting=SCANNED[:2])
    assert paired(rig, phone="+62 812-3456-7890", timeout=3) == 1
    said = capsys.readouterr()
    assert "CODE-7890" in said.out
    assert qr("2@first") not in said.out


def test_without_nats_it_says_what_to_do(rig: NeonizeRig, capsys: pytest.CaptureFixture[str]) -> None:
    assert paired(rig) == 0
    assert "storycast resume --session main" in capsys.readouterr().out


def test_a_session_that_was_stopped_is_served_again_once_it_is_linked_also_by_a_worker_to_come(
    rig: NeonizeRig, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = Alert(session_id="main", kind="session-lost", reason="logged out", at=EPOCH)

    async def main() -> int:
        async with open_nats() as bus:
            await ensure(bus)
            await park(bus, stopped)
            assert await all_parked(bus) == [stopped]
            code = await pair(rig.options, url_of(bus), "main", phone=None, timeout=20, command=rig.command)
            assert await all_parked(bus) == []
            return code

    assert trio.run(main) == 0
    assert "The next worker that runs serves it" in capsys.readouterr().out


def test_a_session_that_is_linked_stays_as_it_is(rig: NeonizeRig, capsys: pytest.CaptureFixture[str]) -> None:
    for greeting in (Heard("Connected"), Heard("Failed", "failed to dial: no such host")):
        rig.far.set(account=DEVICE, greeting=[greeting])
        assert paired(rig) == 0
        assert "linked to 628...01 already" in capsys.readouterr().out


def test_a_session_that_was_removed_on_the_phone_is_linked_again(
    rig: NeonizeRig, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.far.set(account=DEVICE, greeting=[Heard("LoggedOut", "logged out")], afterwards=SCANNED)
    assert paired(rig) == 0
    said = capsys.readouterr().out
    assert qr("2@first") in said
    assert "session main is linked to 628...90." in said


def test_a_session_that_a_worker_serves_is_left_to_it(
    rig: NeonizeRig, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.far.set(account=DEVICE, greeting=[Heard("Connected")])

    async def main() -> int:
        async with rig.open():
            return await pair(
                rig.options, "nats://127.0.0.1:1", "main", phone=None, timeout=20, command=rig.command
            )

    assert trio.run(main) == 1
    assert "in use by another process" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("greeting", "words"),
    [([], "internet"), ([Heard("Scan", "2@first")], "nobody used the code")],
)
def test_after_its_deadline_it_says_what_was_missing(
    rig: NeonizeRig, capsys: pytest.CaptureFixture[str], greeting: list[Heard], words: str
) -> None:
    rig.far.set(greeting=greeting)
    assert paired(rig, timeout=2) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (
            Heard("Failed", "failed to dial whatsapp web websocket: no such host"),
            "connection to the internet",
        ),
        (Heard("PairError", "invalid device signature"), "invalid device signature"),
        (Heard("ClientOutdated"), "pip install --upgrade neonize"),
    ],
)
def test_what_stands_in_the_way_is_said(
    rig: NeonizeRig, capsys: pytest.CaptureFixture[str], event: Heard, words: str
) -> None:
    rig.far.set(greeting=[event])
    assert paired(rig) == 1
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_a_missing_library_is_said(rig: NeonizeRig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.far.set(refuses="the neonize engine needs neonize: pip install 'storycast[neonize]'")
    assert paired(rig) == 1
    assert "storycast[neonize]" in capsys.readouterr().err


@pytest.mark.parametrize("written", ["0812345", "12", "+62x812", "main@s.whatsapp.net", ""])
def test_a_phone_number_that_is_none_names_field_and_what_is_allowed(written: str) -> None:
    with pytest.raises(BadRequest) as refusal:
        phone_digits(written)
    assert (refusal.value.field, refusal.value.found) == ("--phone", repr(written))
    assert "international form" in refusal.value.allowed


def test_a_phone_number_may_be_written_as_people_do() -> None:
    assert phone_digits(" +62 812-3456-7890 ") == phone_digits("6281234567890") == "6281234567890"


@pytest.mark.parametrize("arguments", [("--phone", "0812"), ("--session", "../x"), ("--timeout", "1000")])
def test_bad_input_ends_with_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with Command("pair", *arguments, home=tmp_path) as command:
        ended = command.end()
    assert ended.code == 2
    assert arguments[0] in ended.err + ended.out


WAITS = """
import sys
from pathlib import Path
from ops.exits import run
from ops.pair import pair
from tests.neonize.rig import NeonizeRig
rig = NeonizeRig(Path(sys.argv[1]))
sys.exit(run(lambda: pair(rig.options, "nats://127.0.0.1:1", "main", phone=None, timeout=60, command=rig.command)))
"""


def test_ctrl_c_ends_it_with_130_and_leaves_no_process(rig: NeonizeRig, tmp_path: Path) -> None:
    rig.far.set(greeting=SCANNED[:1])
    root = str(Path(__file__).parents[2])
    with Running(
        [sys.executable, "-c", WAITS, str(tmp_path)], tmp_path, settings={"PYTHONPATH": root}
    ) as waiting:
        waiting.until("Linked devices")
        waiting.interrupt()
        ended = waiting.end(10)
    assert (ended.code, ended.err) == (130, "")
    open_store(Path(rig.options.data), "main").close()  # nobody holds it any more
