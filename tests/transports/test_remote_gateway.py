"""The example of a gateway in another language keeps the contract: a worker sends over it as over any engine."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stages.engine import Capabilities, ContentKind
from stages.messages import Text
from tests.faults.processes import Child
from tests.nats_support import open_ear, open_nats, open_worker, publish_story, url_of
from tests.support import people
from transports.bus import Bus, Outbound
from transports.remote import open_remote

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


def packages() -> Path | None:
    """Where npm has put what the gateway needs: beside it, or where NODE_PATH says."""
    places = [EXAMPLES / "node_modules", *map(Path, filter(None, os.environ.get("NODE_PATH", "").split(":")))]
    return next((place for place in places if (place / "nats").is_dir()), None)


NODE, PACKAGES = shutil.which("node"), packages()
pytestmark = [
    pytest.mark.trio,
    pytest.mark.skipif(NODE is None, reason="node is not installed"),
    pytest.mark.skipif(PACKAGES is None, reason="no nats package for node: `npm install` in docs/examples"),
]


def gateway(bus: Bus, home: Path, name: str = "gateway") -> Child:
    """The example, running for the session `main`."""
    assert NODE is not None
    assert PACKAGES is not None
    script = home / "gateway.mjs"
    if not script.exists():
        shutil.copy(EXAMPLES / "gateway.mjs", script)
        (home / "node_modules").symlink_to(PACKAGES)  # an import looks nowhere else
    return Child(name, [NODE, script, "main", url_of(bus)], home, os.environ)


async def test_a_worker_sends_a_story_over_it(tmp_path: Path) -> None:
    everybody = people(150)
    unreachable = {jid for jid in everybody if jid.endswith("0@s.whatsapp.net")}
    async with open_nats() as bus, open_ear(bus, "storycast.report.>") as ear:
        with gateway(bus, tmp_path) as running:
            await running.until_says("serving the engine of session main")
            async with open_worker(bus, partial(open_remote, bus)):
                await publish_story(bus, "sale", everybody)
                [report] = await ear.until_reports(1)
    assert (report.state, report.sent_successfully) == ("completed", len(everybody) - len(unreachable))
    assert report.failure_reasons == dict.fromkeys(unreachable, "not-on-whatsapp")


async def test_it_is_found_by_tools_and_says_what_it_can_do(tmp_path: Path) -> None:
    async with open_nats() as bus:
        with gateway(bus, tmp_path) as running:
            await running.until_says("serving the engine")
            info = await bus.request(Outbound("$SRV.INFO.storycast-engine"))
            async with open_remote(bus, "main") as engine:
                able, status = engine.capabilities, await engine.status()
                chosen = await engine.send(Text(text="Hi"), people(3), None)
    found = msgspec.json.decode(info.data)
    assert found["metadata"]["session"] == "main"
    assert {endpoint["name"] for endpoint in found["endpoints"]} == {"send", "status", "audience"}
    kinds: frozenset[ContentKind] = frozenset({"text", "image"})
    assert able == Capabilities(reuses_message_id=True, targets_recipients=True, max_batch=5000, kinds=kinds)
    assert status.state == "ready"
    assert chosen.message_id.startswith("3EB0")


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (b"no JSON", "content-refused"),
        ({"mood": "good"}, "content-refused"),
        ({"targeted": False}, "unavailable"),
    ],
)
async def test_what_it_cannot_do_it_refuses_as_storycasts_own_service_does(
    tmp_path: Path, request_: Any, kind: str
) -> None:
    call = {
        "callId": "1",
        "content": {"type": "text", "text": "Hi"},
        "recipients": people(1),
        "deadlineMs": 1000,
    }
    data = request_ if isinstance(request_, bytes) else msgspec.json.encode(call | request_)
    async with open_nats() as bus:
        with gateway(bus, tmp_path) as running:
            await running.until_says("serving the engine")
            answer = await bus.request(Outbound("storycast.engine.main.send", data))
    assert msgspec.json.decode(answer.data)["kind"] == kind
    assert answer.headers["Nats-Service-Error-Code"] in {"400", "503"}


async def test_a_second_one_ends_and_names_the_first(tmp_path: Path) -> None:
    async with open_nats() as bus:
        with gateway(bus, tmp_path) as first:
            await first.until_says("serving the engine")
            with gateway(bus, tmp_path, "second") as second, pytest.raises(AssertionError) as ended:
                await second.until_says("serving the engine")
    assert f"main is served already by gateway.mjs, process {first.pid}" in str(ended.value)
