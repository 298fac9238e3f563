"""Questions to NATS that many tasks ask at the same time: published in one go, answered into one inbox.

nats-py's own requests cost a task, a future and a timer each. Here all that is asked between two looks of asyncio at
its work is published by one task, answers find their asker by the subject they come in on, and one timer keeps the
deadlines of all. Each asker still waits for its own answer only, and can be cancelled by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, Final, TypeAlias

from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from transports.errors import NoResponders, TransportError, Unreachable
from transports.mapping import as_mapped
from transports.runner import Runner, Slot

LOOK_EVERY: Final = 0.5
"""Seconds by which an answer may be waited for longer than its deadline."""
_STATUS: Final = "Status"
_NOBODY: Final = "503"

Headers: TypeAlias = Mapping[str, str] | None


class Outbound(Struct, frozen=True):
    """A message to be published."""

    subject: str
    data: bytes = b""
    headers: Headers = None
    reply: str = ""


class _Telling(Struct, frozen=True):
    messages: Sequence[Outbound]
    slot: Slot[None]


class _Asked(Struct, frozen=True):
    slot: Slot[Any]
    deadline: float


class _Share:
    """The place of one answer among several that one task waits for."""

    def __init__(self, gathering: _Gathering, place: int) -> None:
        self._gathering = gathering
        self._place = place

    async def get(self) -> Msg:
        raise NotImplementedError("several answers are waited for together")

    def put(self, value: Msg) -> None:
        self._gathering.note(self._place, value)

    def fail(self, error: BaseException) -> None:
        self._gathering.note(self._place, error)


class _Gathering:
    def __init__(self, slot: Slot[None], count: int) -> None:
        self.slot = slot
        self.answers: list[Msg | BaseException | None] = [None] * count
        self._missing = count

    def note(self, place: int, answer: Msg | BaseException) -> None:
        self.answers[place] = answer
        self._missing -= 1
        if not self._missing:
            self.slot.put(None)


class Asker:
    """Publishes and asks over `client`; `open` it first, `close` it last. `timeout` is in seconds of real time."""

    def __init__(self, runner: Runner, client: Client, *, timeout: float) -> None:
        self._runner = runner
        self._client = client
        self._timeout = timeout
        self._inbox = client.new_inbox()
        self._numbers = count(1)
        self._unsent: list[Outbound | _Telling] = []
        self._asked: dict[str, _Asked] = {}
        self._writing = self._looking = self._closed = False

    @property
    def waiting(self) -> int:
        """How many answers are waited for now."""
        return len(self._asked)

    async def open(self) -> None:
        """Listen for answers. Called on the asyncio side."""
        await self._client.subscribe(f"{self._inbox}.*", cb=self._hear)

    async def close(self) -> None:
        """Ask no more: whoever still waits gets a `TransportError`. Called on the asyncio side."""
        self._closed = True
        gone = TransportError("the connection to NATS is being left")
        for item in self._unsent:
            if isinstance(item, _Telling):
                item.slot.fail(gone)
        for asked in self._asked.values():
            asked.slot.fail(gone)
        self._asked.clear()

    async def ask(self, subject: str, data: bytes, headers: Headers = None) -> Msg:
        """Publish, and wait for the answer. Raises `TransportError`; cancelled, it may have been published or not."""
        slot: Slot[Msg] = self._runner.slot()
        reply = self._send(subject, data, headers, slot)
        try:
            answer = await slot.get()
        finally:
            self._asked.pop(reply, None)
        if _is_nobodys(answer):
            raise _nobody()
        return answer

    async def ask_all(self, questions: Sequence[Outbound]) -> Sequence[Msg | TransportError]:
        """Publish all `questions`, and wait for all their answers, or what kept each of them from coming."""
        if not questions:
            return []
        gathering = _Gathering(self._runner.slot(), len(questions))
        replies = [
            self._send(each.subject, each.data, each.headers, _Share(gathering, place))
            for place, each in enumerate(questions)
        ]
        try:
            await gathering.slot.get()
        finally:
            for reply in replies:
                self._asked.pop(reply, None)
        return [_answer_or_error(each) for each in gathering.answers]

    def _send(self, subject: str, data: bytes, headers: Headers, slot: Slot[Msg]) -> str:
        reply = f"{self._inbox}.{next(self._numbers)}"
        self._put(Outbound(subject, data, headers, reply))
        self._expect(reply, slot)
        return reply

    def _expect(self, reply: str, slot: Slot[Any]) -> None:
        self._asked[reply] = _Asked(slot, time.monotonic() + self._timeout)
        self._look()

    async def tell(self, messages: Sequence[Outbound]) -> None:
        """Publish `messages` in order, and return when the client has them.

        Raises `TransportError`; if it takes too long all of them may go out yet.
        """
        slot: Slot[None] = self._runner.slot()
        name = str(next(self._numbers))  # no answer comes, but the deadline is kept as for one
        self._put(_Telling(messages, slot))
        self._expect(name, slot)
        try:
            await slot.get()
        finally:
            self._asked.pop(name, None)

    def _put(self, item: Outbound | _Telling) -> None:
        if self._closed:
            raise TransportError("the connection to NATS is being left")
        self._unsent.append(item)
        if not self._writing:
            self._writing = True
            self._runner.start(self._write)

    def _look(self) -> None:
        if not self._looking:
            self._looking = True
            self._runner.start(self._keep_deadlines)

    async def _write(self) -> None:
        try:
            while self._unsent:
                unsent, self._unsent = self._unsent, []
                for item in unsent:
                    await (self._tell(item) if isinstance(item, _Telling) else self._ask(item))
        finally:
            self._writing = False

    async def _tell(self, telling: _Telling) -> None:
        try:
            for message in telling.messages:
                await self._publish(message)
        except Exception as error:
            telling.slot.fail(as_mapped(error))
        else:
            telling.slot.put(None)

    async def _ask(self, question: Outbound) -> None:
        if question.reply not in self._asked:
            return  # whoever asked has been cancelled meanwhile
        try:
            await self._publish(question)
        except Exception as error:
            if (asked := self._asked.pop(question.reply, None)) is not None:
                asked.slot.fail(as_mapped(error))

    async def _publish(self, message: Outbound) -> None:
        headers = message.headers or None
        await self._client.publish(message.subject, message.data, message.reply, headers)  # type: ignore[arg-type] # reads it only

    async def _hear(self, answer: Msg) -> None:
        if (asked := self._asked.pop(answer.subject, None)) is not None:
            asked.slot.put(answer)

    async def _keep_deadlines(self) -> None:
        try:
            while self._asked:
                await asyncio.sleep(LOOK_EVERY)
                self._give_up(time.monotonic())
        finally:
            self._looking = False

    def _give_up(self, now: float) -> None:
        # All have the same time, so the oldest come first.
        while self._asked:
            reply = next(iter(self._asked))
            if self._asked[reply].deadline > now:
                return
            self._asked.pop(reply).slot.fail(Unreachable("NATS did not answer in time"))


def _is_nobodys(answer: Msg) -> bool:
    return not answer.data and (answer.headers or {}).get(_STATUS) == _NOBODY


def _nobody() -> NoResponders:
    return NoResponders("NATS: no responders available for request")


def _answer_or_error(found: Msg | BaseException | None) -> Msg | TransportError:
    assert found is not None, "all have been noted"
    if isinstance(found, Msg):
        return _nobody() if _is_nobodys(found) else found
    if isinstance(found, TransportError):
        return found
    raise found
