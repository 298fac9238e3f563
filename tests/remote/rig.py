"""The remote engine under the conformance suite: over a service in this process, with a simulated engine behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from stages.engine import Capabilities, ContentKind, Engine, EngineStatus, Receipt
from stages.errors import EngineFailure, OutcomeUnknown
from stages.messages import Content
from tests.contract.simulated import SimulatedRig
from tests.nats_support import open_nats
from tests.remote.serving import OFTEN, open_service
from transports.bus import Bus
from transports.remote import open_remote
from transports.simulated.profile import Abilities
from transports.testing import SAMPLES, SILENCE, Call

UNHEARD_OF = "a kind of failure that nobody knows"
FAULT = "a fault in the service"
KILLED = "a service that is killed and started again"


class Struck(EngineFailure):
    """What a newer service may answer."""

    kind = "struck-by-lightning"


class Between:
    """What the service serves: the simulated engine, but for what the service itself is to meet."""

    def __init__(self, engine: Engine, killed: trio.Event) -> None:
        self._engine = engine
        self._killed = killed
        self.next = ""

    @property
    def capabilities(self) -> Capabilities:
        return self._engine.capabilities

    async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
        meets, self.next = self.next, ""
        if meets == UNHEARD_OF:
            raise Struck("by lightning")
        if meets == FAULT:
            raise ZeroDivisionError
        if meets == KILLED:
            self._killed.set()
            await trio.sleep_forever()
        return await self._engine.send(content, recipients, message_id)

    async def status(self) -> EngineStatus:
        return await self._engine.status()

    async def audience(self) -> Sequence[str]:
        return await self._engine.audience()


class RemoteRig:
    """A `Rig`: the simulated engine's own, and the service between."""

    signals: Mapping[str, type[EngineFailure]] = {
        **SimulatedRig.signals,
        UNHEARD_OF: OutcomeUnknown,
        FAULT: OutcomeUnknown,
        KILLED: OutcomeUnknown,
    }
    waits: Mapping[str, float] = SimulatedRig.waits
    contents: Mapping[ContentKind, Content] = SAMPLES

    def __init__(self, bus: Bus, abilities: Abilities | None) -> None:
        self._bus = bus
        self._far = SimulatedRig(abilities)
        self._between: list[Between] = []

    def open(self) -> AbstractAsyncContextManager[Engine]:
        """Over a service of its own."""
        return self._open()

    def people(self, count: int) -> list[str]:
        """Whom the simulated engine reaches."""
        return self._far.people(count)

    async def arrange(self, signal: str) -> None:
        """By the simulated engine's script, or before it."""
        if signal in SimulatedRig.signals or signal == SILENCE:
            await self._far.arrange(signal)
        else:
            self._between[-1].next = signal

    async def calls(self) -> Sequence[Call]:
        """What the simulated engine delivered."""
        return await self._far.calls()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[Engine]:
        killed = trio.Event()
        async with self._far.open() as far, trio.open_nursery() as nursery:
            between = Between(far, killed)
            self._between.append(between)
            await nursery.start(self._serve, between, killed)
            async with open_remote(self._bus, "main", look_every=OFTEN) as engine:
                yield engine
            nursery.cancel_scope.cancel()

    async def _serve(self, engine: Engine, killed: trio.Event, task_status: trio.TaskStatus[None]) -> None:
        """Serve it; and again, once the service was killed."""
        async with open_service(self._bus, engine, grace=0.0) as service:
            task_status.started()
            await killed.wait()
            await service.kill()
        async with open_service(self._bus, engine, grace=0.0):
            await trio.sleep_forever()


@asynccontextmanager
async def open_rig(abilities: Abilities | None = None) -> AsyncIterator[RemoteRig]:
    """A rig with a server of its own."""
    async with open_nats() as bus:
        yield RemoteRig(bus, abilities)
