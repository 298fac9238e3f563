"""What a service does with each request to the engine it serves: an answer to every one, whatever happens."""

from __future__ import annotations

import trio

from stages.engine import Engine, EngineStatus, Receipt
from stages.errors import ContentRefused, EngineFailure, OutcomeUnknown, Unavailable
from transports.remote.wire import (
    Answer,
    EngineAudience,
    EngineCall,
    EngineReport,
    Undecodable,
    call_in,
    failure_answer,
    receipt_answer,
)

ASK_TIMEOUT = 4.0
"""Seconds in which the engine says how it is; whoever asks waits a second longer."""


class Calls:
    """The requests to one engine, and the calls that are under way."""

    def __init__(self, engine: Engine, served_by: str, shutdown: trio.Event) -> None:
        self._engine = engine
        self._served_by = served_by
        self._shutdown = shutdown
        self._under_way: list[str] = []

    async def send(self, data: bytes) -> Answer:
        """Post as `data` says, within its deadline."""
        try:
            call = call_in(data)
        except Undecodable as problem:
            return failure_answer(ContentRefused(f"this is no call: {problem}"))
        if mismatch := self._mismatch(call):
            return failure_answer(Unavailable(mismatch))
        self._under_way.append(call.call_id)
        try:
            return receipt_answer(await self._posted(call))
        except EngineFailure as failure:
            return failure_answer(failure)
        finally:
            self._under_way.remove(call.call_id)

    async def status(self, data: bytes) -> Answer:
        """How the engine is, what it can do, and which calls are under way."""
        found = await self._state()
        return EngineReport(
            state=found.state,
            reason=found.reason,
            capabilities=self._engine.capabilities,
            served_by=self._served_by,
            calls=list(self._under_way),
        )

    async def audience(self, data: bytes) -> Answer:
        """Whom a post without chosen recipients goes to."""
        try:
            with trio.fail_after(ASK_TIMEOUT):
                return EngineAudience(recipients=list(await self._engine.audience()))
        except EngineFailure as failure:
            return failure_answer(failure)
        except trio.TooSlowError:
            return failure_answer(Unavailable("the engine does not say who its audience is"))

    async def _state(self) -> EngineStatus:
        if self._shutdown.is_set():
            return EngineStatus(state="unavailable", reason="the service is about to end")
        try:
            with trio.fail_after(ASK_TIMEOUT):
                return await self._engine.status()
        except EngineFailure as failure:
            return EngineStatus(state="unavailable", reason=str(failure))
        except trio.TooSlowError:
            return EngineStatus(state="unavailable", reason="the engine does not say how it is")

    async def _posted(self, call: EngineCall) -> Receipt:
        seconds = call.deadline_ms / 1000
        try:
            with trio.fail_after(seconds):
                return await self._engine.send(call.content, call.recipients, call.message_id)
        except trio.TooSlowError:
            raise OutcomeUnknown(f"the engine had no answer within {seconds:g} s") from None

    def _mismatch(self, call: EngineCall) -> str:
        """Why this is no engine for that call: the caller knew another one here."""
        able = self._engine.capabilities
        if call.message_id is not None and not able.reuses_message_id:
            return "the engine served here chooses message ids itself"
        if call.targeted != able.targets_recipients:
            return "the engine served here " + (
                "goes to the recipients it is given"
                if able.targets_recipients
                else "posts to the account's audience"
            )
        return ""
