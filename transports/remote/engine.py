"""The engine that is served elsewhere, as a worker sees it: found by its subjects, asked by requests.

NATS gives no sign when whoever took a request dies, nor that only a monitor heard it, which listens to everything. So
the service is asked how it is before each call, when that it is away still means that nobody got anything; and from
time to time during it whether it still has the call: what several looks in a row do not find is lost, and its outcome
unknown.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import anyio
import msgspec

from stages.engine import Capabilities, EngineStatus, Receipt
from stages.errors import (
    ContentRefused,
    EngineFailure,
    OutcomeUnknown,
    TooLarge,
    Unavailable,
)
from stages.messages import Content
from transports.bus import HEADERS_ROOM, Bus, Inbound, Outbound
from transports.errors import NoResponders, TransportError
from transports.remote.asking import absent, ask, ask_status, words_for
from transports.remote.wire import (
    HEADER_ERROR_CODE,
    EngineAudience,
    EngineCall,
    EngineReceipt,
    EngineReport,
    Undecodable,
    answer_in,
    heard,
    heard_reasons,
)
from transports.subjects import engine_audience_subject, engine_send_subject, engine_status_subject

CALL = 90.0
"""Seconds a call gets whose caller set no deadline."""
MARGIN = 1.0
"""Seconds after the deadline until we stop to wait, if the caller has not done so by then."""
LOOKS = 3
"""Looks in a row that do not find a call until it is given up."""
DISCONNECTED = "there is no connection to NATS now"
REASON_ROOM = 48
"""Bytes an answer needs for each recipient, beyond its name: for the reason why it was left out."""


class RemoteEngine:
    """An `Engine` served as a NATS service. `open_remote` makes one."""

    def __init__(
        self,
        bus: Bus,
        session: str,
        capabilities: Capabilities,
        *,
        look_every: float,
        scope: anyio.CancelScope,
    ) -> None:
        self._bus = bus
        self._session = session
        self._capabilities = capabilities
        self._look_every = look_every
        self._scope = scope
        self._out_of_use = ""

    @property
    def capabilities(self) -> Capabilities:
        """What the service said when this engine was opened."""
        return self._capabilities

    async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
        """Have the service post it. Raises the failure that the service answers, and see `Engine.send`."""
        self._check_able(content, recipients)
        await self._report()
        seconds = _seconds_left()
        call = EngineCall(
            call_id=uuid4().hex,
            content=content,
            recipients=list(recipients),
            message_id=message_id,
            deadline_ms=max(1, int(1000 * seconds)),
            targeted=self._capabilities.targets_recipients,
        )
        data = msgspec.json.encode(call)
        self._check_size(len(data), call)
        reply = await self._exchange(call.call_id, data, seconds + MARGIN)
        return _receipt(reply, call.recipients)

    async def status(self) -> EngineStatus:
        """What the service says. Raises `Unavailable` if none answers, or if it has become another engine."""
        report = await self._report()
        return EngineStatus(state=report.state, reason=heard(report.reason))

    async def audience(self) -> Sequence[str]:
        """Whom a post without chosen recipients goes to. Raises `ContentRefused` where the engine cannot tell."""
        self._check_usable()
        subject = engine_audience_subject(self._session)
        return (await ask(self._bus, self._session, subject, EngineAudience)).recipients

    def close(self) -> str:
        """Let no call out any more. Returns why none went out before, if that was so."""
        before, self._out_of_use = self._out_of_use, "the engine is closed"
        return before

    async def _report(self) -> EngineReport:
        self._check_usable()
        report = await ask_status(self._bus, self._session)
        if report.capabilities != self._capabilities:
            self._out_of_use = f"{words_for(self._session)} is another kind of engine now: open it anew"
            self._scope.cancel()
        self._check_usable()
        return report

    def _check_usable(self) -> None:
        if self._out_of_use:
            raise Unavailable(self._out_of_use)
        if not self._bus.is_connected:
            # A call published now would go out whenever the connection stands again, its caller gone for long.
            raise Unavailable(DISCONNECTED)

    def _check_able(self, content: Content, recipients: Sequence[str]) -> None:
        able, kind = self._capabilities, content.__struct_config__.tag
        if kind not in able.kinds:
            raise ContentRefused(f"{words_for(self._session)} cannot post {kind}")
        if able.targets_recipients and able.max_batch is not None and len(recipients) > able.max_batch:
            raise TooLarge(f"{len(recipients):,} recipients; one call can take {able.max_batch:,}")

    def _check_size(self, size: int, call: EngineCall) -> None:
        # The answer may name every recipient with a reason, and must fit as well.
        longest_answer = sum(map(len, call.recipients)) + REASON_ROOM * len(call.recipients)
        if max(size, longest_answer) > self._bus.max_payload - HEADERS_ROOM:
            raise self._too_large(size, len(call.recipients))

    def _too_large(self, size: int, recipients: int) -> EngineFailure:
        limit = f"this NATS server takes {self._bus.max_payload:,} bytes (max_payload)"
        if recipients > 1:
            return TooLarge(f"a call of {size:,} bytes for {recipients:,} recipients; {limit}")
        return ContentRefused(f"the content makes a call of {size:,} bytes; {limit}: give media by its url")

    async def _exchange(self, call_id: str, data: bytes, timeout: float) -> Inbound:
        outcome: Inbound | EngineFailure = OutcomeUnknown(
            "the engine's service lost the call, or ended during it"
        )
        async with anyio.create_task_group() as group:
            group.start_soon(self._cancel_when_lost, call_id, group.cancel_scope)
            outcome = await self._reply_to(data, timeout)
            group.cancel_scope.cancel()
        if isinstance(outcome, EngineFailure):
            raise outcome
        return outcome

    async def _reply_to(self, data: bytes, timeout: float) -> Inbound | EngineFailure:
        subject = engine_send_subject(self._session)
        try:
            return await self._bus.request(Outbound(subject, data), timeout=timeout)
        except NoResponders:
            return absent(self._session)
        except TransportError as problem:
            return OutcomeUnknown(f"no answer from the engine's service: {problem}")

    async def _cancel_when_lost(self, call_id: str, scope: anyio.CancelScope) -> None:
        missed = 0
        while missed < LOOKS:
            await anyio.sleep(self._look_every)
            missed = 0 if await self._is_found(call_id) else missed + 1
        scope.cancel()

    async def _is_found(self, call_id: str) -> bool:
        """Whether the service has the call, as far as it can be asked and says so."""
        try:
            reply = await self._bus.request(Outbound(engine_status_subject(self._session)))
            report = answer_in(reply.data, EngineReport)
        except TransportError:
            return not self._bus.is_connected  # what is asked in vain then says nothing of the service
        except (Undecodable, EngineFailure):
            return True
        return report.calls is None or call_id in report.calls


@asynccontextmanager
async def open_remote(bus: Bus, session: str, *, look_every: float = 5.0) -> AsyncIterator[RemoteEngine]:
    """The engine that serves `session` elsewhere, for as long as the block lasts.

    `look_every`: seconds between two looks whether the service still has a call. Raises `Unavailable` if no service
    answers within 5 s, and ends the block with it when the service has become one of another kind of engine.
    """
    if not bus.is_connected:
        raise Unavailable(DISCONNECTED)
    report = await ask_status(bus, session)
    with anyio.CancelScope() as scope:
        engine = RemoteEngine(bus, session, report.capabilities, look_every=look_every, scope=scope)
        try:
            yield engine
        finally:
            replaced = engine.close()
    if replaced:
        raise Unavailable(replaced)


def _receipt(reply: Inbound, recipients: Sequence[str]) -> Receipt:
    try:
        answer = answer_in(reply.data, EngineReceipt)
    except Undecodable as problem:
        code = reply.headers.get(HEADER_ERROR_CODE)
        said = f"with error {code}" if code else f"what is no answer: {problem}"
        raise OutcomeUnknown(f"the engine's service answered {said}") from problem
    called = frozenset(recipients)
    failed = {jid: reason for jid, reason in answer.failed.items() if jid in called}
    return Receipt(message_id=answer.message_id, failed=heard_reasons(failed))


def _seconds_left() -> float:
    left = anyio.current_effective_deadline() - anyio.current_time()
    return CALL if math.isinf(left) else max(left, 0.001)
