"""Stories through the whole pipeline: NATS, a worker, the neonize engine in its own process, WhatsApp on loopback.

`Scene.reckon` is the promise that all of them are held to: nobody was sent a story twice, and the report is true.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from ops import pair as pair_module
from ops.pair import pair
from pipeline.client import open_client
from pipeline.settings import Infrastructure, Settings
from stages.messages import Alert, Report
from stages.options import SmartSend
from tests.faults.processes import ROOT, Child
from tests.nats_support import Ear, RunningWorker, open_ear, open_nats, open_worker, publish, url_of
from tests.support import request
from tests.whatsapp.clients import AT_MOST, OWNER, numbers
from tests.whatsapp.faults import Faults, Silence
from tests.whatsapp.ledger import Post
from tests.whatsapp.rig import SESSION, WhatsappRig, command, open_rig
from transports.bus import Bus
from transports.neonize.options import Targeting

STORY = "sale"
TEXT = "Open till eight"
APART = 20
"""So many recipients are no contacts, and so many contacts are no recipients."""


@dataclass(frozen=True)
class Scene:
    """Everything that a story meets, and the people it is for."""

    bus: Bus
    ear: Ear
    rig: WhatsappRig
    people: list[str]
    batch: int

    @property
    def faults(self) -> Faults:
        """What goes wrong, by script."""
        return self.rig.whatsapp.world.faults

    @property
    def posts(self) -> list[Post]:
        """Every frame of a post that arrived."""
        return self.rig.whatsapp.world.ledger.posts

    def worker(self) -> AbstractAsyncContextManager[RunningWorker]:
        """A worker in this process, its engine's client in another."""
        return open_worker(self.bus, lambda session: self.rig.open(), settings(self.batch))

    def worker_process(self, home: Path) -> Child:
        """A worker in a process of its own; it serves once it says `serving`."""
        where = (url_of(self.bus), str(self.rig.whatsapp.port), self.rig.options.data, str(self.batch))
        environ = {**os.environ, **self.rig.whatsapp.environment(), "PYTHONPATH": str(ROOT)}
        return Child("worker", [sys.executable, "-m", "tests.whatsapp.worker", *where], home, environ)

    def client(self) -> int:
        """The process that hosts the client now."""
        told = f"tests.whatsapp.child\0{self.rig.whatsapp.port}\0".encode()
        [found] = [path.parent for path in Path("/proc").glob("[0-9]*/cmdline") if told in _content(path)]
        return int(found.name)

    async def call_in_the_air(self, *, delivered: bool) -> Post:
        """Wait until a call waits for an answer that never comes; returns what it posted."""
        await self.next_post()
        self.faults.add("send", Silence(delivered=delivered))
        return await self.next_post()

    async def publish(self, **fields: Any) -> None:
        """Ask for the story."""
        body = request(STORY, self.people, content={"type": "text", "text": TEXT})
        if "audience" in fields:
            del body["recipients"]
        await publish(self.bus, body | fields)

    async def until_posts(self, count: int) -> Post:
        """Wait until so many posts have arrived; returns the last of them."""
        with trio.fail_after(AT_MOST):
            await self.rig.whatsapp.world.ledger.until(count)
        return self.posts[count - 1]

    async def next_post(self) -> Post:
        """Wait for one more post."""
        return await self.until_posts(len(self.posts) + 1)

    async def until_alerts(self, count: int) -> Alert:
        """Wait for so many alerts; returns the last of them."""
        await self.ear.until(lambda: len(self.ear.alerts) >= count)
        return self.ear.alerts[count - 1]

    async def report(self) -> Report:
        """Wait for the story's report."""
        [report] = await self.ear.until_reports(1)
        return report

    async def until_left_alone(self, worker: RunningWorker) -> None:
        """Wait until the story's request has come again and was given back, while nothing was posted."""
        custody, posts = worker.worker.custody, len(self.posts)
        so_far = custody.statistics().handed_back
        with trio.fail_after(AT_MOST):
            while custody.statistics().handed_back < so_far + 3:
                await trio.lowlevel.checkpoint()
        assert len(self.posts) == posts

    async def resume(self) -> None:
        """`storycast resume --session main`."""
        async with open_client(url_of(self.bus)) as client:
            await client.serve_again(SESSION)

    async def pair(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """`storycast pair --session main`, while the owner of the account stands by with the phone."""
        show, seen = trio.open_memory_channel[str](10)

        def shown(code: str) -> str:
            show.send_nowait(code)
            return ""

        monkeypatch.setattr(pair_module, "qr", shown)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._link)
            await self.rig.whatsapp.scan(await seen.receive(), OWNER)

    async def _link(self) -> None:
        url = url_of(self.bus)
        options, command_ = self.rig.options, command(self.rig.whatsapp.port)
        assert await pair(options, url, SESSION, phone=None, timeout=AT_MOST, command=command_) == 0

    def reckon(self, report: Report) -> None:
        """Nobody was sent it twice, and what the report says of everybody is what happened."""
        calls = self.rig.whatsapp.world.calls()
        got = Counter(jid for call in calls for jid in call.recipients)
        failed, unknown = set(report.failed_recipients), set(report.unknown_recipients)
        sent = set(self.people) - failed - unknown
        assert len({call.content for call in calls}) <= 1, "they read different things"
        assert {jid: times for jid, times in got.items() if times > 1} == {}
        assert got.keys() <= sent | unknown, (
            "somebody was sent it who was not to be, or is reported as failed"
        )
        assert sent <= got.keys(), "somebody is reported as sent who got nothing"
        assert (report.sent_successfully, report.failed, report.unknown) == tuple(
            map(len, (sent, failed, unknown))
        )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has just ended
        return b""


def settings(batch: int) -> Settings:
    """Batches of one size, without pauses."""
    options = SmartSend(
        strategy="fixed", batch_size=batch, batch_delay=0, max_batches_per_second=1000, min_success_rate=0
    )
    return Settings(smart_send=options, storycast=Infrastructure(unsure_pause=0.05))


@asynccontextmanager
async def open_scene(
    how_many: int, batch: int, *, targeting: Targeting = "contact-staging", timeout: float = AT_MOST
) -> AsyncIterator[Scene]:
    """A linked session, people most of whom it knows by name, and nobody serving it yet."""
    async with (
        open_rig(targeting, contacts=0, timeout=timeout) as rig,
        open_nats() as bus,
        open_ear(bus) as ear,
    ):
        jids = [f"{number}@s.whatsapp.net" for number in numbers(how_many + APART)]
        rig.name(jids[APART:])
        yield Scene(bus, ear, rig, jids[:how_many], batch)
