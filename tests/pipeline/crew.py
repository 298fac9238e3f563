"""What the tests of several workers share: an engine that is led call by call, orders, claims of others, patience."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
import pytest
import trio

from pipeline import worker as worker_module
from pipeline.client.controls import control
from pipeline.leases import Leases
from pipeline.settings import Infrastructure, Settings
from stages import message_id_of
from stages.engine import Capabilities, EngineStatus, Receipt
from stages.errors import ContentRefused
from stages.messages import Action, Content, ControlError, StoryStatus
from stages.options import SmartSend
from tests.nats_support import AT_MOST, RunningWorker
from tests.support import FULL
from transports.bus import Bus, Outbound
from transports.layout import CONSUMERS
from transports.leases import Claim, claimed, stake
from transports.subjects import control_subject

FOR_EVER = 600


class SteppedEngine:
    """An `Engine` each of whose calls waits until it is let go. `calls` keeps message id and recipients, in order."""

    def __init__(self, *, steps: float = 0) -> None:
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self._steps = steps
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def capabilities(self) -> Capabilities:
        """Everything."""
        return FULL

    async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
        """Succeed once it is let go."""
        self.calls.append((message_id or "", tuple(recipients)))
        self._changed.unpark_all()
        while self._steps < 1:
            await self._changed.park()
        self._steps -= 1
        return Receipt(message_id=message_id or "")

    async def status(self) -> EngineStatus:
        """Ready."""
        await trio.lowlevel.checkpoint()
        return EngineStatus(state="ready")

    async def audience(self) -> Sequence[str]:
        """Nobody."""
        raise ContentRefused("it lists no audience")

    def let(self, calls: float = float("inf")) -> None:
        """Let so many calls go, the one under way first; without a number all of them."""
        self._steps += calls
        self._changed.unpark_all()

    async def until_calls(self, count: int) -> None:
        """Wait for the `count`-th call."""
        with trio.fail_after(AT_MOST):
            while len(self.calls) < count:
                await self._changed.park()

    def sent(self, story: str, session: str = "main") -> Counter[str]:
        """How often each recipient of a story was in a call."""
        wanted = message_id_of(session, story)
        return Counter(jid for message_id, listed in self.calls if message_id == wanted for jid in listed)


def in_twos(**infrastructure: Any) -> Settings:
    """Settings by which a story is one call for its anchor, and then one for every two recipients, without pauses."""
    options = SmartSend(
        strategy="fixed", batch_size=2, min_recipients=2, batch_delay=0, max_batches_per_second=1000
    )
    return Settings(smart_send=options, storycast=Infrastructure(**infrastructure))


async def order(bus: Bus, action: Action, story: str | None = "sale", session: str = "main") -> StoryStatus:
    """Give an order, as a client does. Raises `ControlRefused`."""
    return await control(bus, session, story, action, timeout=AT_MOST)


async def until_state(bus: Bus, state: str, story: str = "sale", session: str = "main") -> StoryStatus:
    """Ask for a story's status again and again until it is `state`."""
    with trio.fail_after(AT_MOST):
        while (status := await order(bus, "status", story, session)).state != state:
            await trio.lowlevel.checkpoint()
    return status


async def answer_to(bus: Bus, data: bytes, subject: str | None = None) -> ControlError:
    """What is answered to an order that cannot be carried out."""
    found = await bus.request(Outbound(subject or control_subject("main", "sale"), data), timeout=AT_MOST)
    return msgspec.json.decode(found.data, type=ControlError)


async def until(is_it: Callable[[], bool]) -> None:
    """Wait for something that comes about without being asked for."""
    with trio.fail_after(AT_MOST):
        while not is_it():
            await trio.lowlevel.checkpoint()


async def claim_for(bus: Bus, worker: str, session: str = "main", *, ttl: int = FOR_EVER) -> None:
    """Write into the bucket that `session` is another worker's, whoever has it."""
    claim = Claim(worker=worker, since="", nonce=f"nonce of {worker}", term=f"term of {worker}")
    with trio.fail_after(AT_MOST):
        while not await stake(bus, session, claim, after=(await claimed(bus, session)).revision, ttl=ttl):
            continue


def nothing_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases and ack waits last longer than a test: what only their end would bring about does not come."""
    consumers = [each.evolve(ack_wait=FOR_EVER) for each in CONSUMERS]
    monkeypatch.setattr("transports.streams.CONSUMERS", consumers)
    monkeypatch.setattr(worker_module, "Leases", partial(Leases, ttl=FOR_EVER))


def owner_of(session: str, *workers: RunningWorker) -> RunningWorker:
    """Which of `workers` holds the lease of `session`; there must be one."""
    [owner] = [each for each in workers if session in each.worker.leases.held()]
    return owner
