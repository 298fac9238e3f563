"""The waha engine: posts a session's stories through a WAHA server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
from msgspec import structs

from stages.engine import Capabilities, EngineStatus, Receipt
from stages.errors import (
    AccountRestricted,
    ContentRefused,
    EngineFailure,
    OutcomeUnknown,
    SessionLost,
    TooLarge,
    Unavailable,
)
from stages.messages import Content
from transports.waha.asking import Asked, as_refusal, find_out, taken
from transports.waha.bodies import message_id_in, new_id_in, said_in
from transports.waha.calls import Answer, open_calls
from transports.waha.failures import failure_of, failure_of_state
from transports.waha.options import Waha
from transports.waha.posts import Identity, contacts_of, post_of
from transports.waha.server import (
    Session,
    status_of,
)


def open_waha(options: Waha, session: str) -> AbstractAsyncContextManager[WahaEngine]:
    """The engine of one session, which is WAHA's session of the same name.

    Entering it asks the server what it can do. Raises `Unavailable` where it does not answer in `open_timeout`
    seconds, and `SessionLost` where it refuses the API key.
    """
    return _opened(options, session)


@asynccontextmanager
async def _opened(options: Waha, session: str) -> AsyncGenerator[WahaEngine]:
    async with open_calls(options) as calls:
        asked = Asked(calls, session)
        try:
            with anyio.fail_after(options.open_timeout):
                capabilities, found = await find_out(asked, options)
        except TimeoutError:
            message = f"WAHA did not say what it can do within {options.open_timeout:g} s"
            raise Unavailable(message) from None
        except (Unavailable, SessionLost):
            raise
        except EngineFailure as failure:
            raise Unavailable(str(failure)) from failure
        yield WahaEngine(asked, options, capabilities, found)


class WahaEngine:
    """An `Engine`, open until the block of `open_waha` ends."""

    def __init__(self, asked: Asked, options: Waha, capabilities: Capabilities, session: Session) -> None:
        self._asked = asked
        self._options = options
        self._capabilities = capabilities
        self._own = session.own
        self._trouble: EngineFailure | None = None

    @property
    def capabilities(self) -> Capabilities:
        """By WAHA's engine and version, as they were when this was opened."""
        return self._capabilities

    async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
        """Post to `recipients` and to the account itself.

        The receipt has the id that WAHA answers: another one than was asked for says that WAHA did not heed it.
        """
        self._check(content, recipients)
        own = self._own or await self._look_up_own()
        repeatable = message_id is not None and self._capabilities.reuses_message_id
        if message_id is None and self._capabilities.reuses_message_id:
            message_id = await self._new_id()
        asked_id = message_id if self._capabilities.reuses_message_id else None
        post = post_of(
            content, contacts_of(recipients, own), asked_id, link_preview=self._options.link_preview
        )
        answer = await self._asked.post(post)
        if not answer.succeeded:
            raise self._noted(_refused(answer, recipients, repeatable=repeatable), answer)
        self._trouble = None
        return Receipt(message_id=_id_in(answer))

    async def status(self) -> EngineStatus:
        """The session's status. Raises `Unavailable` where WAHA does not say it."""
        try:
            session = await self._asked.session()
        except SessionLost as failure:
            return EngineStatus(state="lost", reason=str(failure))
        except EngineFailure as failure:
            raise Unavailable(str(failure)) from failure
        status = status_of(session)
        if status.state != "ready":
            self._trouble = None  # a person is at work on it
        return status if self._trouble is None else _status_after(self._trouble)

    async def audience(self) -> Sequence[str]:
        """WAHA does not say whom an account posts to by itself. Raises `ContentRefused`."""
        await anyio.lowlevel.checkpoint()
        raise ContentRefused("WAHA does not list whom an account posts to by itself")

    def _noted(self, failure: EngineFailure, answer: Answer) -> EngineFailure:
        """Remember what is wrong with the account, where WAHA's session would go on saying that it works."""
        if isinstance(failure, AccountRestricted | SessionLost):
            self._own = None  # a person may link another account now
            self._trouble = None if said_in(answer.body).state else failure
        return failure

    def _check(self, content: Content, recipients: Sequence[str]) -> None:
        """What cannot go well goes nowhere."""
        can = self._capabilities
        kind = type(content).__name__.lower()
        if not can.targets_recipients:
            raise ContentRefused("this WAHA's engine posts to nobody by name: GOWS and NOWEB do")
        if kind not in can.kinds:
            raise ContentRefused(f"this WAHA posts no {kind}: 2026.6.1 does, or Plus")
        if can.max_batch is not None and len(recipients) > can.max_batch:
            raise TooLarge(f"more than {can.max_batch} recipients: WAHA would split the call")

    async def _look_up_own(self) -> Identity:
        found = await self._asked.session()
        if failure := failure_of_state(found.state):
            raise failure
        if found.own is None:
            raise Unavailable("WAHA does not say yet whose account its session is")
        self._own = found.own
        return found.own

    async def _new_id(self) -> str:
        found = new_id_in(taken(await self._asked.new_id()).body)
        if found is None:
            raise Unavailable("WAHA gave no message id")
        return found


def _refused(answer: Answer, recipients: Sequence[str], *, repeatable: bool) -> EngineFailure:
    """What the refusal of a post means.

    One that says nothing leaves open whether it went out: where it can be made again under the same id nobody minds,
    elsewhere somebody would see it twice.
    """
    refusal = structs.replace(as_refusal(answer), several=len(recipients) > 1)
    return failure_of(refusal if repeatable else structs.replace(refusal, unexplained=OutcomeUnknown))


def _status_after(trouble: EngineFailure) -> EngineStatus:
    return EngineStatus(
        state="restricted" if isinstance(trouble, AccountRestricted) else "lost", reason=str(trouble)
    )


def _id_in(answer: Answer) -> str:
    found = message_id_in(answer.body)
    if found is None:
        raise OutcomeUnknown("WAHA said that it was sent, but its answer has no message id that can be read")
    return found
