"""The loopback WAHA is one that tests can rely on: strict, and there for other processes too."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import trio

from stages.messages import Text
from tests.waha import Settings, open_loopback
from tests.waha.checks import problems_with
from transports.waha import Waha, open_waha

OWN = "628110000001@c.us"
TEXT = {
    "id": "3EB0AAAA",
    "contacts": [OWN, "628120000@c.us"],
    "text": "x",
    "backgroundColor": "#112233",
    "font": 0,
}
VOICE = {"contacts": [OWN], "convert": True, "backgroundColor": "#112233"}
WRONG: Mapping[str, tuple[str, dict[str, Any]]] = {
    "font is missing": ("text", {name: TEXT[name] for name in TEXT if name != "font"}),
    "colour is unknown": ("text", {**TEXT, "colour": "red"}),
    "contacts are missing": ("text", {**TEXT, "contacts": []}),
    "a contact is written wrongly": ("text", {**TEXT, "contacts": [OWN, "628120000@s.whatsapp.net"]}),
    "a contact is there twice": ("text", {**TEXT, "contacts": [OWN, "628120000@c.us", "628120000@c.us"]}),
    "the account itself is not among the contacts": ("text", {**TEXT, "contacts": ["628120000@c.us"]}),
    "id is no message id": ("text", {**TEXT, "id": "true_x"}),
    "file is no object": ("voice", VOICE | {"file": "x"}),
    "file has not one of url and data": ("image", {"contacts": [OWN], "file": {"mimetype": "image/png"}}),
    "file has no mimetype": ("image", {"contacts": [OWN], "file": {"url": "http://x"}}),
    "data is no base64": ("image", {"contacts": [OWN], "file": {"mimetype": "a/b", "data": "?"}}),
    "file has no filename": ("voice", VOICE | {"file": {"mimetype": "a/b", "data": "eHg="}}),
}
POST = """
import sys, trio
from stages.messages import Text
from transports.waha import Waha, open_waha

async def main():
    async with open_waha(Waha(url=sys.argv[1]), "main") as waha:
        await waha.send(Text(text="Hello"), ["6281200000000@s.whatsapp.net"], "3EB0AAAAAAAAAAAAAAAAAA")

trio.run(main)
"""


@pytest.mark.parametrize("problem", WRONG)
def test_a_malformed_call_is_seen_for_what_is_wrong_with_it(problem: str) -> None:
    kind, body = WRONG[problem]
    assert problems_with(kind, body, own=OWN, takes_ids=True) == [problem]


def test_a_well_formed_call_has_no_problems() -> None:
    assert problems_with("text", TEXT, own=OWN, takes_ids=True) == []
    assert problems_with("text", TEXT, own=OWN, takes_ids=False) == ["id is unknown"]


@pytest.mark.trio
async def test_another_process_can_post_while_the_server_is_in_this_one() -> None:
    async with open_loopback() as loopback:
        await trio.run_process([sys.executable, "-c", POST, loopback.url])
        assert [call.recipients for call in loopback.ledger.calls] == [("6281200000000@s.whatsapp.net",)]
        assert loopback.ledger.problems == []


@pytest.mark.trio
async def test_a_call_that_is_larger_than_waha_sends_in_one_piece_is_seen_as_split() -> None:
    async with open_loopback(Settings(part=10)) as loopback:
        async with open_waha(Waha(url=loopback.url), "main") as waha:
            people = [f"{number}@s.whatsapp.net" for number in range(628120000, 628120020)]
            await waha.send(Text(text="x"), people, "3EB0AAAAAAAAAAAAAAAAAA")
        assert [call.stanzas for call in loopback.ledger.calls] == [3]


@pytest.mark.trio
async def test_it_runs_by_itself_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "tests.waha", "--meets", "463 by WhatsApp"]
    async with trio.open_nursery() as nursery:
        server: trio.Process = await nursery.start(
            partial(trio.run_process, command, stdout=subprocess.PIPE, check=False)
        )
        assert server.stdout is not None
        url = (await server.stdout.receive_some()).decode().strip()
        async with open_waha(Waha(url=url), "main") as waha:
            assert (await waha.status()).state == "ready"
        server.send_signal(signal.SIGINT)
        assert await server.wait() == 0
