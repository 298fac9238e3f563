"""An engine that does what a test tells it to, and keeps what reached somebody."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import msgspec
import trio
from msgspec import Struct

from stages.engine import Capabilities, EngineState, EngineStatus, Receipt
from stages.errors import ContentRefused, EngineFailure
from stages.messages import Content
from tests.nats_support import AT_MOST
from tests.support import FULL
from transports.remote.wire import CODES


class Posted(Struct, frozen=True, kw_only=True):
    """A call that reached somebody."""

    message_id: str
    recipients: tuple[str, ...]
    content: str


class ScriptedEngine:
    """An `Engine`. `failure` is raised by the next call alone; while the gate is shut calls wait."""

    def __init__(self, capabilities: Capabilities = FULL, people: Sequence[str] = ()) -> None:
        self.capabilities = capabilities
        self.posted: list[Posted] = []
        self.begun = self.cancelled = self.asked = 0
        self.failure: Exception | None = None
        self.silent = False
        self.left_out: dict[str, str] = {}
        self.gate = trio.Event()
        self.gate.set()
        self.state: EngineState = "ready"
        self._people = people
        self._lot = trio.lowlevel.ParkingLot()

    async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
        self.begun += 1
        self._lot.unpark_all()
        failure, self.failure = self.failure, None
        silent, self.silent = self.silent, False
        try:
            await (trio.Event() if silent else self.gate).wait()
        except trio.Cancelled:
            self.cancelled += 1
            self._lot.unpark_all()
            raise
        if failure is not None:
            raise failure
        given = message_id or f"CHOSEN{self.begun}"
        digest = sha256(msgspec.json.encode(content)).hexdigest()
        reached = tuple(jid for jid in recipients if jid not in self.left_out)
        self.posted.append(Posted(message_id=given, recipients=reached, content=digest))
        return Receipt(message_id=given, failed=self.left_out)

    async def status(self) -> EngineStatus:
        self.asked += 1
        await trio.lowlevel.checkpoint()
        return EngineStatus(state=self.state, reason="as the test has it")

    async def audience(self) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        if not self._people:
            raise ContentRefused("this engine does not list its audience")
        return self._people

    async def until(self, *, begun: int = 0, cancelled: int = 0) -> None:
        """Wait until so many calls have begun, and have been cancelled."""
        with trio.fail_after(AT_MOST):
            while self.begun < begun or self.cancelled < cancelled:
                await self._lot.park()


def failures() -> dict[str, EngineFailure]:
    """One of each kind, by its name."""
    return {kind.kind: kind(f"this is {kind.kind}") for kind in CODES}
