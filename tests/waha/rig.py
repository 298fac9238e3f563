"""The waha engine at a loopback WAHA, as the checks that every engine must pass want it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from msgspec import structs

from stages.engine import ContentKind, Engine
from stages.errors import EngineFailure
from stages.messages import Content
from tests.waha.server import LoopbackWaha, open_loopback
from tests.waha.signals import SIGNALS, WAITS
from tests.waha.world import Settings
from transports.testing import SAMPLES, Call
from transports.waha import Waha, open_waha


class WahaRig:
    """A `Rig`: one loopback WAHA, and engines that are opened at it."""

    signals: Mapping[str, type[EngineFailure]] = {name: signal.failure for name, signal in SIGNALS.items()}
    waits: Mapping[str, float] = WAITS
    contents: Mapping[ContentKind, Content] = SAMPLES

    def __init__(self, waha: LoopbackWaha, options: Waha, session: str) -> None:
        self.waha = waha
        self.options = structs.replace(options, url=waha.url)
        self._session = session

    def open(self) -> AbstractAsyncContextManager[Engine]:
        """An engine at the loopback."""
        return open_waha(self.options, self._session)

    def people(self, count: int) -> list[str]:
        """Recipients who can be reached."""
        return [f"{number}@s.whatsapp.net" for number in range(6281200000000, 6281200000000 + count)]

    async def arrange(self, signal: str) -> None:
        """The next call meets it."""
        SIGNALS[signal].arrange(self.waha)

    async def calls(self) -> Sequence[Call]:
        """Calls that reached somebody so far, oldest first."""
        return [
            Call(message_id=seen.message_id, recipients=seen.recipients, content=seen.content)
            for seen in self.waha.ledger.calls
        ]


@asynccontextmanager
async def open_rig(
    settings: Settings | None = None, *, options: Waha | None = None
) -> AsyncGenerator[WahaRig]:
    """A rig at a WAHA of its own; answers that never come are waited for briefly."""
    async with open_loopback(settings) as waha:
        yield WahaRig(waha, options or Waha(timeout=2), waha.settings.session)
