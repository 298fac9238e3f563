"""Presence: which workers are there, and what they serve.

Each worker says every two seconds that it is alive, so that no request is passed on to a dead one, and answers a
roll-call with all it serves. Plain messages: nothing is stored, and nothing that must be right hangs on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio
import msgspec
import trio

from stages.messages import WorkerInfo
from transports.bus import Bus, Inbound, Outbound
from transports.errors import TransportError
from transports.subjects import BEACON, ROLL_CALL, is_for_answers

BEAT = 2.0
SILENT_FOR = 5.0
"""Seconds of silence after which a worker is taken for dead."""
LEAVES = b" leaves"
"""After a worker's id: it has stopped taking requests."""
FAREWELL = 1.0
LATE_ANSWERS = 1.0
"""Seconds in which a roll-call gathers answers."""


class Presence:
    """Knows the workers on this server. `worker` is this one's id, `describe` what it serves now."""

    def __init__(self, bus: Bus, worker: str, describe: Callable[[], WorkerInfo]) -> None:
        self.worker = worker
        self._bus = bus
        self._describe = describe
        self._heard: dict[str, float] = {}
        self._gone: dict[str, float] = {}
        self._since = trio.current_time()

    def alive(self, worker: str) -> bool:
        """Whether `worker` was heard lately, or this one has not listened for long enough to say; and has not left."""
        now = trio.current_time()
        return worker not in self._gone and now - max(self._heard.get(worker, 0.0), self._since) < SILENT_FOR

    async def keep(self) -> None:
        """Say that this one is alive, listen to the others, answer roll-calls. Once cancelled it takes leave."""
        try:
            await self._keep()
        finally:
            with trio.move_on_after(FAREWELL, shield=True):
                await self._say([Outbound(BEACON, self.worker.encode() + LEAVES)])

    async def _keep(self) -> None:
        async with (
            self._bus.subscribe(BEACON, ROLL_CALL, bound=256) as mailbox,
            trio.open_nursery() as nursery,
        ):
            self._since = trio.current_time()
            nursery.start_soon(self._beat)
            while True:
                for message in await mailbox.receive():
                    await self._hear(message)

    async def _beat(self) -> None:
        while True:
            await self._say([Outbound(BEACON, self.worker.encode())])
            await trio.sleep(BEAT)

    async def _hear(self, message: Inbound) -> None:
        if message.subject == BEACON:
            self._note(message.data)
        elif is_for_answers(message.reply):
            await self._say([Outbound(message.reply, msgspec.json.encode(self._describe()))])

    def _note(self, said: bytes) -> None:
        now = trio.current_time()
        self._heard = {name: at for name, at in self._heard.items() if now - at < SILENT_FOR}
        self._gone = {name: at for name, at in self._gone.items() if now - at < SILENT_FOR}
        notes = self._gone if said.endswith(LEAVES) else self._heard
        notes[said.removesuffix(LEAVES).decode(errors="replace")] = now

    async def _say(self, messages: Sequence[Outbound]) -> None:
        # On a lost connection it would only fill the buffer, and come too late to be true.
        if not self._bus.client.is_connected:
            return
        try:
            await self._bus.publish(messages)
        except TransportError:
            return  # who cannot be heard is not there: that is what it says


async def roll_call(bus: Bus, *, seconds: float = LATE_ANSWERS) -> Sequence[WorkerInfo]:
    """All workers that answer within `seconds`, with what they serve; by id. On Trio or on asyncio."""
    inbox = bus.client.new_inbox()
    found: list[WorkerInfo] = []
    async with bus.subscribe(inbox) as mailbox:
        await bus.publish([Outbound(ROLL_CALL, reply=inbox)])
        with anyio.move_on_after(seconds):
            while True:
                found.extend(filter(None, map(_decoded, await mailbox.receive())))
    return sorted(found, key=lambda info: info.worker)


def _decoded(answer: Inbound) -> WorkerInfo | None:
    """None for what is no worker's answer: the server's, that nobody is there, for one."""
    try:
        return msgspec.json.decode(answer.data, type=WorkerInfo)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
