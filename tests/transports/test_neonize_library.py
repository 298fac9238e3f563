"""The real neonize, without a network: it loads, its panics stay in its process, and stories become its messages."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stages.errors import OutcomeUnknown, SessionLost
from stages.messages import Text
from tests.support import people
from transports.neonize import Neonize, open_linking, open_neonize
from transports.neonize.frames import NotLinked

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("neonize") is None, reason="the neonize extra is not installed"
)

PANICKING = (sys.executable, "-Wdefault", "-m", "tests.neonize.panicking_child")


def options(folder: Path, **fields: Any) -> Neonize:
    return Neonize(data=str(folder / "sessions"), start_timeout=30, restart_delay=0.05, **fields)


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    database = tmp_path_factory.mktemp("library") / "session.db"
    command = [sys.executable, "-Wdefault", "-m", "tests.neonize.library_facts", str(database)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60).stdout
    found: dict[str, Any] = json.loads(said)
    return found


@pytest.mark.trio
async def test_an_empty_store_is_a_lost_session(tmp_path: Path) -> None:
    async with open_neonize(options(tmp_path), "main") as engine:
        assert (await engine.status()).state == "lost"
        with pytest.raises(SessionLost, match="storycast pair --session main"):
            await engine.send(Text(text="Hi"), people(1), None)


@pytest.mark.trio
async def test_a_panic_of_the_go_core_ends_its_own_process_only_and_another_one_serves(
    tmp_path: Path,
) -> None:
    staging = options(tmp_path, targeting="contact-staging")
    async with open_neonize(staging, "main", command=PANICKING) as engine:
        for _ in range(2):
            with pytest.raises(OutcomeUnknown, match="panic"):
                await engine.send(Text(text="Hi"), people(1), None)
            await engine._supervisor.until(  # type: ignore[attr-defined]  # to wait for the restart
                lambda: engine._supervisor.standing.state == "ready",  # type: ignore[attr-defined]  # the same
                20,
            )
            assert (await engine.status()).state == "ready"


@pytest.mark.trio
async def test_without_a_network_linking_ends_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Wherever the tests run, WhatsApp is not asked.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with open_linking(options(tmp_path), "main") as steps:
        found = [step async for step in steps]
    assert len(found) == 1
    assert isinstance(found[0], NotLinked)
    assert "failed to dial" in found[0].reason


def test_nothing_of_it_is_loaded_in_the_process_of_the_engine() -> None:
    code = (
        "import ops.cli, transports.neonize, sys; print([n for n in sys.modules if n.startswith('neonize')])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE).stdout == b"[]\n"


def test_the_installed_version_takes_neither_ids_nor_recipients(facts: dict[str, Any]) -> None:
    assert (facts["ids"], facts["recipients"]) == (False, False)


def test_a_text_keeps_its_colours_and_its_font(facts: dict[str, Any]) -> None:
    text = facts["text"]["extendedTextMessage"]
    assert text["text"] == "Hi"
    assert text["backgroundArgb"] == 0xFF38B42F
    assert text["font"] == 2
    assert facts["odd font"]["extendedTextMessage"]["font"] == 0


def test_media_is_uploaded_as_what_the_request_says_it_is(facts: dict[str, Any]) -> None:
    assert facts["uploads"] == ["MediaImage", "MediaImage", "MediaImage", "MediaVideo", "MediaAudio"]
    image, video, voice = (
        facts["image"]["imageMessage"], facts["video"]["videoMessage"], facts["voice"]["audioMessage"],
    )  # fmt: skip
    assert (image["caption"], image["mimetype"], image["width"], image["height"]) == (
        "c",
        "image/png",
        640,
        320,
    )
    assert image["JPEGThumbnail"]
    assert (video["caption"], video["mimetype"]) == ("c", "video/mp4")
    assert (voice["PTT"], voice["mimetype"]) == (True, "audio/ogg; codecs=opus")


def test_no_story_fails_for_want_of_a_thumbnail(facts: dict[str, Any]) -> None:
    assert "JPEGThumbnail" not in facts["no image"]["imageMessage"]
    assert "JPEGThumbnail" not in facts["half an image"]["imageMessage"]


def test_devices_that_were_left_out_are_taken_from_its_log_by_message(facts: dict[str, Any]) -> None:
    assert facts["dropped"] == ["6281200000001@s.whatsapp.net"]
    assert facts["notes"][-1] == "Something else that people should know"
    assert not [note for note in facts["notes"] if "628120000" in note]
