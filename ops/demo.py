"""The demonstration: a server, a worker, and two stories to thousands of simulated recipients.

The first one climbs the ladder; the second one, in the same session, starts where the first one arrived.
"""

from __future__ import annotations

from functools import partial

import msgspec
import trio
from msgspec import Struct
from rich.console import Console
from rich.markup import escape

from ops.display import details, display_for
from ops.exits import FAILED, SUCCESS, fail
from ops.serve import interruptible
from ops.stories import request_from, send_and_follow
from pipeline.client import Client, open_client
from pipeline.settings import Infrastructure, Settings
from pipeline.worker import run_worker
from stages.messages import Rejection, Report, SendRequest
from transports.bus import open_bus
from transports.server import open_server

SESSION = "demo"
MOST = 1_000_000
FAST = 20.0
BYTES_PER_RECIPIENT = 40
SMALLEST_PAYLOAD = 8 << 20


class Demo(Struct, frozen=True, kw_only=True):
    """What the demonstration is to show."""

    recipients: int = 5_000
    profile: str = "story-timings"
    strategy: str = "progressive"
    fast: bool = False
    json: bool = False


async def demo(wanted: Demo) -> int:
    """Run it; 0 if both stories were a success."""
    if not 1 <= wanted.recipients <= MOST:
        return fail(f"--recipients: found {wanted.recipients}, allowed: 1 to {MOST:,}")
    requests = [_request(wanted, f"story-{number}") for number in (1, 2)]
    own = Infrastructure(profile=wanted.profile, speed=FAST if wanted.fast else 1.0, grace=0)
    console = Console(stderr=wanted.json, highlight=False)
    payload = max(SMALLEST_PAYLOAD, wanted.recipients * BYTES_PER_RECIPIENT)
    async with (
        interruptible(),
        open_server(max_payload=payload) as server,
        open_bus(server.url, name="storycast worker") as bus,
        trio.open_nursery() as nursery,
    ):
        shutdown = trio.Event()
        await nursery.start(partial(run_worker, bus, Settings(storycast=own), shutdown=shutdown))
        async with open_client(server.url, name="storycast demo") as client:
            reports = await _show(client, requests, wanted, console)
        shutdown.set()
    if wanted.json:
        print(msgspec.json.format(msgspec.json.encode(reports)).decode())
    succeeded = [it for it in reports if isinstance(it, Report) and it.success]
    return SUCCESS if len(succeeded) == len(requests) else FAILED


async def _show(
    client: Client, requests: list[SendRequest], wanted: Demo, console: Console
) -> list[Report | Rejection]:
    reports: list[Report | Rejection] = []
    for request, what in zip(
        requests, ("the first story", "a second story in the same session"), strict=True
    ):
        if not wanted.json:
            console.print(
                f"\n[bold]{what}[/]: {wanted.recipients:,} recipients, profile {escape(wanted.profile)}, "
                f"strategy {wanted.strategy}, published on storycast.send.{SESSION}\n"
            )
        answer = await send_and_follow(client, request, display_for(console, silent=wanted.json))
        if answer is None:
            break  # the profile had the account restricted: the alert was shown
        reports.append(answer)
        if not wanted.json:
            console.print()
            console.print(details(answer) if isinstance(answer, Report) else answer.message)
    return reports


def _request(wanted: Demo, story: str) -> SendRequest:
    return request_from(
        {
            "storyId": story,
            "sessionId": SESSION,
            "content": {"type": "text", "text": "Hello from storycast!"},
            "recipients": [f"62812{number:08d}@s.whatsapp.net" for number in range(wanted.recipients)],
            "smartSendConfig": {"strategy": wanted.strategy},
        }
    )
