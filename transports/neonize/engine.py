"""The neonize engine: WhatsApp's own client protocol, spoken by a process that the worker hosts for each session."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import trio

from stages.engine import Capabilities, Engine, EngineStatus, Receipt
from stages.errors import (
    AccountRestricted,
    ContentRefused,
    EngineFailure,
    OutcomeUnknown,
    RateLimited,
    RecipientsRejected,
    SessionLost,
    TooLarge,
    Unavailable,
)
from stages.messages import Content
from transports.neonize.frames import (
    Abilities,
    Answer,
    Begin,
    ListAudience,
    Listed,
    Post,
    Posted,
    Refused,
    Standing,
)
from transports.neonize.missing import refused_to_host
from transports.neonize.options import Neonize
from transports.neonize.process import COMMAND
from transports.neonize.standings import refusal
from transports.neonize.supervisor import CLOSED, OnDeath, Supervisor, unheard


class NeonizeEngine:
    """An `Engine` on a hosted client. `open_neonize` makes it."""

    def __init__(
        self,
        supervisor: Supervisor,
        capabilities: Capabilities,
        options: Neonize,
        clock: Callable[[], float],
    ) -> None:
        self._supervisor = supervisor
        self._capabilities = capabilities
        self._options = options
        self._clock = clock
        self._closed = False
        self._stopped: EngineStatus | None = None
        self._told: Standing | None = None

    @property
    def capabilities(self) -> Capabilities:
        """By what the installed version can do, and by `targeting`."""
        return self._capabilities

    async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
        """Post a story, see `Engine.send`.

        A client that is starting, and a call that is under way, are waited for: for the first half of the time until
        the caller's deadline, and `start_timeout` and `timeout` at most. Raises `Unavailable` after that.
        """
        answer = await self._ask(
            lambda call: Post(call=call, content=content, recipients=list(recipients), message_id=message_id)
        )
        if isinstance(answer, Posted):
            return Receipt(message_id=answer.message_id, failed=answer.failed)
        raise OutcomeUnknown("the client answered something else")

    async def status(self) -> EngineStatus:
        """How the session stands, by the last that the client said."""
        await trio.lowlevel.checkpoint()
        self._check_open()
        standing = self._supervisor.standing
        if standing.state == "ready" and self._stopped:
            return self._stopped
        return EngineStatus(state=standing.state, reason=standing.reason)

    async def audience(self) -> Sequence[str]:
        """Whom a post without chosen recipients goes to: the contacts that the phone shares its status with."""
        try:
            answer = await self._ask(lambda call: ListAudience(call=call))
        except OutcomeUnknown as failure:  # a question that was not answered has done nothing
            raise Unavailable(str(failure)) from failure
        if isinstance(answer, Listed):
            return list(answer.recipients)
        raise Unavailable("the client answered something else")

    def close(self) -> None:
        """No call goes out any more."""
        self._closed = True

    async def _ask(self, make: Callable[[int], Post | ListAudience]) -> Answer:
        self._check_open()
        supervisor = self._supervisor
        # Whatever is still waited for then has sent nothing, which whoever runs out of time could not know.
        begun_by = trio.current_time() + _until_deadline() / 2
        self._wake()
        await supervisor.until(
            lambda: supervisor.standing.state != "starting",
            min(self._options.start_timeout, max(0.0, begun_by - trio.current_time())),
        )
        self._check_open()
        if failure := refusal(supervisor.standing):
            self._told = supervisor.standing
            raise failure
        if supervisor.link is None:
            raise Unavailable("the client is not running")
        answer = await supervisor.link.ask(make, self._options.timeout, begun_by)
        if isinstance(answer, Refused):
            failure = failure_in(answer)
            self._stopped = _stopped_by(failure) or self._stopped
            raise failure
        self._stopped = None
        return answer

    def _wake(self) -> None:
        standing = self._supervisor.standing
        if standing.until is not None:
            # Before a ban ends nothing is tried, whoever asks: that would make it longer.
            may = self._clock() >= standing.until
        else:
            # Nobody has acted on what no call was told of: one that was under way when it came has its own result.
            may = standing.linking or standing is self._told
        if may:
            self._supervisor.wake()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(CLOSED)


def open_neonize(
    options: Neonize,
    session: str,
    *,
    command: Sequence[str] = COMMAND,
    jitter: Callable[[], float] = random.random,
    clock: Callable[[], float] = time.time,
    on_death: OnDeath = unheard,
) -> AbstractAsyncContextManager[Engine]:
    """Serve `session` for as long as the block lasts, from the folder of that name in `options.data`.

    Entering waits, at most `start_timeout`, until it is known how the session stands; a session that is not linked is
    no error of opening. `jitter` (0 to 1) spreads restarts, `clock` tells epoch seconds, `command` starts the process,
    and `on_death` hears why one ended that was not to.

    Raises `NeonizeMissing` if the library is not installed, `Unavailable` if the client cannot be started or another
    process uses the session.
    """
    begin = Begin(session=session, options=options)
    return _open(Supervisor(command, begin, jitter, on_death), options, clock)


@asynccontextmanager
async def _open(
    supervisor: Supervisor, options: Neonize, clock: Callable[[], float]
) -> AsyncIterator[Engine]:
    problem: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        try:
            abilities = await _started(supervisor, options.start_timeout)
            engine = NeonizeEngine(supervisor, capabilities_of(abilities, options), options, clock)
            try:
                yield engine
            finally:
                engine.close()
        except Exception as error:  # raised again below, where no group is made of it
            problem = error
        nursery.cancel_scope.cancel()
    if problem is not None:
        raise problem


async def _started(supervisor: Supervisor, timeout: float) -> Abilities:
    def known() -> bool:
        return supervisor.refused is not None or supervisor.standing.state != "starting"

    await supervisor.until(known, timeout)
    if refused := supervisor.refused:
        raise refused_to_host(refused)
    if supervisor.abilities is None:
        late = supervisor.standing.state == "starting"
        raise Unavailable(
            f"the client did not start within {timeout:g} s" if late else supervisor.standing.reason
        )
    return supervisor.abilities


def capabilities_of(abilities: Abilities, options: Neonize) -> Capabilities:
    """What an engine can do with a library of these `abilities`."""
    targets = abilities.takes_recipients or options.targeting == "contact-staging"
    return Capabilities(
        reuses_message_id=abilities.takes_message_id,
        targets_recipients=targets,
        lists_audience=True,
        acknowledges=True,
    )


def _until_deadline() -> float:
    return max(0.0, trio.current_effective_deadline() - trio.current_time())


def _stopped_by(failure: EngineFailure) -> EngineStatus | None:
    """What a call has learned of the account that no event has said; until another one goes through."""
    if isinstance(failure, AccountRestricted):
        return EngineStatus(state="restricted", reason=str(failure))
    return EngineStatus(state="lost", reason=str(failure)) if isinstance(failure, SessionLost) else None


def failure_in(refused: Refused) -> EngineFailure:
    """The typed failure that came through the pipe."""
    if refused.kind == RateLimited.kind:
        return RateLimited(refused.message, retry_after=refused.retry_after)
    if refused.kind == RecipientsRejected.kind:
        return RecipientsRejected(refused.message, rejected=refused.rejected)
    return _KINDS.get(refused.kind, OutcomeUnknown)(refused.message)


_KINDS: Final[Mapping[str, type[EngineFailure]]] = {
    kind.kind: kind
    for kind in (Unavailable, OutcomeUnknown, TooLarge, AccountRestricted, SessionLost, ContentRefused)
}
