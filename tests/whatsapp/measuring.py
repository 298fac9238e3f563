"""Stories to the contacts of one account, measured: by the product's engine, over the real library."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

import trio

from stages.engine import Engine
from stages.messages import Text
from stages.options import SmartSend
from tests.whatsapp.cpu import only_child, used_by
from tests.whatsapp.faults import Fault, Faults, Point
from tests.whatsapp.ledger import Post
from tests.whatsapp.rig import WhatsappRig

Person = TypeVar("Person")
Way = Literal["traditional", "anchored"]
OFFER = Text(text="Open till eight")
ANCHOR = 1
CLIMB = SmartSend().progressive_sequence
LADDER = (*CLIMB[::2], CLIMB[-1])
"""Sizes after the anchor, the last one again and again: as `progressive` climbs while every call is a fast one."""


class Spent(NamedTuple):
    """Seconds, real ones and those of the client's CPU."""

    seconds: float
    cpu_seconds: float


class Stopwatch(Faults):
    """A script in which nothing goes wrong, that notes when the client comes by and what it has spent by then."""

    def __init__(self) -> None:
        super().__init__()
        self.client: int | None = None
        """Its process, once that runs."""
        self._visits: list[tuple[Point, Spent]] = []

    def meet(self, point: Point) -> Fault | None:
        if self.client is not None:
            self._visits.append((point, Spent(time.monotonic(), used_by(self.client))))
        return super().meet(point)

    def posting(self) -> Spent:
        """What the last post took in the library: it asks for the privacy first, as storycast has done before."""
        points = [point for point, _ in self._visits]
        ends = _last(points, "send")
        begins = _last(points[:ends], "privacy")
        (_, before), (_, after) = self._visits[begins], self._visits[ends]
        return Spent(after.seconds - before.seconds, after.cpu_seconds - before.cpu_seconds)


@dataclass(frozen=True)
class Sample:
    """One story in one way."""

    way: Way
    seconds: float
    posting: Spent
    """Of that, in the library."""
    client_cpu_seconds: float
    server_cpu_seconds: float
    stanza_bytes: tuple[int, ...]
    message_ids: frozenset[str]
    pkmsg: int
    msg: int


@dataclass(frozen=True)
class Measured:
    """An account whose contacts are `people`, and an engine that is open."""

    rig: WhatsappRig
    engine: Engine
    stopwatch: Stopwatch
    people: list[str]

    async def story(self, way: Way) -> Sample:
        """Send one to everybody."""
        ledger = self.rig.whatsapp.world.ledger
        self.stopwatch.client = client = only_child()
        known, posting = len(ledger.posts), []
        began, client_cpu, server_cpu = time.monotonic(), used_by(client), time.process_time()
        for call in calls_of(way, self.people):
            receipt = await self.engine.send(OFFER, call, None)
            posting.append(self.stopwatch.posting())
            _check(ledger.posts[-1], call, receipt.failed)
        seconds = time.monotonic() - began
        client_cpu, server_cpu = used_by(client) - client_cpu, time.process_time() - server_cpu
        posts = ledger.posts[known:]
        assert len(posts) == len(calls_of(way, self.people)), "a call was posted more than once"
        kinds = Counter(enc.kind for post in posts for enc in post.to.values())
        return Sample(
            way=way,
            seconds=seconds,
            posting=Spent(*map(sum, zip(*posting, strict=True))),
            client_cpu_seconds=client_cpu,
            server_cpu_seconds=server_cpu,
            stanza_bytes=tuple(post.size for post in posts),
            message_ids=frozenset(post.message_id for post in posts),
            pkmsg=kinds["pkmsg"],
            msg=kinds["msg"],
        )

    async def everybody_answers(self) -> None:
        """Each contact reads the last post to all, and the client has taken in each one's answer."""
        whatsapp = self.rig.whatsapp
        posts = reversed(whatsapp.world.ledger.posts)
        post = next(post for post in posts if len(post.recipients) == len(self.people))
        for jid, enc in post.to.items():
            whatsapp.world.device(jid).receive(enc.kind, enc.content, post.to_all.content)
        for jid in self.people:
            await whatsapp.answer(jid)
        with trio.fail_after(_patience(self.people)):
            await whatsapp.world.ledger.until_receipts(len(self.people))


def calls_of(way: Way, people: Sequence[Person]) -> list[Sequence[Person]]:
    """Whom each call of a story goes to."""
    if way == "traditional":
        return [people]
    calls: list[Sequence[Person]] = []
    at = 0
    for size in (ANCHOR, *LADDER, *[LADDER[-1]] * (len(people) // LADDER[-1])):
        calls.append(people[at : at + size])
        at += size
    return [call for call in calls if call]


def _last(points: Sequence[Point], wanted: Point) -> int:
    return max(at for at, point in enumerate(points) if point == wanted)


def _check(post: Post, call: Sequence[str], failed: object) -> None:
    """A call that reached others than it should says nothing about what it costs."""
    assert not failed, "recipients were left out"
    assert post.recipients == set(call), "others were sent the story"


def _patience(people: Sequence[str]) -> float:
    return 30.0 + len(people) * 0.02
