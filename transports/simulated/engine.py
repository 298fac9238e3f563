"""The simulated engine: a WhatsApp in this process, for trying out, for demonstrations and for tests.

It takes its time on the event loop's clock, so that under Trio's `MockClock` hours pass in milliseconds.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from secrets import token_hex

import anyio

from stages.engine import Capabilities, EngineState, EngineStatus, Receipt
from stages.errors import AccountRestricted, ContentRefused, EngineFailure, SessionLost, Unavailable
from stages.messages import Content
from transports.simulated.ledger import Call, Ledger
from transports.simulated.profile import Profile
from transports.simulated.record import Recording
from transports.simulated.world import Fate, World

CLOSED = "the engine is closed"
_STATES: dict[type[EngineFailure], EngineState] = {AccountRestricted: "restricted", SessionLost: "lost"}


@asynccontextmanager
async def open_simulated(
    profile: Profile, *, speed: float = 1.0, recording: Recording | None = None
) -> AsyncIterator[SimulatedEngine]:
    """A `SimulatedEngine` that sends for as long as the block lasts."""
    engine = SimulatedEngine(profile, speed=speed, recording=recording)
    try:
        yield engine
    finally:
        engine.close()


class SimulatedEngine:
    """An `Engine`. With `speed` 20 its time runs twenty times as fast as the clock's.

    `recording` keeps what it does beyond the end of this process.
    """

    def __init__(self, profile: Profile, *, speed: float = 1.0, recording: Recording | None = None) -> None:
        self.ledger = Ledger()
        self._recording = recording
        self._world = World(profile)
        self._speed = speed
        self._opened: float | None = None
        self._in_flight = 0
        self._closed = False

    @property
    def capabilities(self) -> Capabilities:
        """What the profile says; the frame limit is met as a failure, as with the real one."""
        able = self._world.profile.abilities
        return Capabilities(
            reuses_message_id=able.reuses_message_id,
            targets_recipients=able.targets_recipients,
            lists_audience=able.contacts > 0,
        )

    async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
        """Post to `recipients`, as the profile has it. A cancelled call has reached nobody."""
        if self._closed:
            raise Unavailable(CLOSED)
        began = self._now()
        if message_id is None or not self.capabilities.reuses_message_id:
            message_id = f"3EB0{token_hex(9).upper()}"
        call = self._recording.begin(message_id, recipients) if self._recording else ""
        fate = self._world.fate(recipients, began, in_flight=self._in_flight)
        outcome, reached = "cancelled", list[str]()
        self._in_flight += 1
        try:
            await anyio.sleep(fate.seconds / self._speed)
            outcome = fate.failure.kind if fate.failure else "sent"
            reached = self._deliver(fate, content, recipients, message_id)
        finally:
            self._in_flight -= 1
            self._note(began, recipients, message_id, outcome)
            if self._recording:
                self._recording.end(call, outcome, reached)
        if fate.failure is not None:
            raise fate.failure
        return Receipt(message_id=message_id, failed=fate.failed)

    async def status(self) -> EngineStatus:
        """Ready, unless the account is restricted or there is an outage."""
        await anyio.lowlevel.checkpoint()
        if self._closed:
            return EngineStatus(state="unavailable", reason=CLOSED)
        if (ended := self._world.ended) is not None:
            return EngineStatus(state=_STATES[type(ended)], reason=str(ended))
        if self._world.out(self._now()):
            return EngineStatus(state="unavailable", reason="the connection is down")
        return EngineStatus(state="ready")

    async def audience(self) -> Sequence[str]:
        """The profile's contacts."""
        await anyio.lowlevel.checkpoint()
        if not self.capabilities.lists_audience:
            raise ContentRefused("its profile has no contacts")
        return list(self._world.contacts)

    def script(
        self, failure: EngineFailure | None = None, *, seconds: float = 0.0, reaches: bool = False
    ) -> None:
        """What becomes of the next call, whatever the profile says: for tests of what uses an engine."""
        self._world.script(Fate(seconds=seconds, reaches=reaches, failure=failure))

    def close(self) -> None:
        """Send no more."""
        self._closed = True

    def _deliver(self, fate: Fate, content: Content, recipients: Sequence[str], message_id: str) -> list[str]:
        """Returns who has it now."""
        if not fate.reaches:
            return []
        reached = [jid for jid in recipients if jid not in fate.failed]
        self.ledger.note_delivery(message_id, content, reached)
        return reached

    def _note(self, began: float, recipients: Sequence[str], message_id: str, outcome: str) -> None:
        self.ledger.note_call(
            Call(
                began=began,
                ended=self._now(),
                recipients=len(recipients),
                message_id=message_id,
                outcome=outcome,
            )
        )

    def _now(self) -> float:
        if self._opened is None:
            self._opened = anyio.current_time()
        return (anyio.current_time() - self._opened) * self._speed
