"""The waha engine: posts a session's stories through a WAHA server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from urllib.parse import quote

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
from transports.waha.bodies import message_id_in, new_id_in, said_in
from transports.waha.calls import Answer, Calls, open_calls
from transports.waha.failures import MISSING, Refusal, failure_of, failure_of_state
from transports.waha.options import Waha
from transports.waha.posts import Identity, Post, contacts_of, post_of
from transports.waha.server import (
    TARGETING,
    Server,
    Session,
    capabilities_of,
    server_in,
    session_in,
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
        asked = _Asked(calls, session)
        try:
            with anyio.fail_after(options.open_timeout):
                capabilities, found = await _find_out(asked, options)
        except TimeoutError:
            message = f"WAHA did not say what it can do within {options.open_timeout:g} s"
            raise Unavailable(message) from None
        except (Unavailable, SessionLost):
            raise
        except EngineFailure as failure:
            raise Unavailable(str(failure)) from failure
        yield WahaEngine(asked, options, capabilities, found)


class _Asked:
    """What is asked of WAHA for one session, its refusals raised."""

    def __init__(self, calls: Calls, session: str) -> None:
        self._calls = calls
        self._name = quote(session, safe="")

    async def server(self) -> Server:
        answer = await self._calls.get("/api/server/version")
        if answer.status == 403:  # a key for one session only, which says what runs it
            return Server()
        return server_in(_taken(answer).body)

    async def session(self) -> Session:
        answer = await self._calls.get(f"/api/sessions/{self._name}")
        if answer.status == 404 and isinstance(_refusal(answer), SessionLost):
            return Session(state=MISSING)
        found = session_in(_taken(answer).body)
        if not found.state:
            raise Unavailable("WAHA's answer about its session cannot be read")
        return found

    async def new_id(self) -> Answer:
        return await self._calls.get(f"/api/{self._name}/status/new-message-id")

    async def post(self, post: Post) -> Answer:
        return await self._calls.post(f"/api/{self._name}/status/{post.kind}", post.body)


class WahaEngine:
    """An `Engine`, open until the block of `open_waha` ends."""

    def __init__(self, asked: _Asked, options: Waha, capabilities: Capabilities, session: Session) -> None:
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
        found = new_id_in(_taken(await self._asked.new_id()).body)
        if found is None:
            raise Unavailable("WAHA gave no message id")
        return found


async def _find_out(asked: _Asked, options: Waha) -> tuple[Capabilities, Session]:
    server, session = await asked.server(), await asked.session()
    if session.engine:
        server = structs.replace(server, engine=session.engine)
    if not server.engine:
        raise failure_of_state(session.state) or Unavailable("WAHA does not say which engine it uses")
    reuses = await _reuses(asked, server, session)
    return capabilities_of(server, reuses=reuses, max_batch=options.max_batch), session


async def _reuses(asked: _Asked, server: Server, session: Session) -> bool:
    """Whether this WAHA gives message ids: what is told must be the same at every opening.

    The version says it. Raises `Unavailable` where WAHA says otherwise at this time, or where neither is certain.
    """
    if server.engine not in TARGETING or server.has_ids is False:
        return False
    if server.has_ids is None and (failure := failure_of_state(session.state)):
        raise failure
    # A session that does not work yet cannot be asked, and WAHA would keep the question waiting.
    gives = await _gives_ids(asked) if session.state == "WORKING" else None
    if gives is False and server.has_ids:
        raise Unavailable("WAHA gave no message id at this time, though its version has them")
    if not gives and server.has_ids is None:
        raise Unavailable(
            "WAHA gave no message id, and hides its version: with a key that may read the version "
            "storycast knows whether it has them"
        )
    return True


async def _gives_ids(asked: _Asked) -> bool | None:
    """Whether WAHA has ids to give; None where this time it did not say."""
    answer = await asked.new_id()
    if answer.succeeded:
        return new_id_in(answer.body) is not None
    cannot = answer.status in {404, 405, 501} or (answer.status == 422 and not said_in(answer.body).state)
    return False if cannot else None


def _taken(answer: Answer) -> Answer:
    """The answer, if it is a success. Raises what it means otherwise."""
    if answer.succeeded:
        return answer
    raise _refusal(answer)


def _refusal(answer: Answer) -> EngineFailure:
    """What the refusal of a question means."""
    return failure_of(_as_refusal(answer))


def _refused(answer: Answer, recipients: Sequence[str], *, repeatable: bool) -> EngineFailure:
    """What the refusal of a post means.

    One that says nothing leaves open whether it went out: where it can be made again under the same id nobody minds,
    elsewhere somebody would see it twice.
    """
    refusal = structs.replace(_as_refusal(answer), several=len(recipients) > 1)
    return failure_of(refusal if repeatable else structs.replace(refusal, unexplained=OutcomeUnknown))


def _as_refusal(answer: Answer) -> Refusal:
    now = datetime.now(UTC)
    return Refusal(status=answer.status, headers=answer.headers, body=answer.body, now=now)


def _status_after(trouble: EngineFailure) -> EngineStatus:
    return EngineStatus(
        state="restricted" if isinstance(trouble, AccountRestricted) else "lost", reason=str(trouble)
    )


def _id_in(answer: Answer) -> str:
    found = message_id_in(answer.body)
    if found is None:
        raise OutcomeUnknown("WAHA said that it was sent, but its answer has no message id that can be read")
    return found
