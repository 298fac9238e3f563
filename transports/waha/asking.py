"""What is asked of a WAHA server for one session, and what it can do by its answers."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

from msgspec import structs

from stages.engine import Capabilities
from stages.errors import EngineFailure, SessionLost, Unavailable
from transports.waha.bodies import new_id_in, said_in
from transports.waha.calls import Answer, Calls
from transports.waha.failures import MISSING, Refusal, failure_of, failure_of_state
from transports.waha.options import Waha
from transports.waha.posts import Post
from transports.waha.server import TARGETING, Server, Session, capabilities_of, server_in, session_in


class Asked:
    """What is asked of WAHA for one session, its refusals raised."""

    def __init__(self, calls: Calls, session: str) -> None:
        self._calls = calls
        self._name = quote(session, safe="")

    async def server(self) -> Server:
        """What this WAHA is."""
        answer = await self._calls.get("/api/server/version")
        if answer.status == 403:  # a key for one session only, which says what runs it
            return Server()
        return server_in(taken(answer).body)

    async def session(self) -> Session:
        """How its session stands."""
        answer = await self._calls.get(f"/api/sessions/{self._name}")
        if answer.status == 404 and isinstance(_refusal(answer), SessionLost):
            return Session(state=MISSING)
        found = session_in(taken(answer).body)
        if not found.state:
            raise Unavailable("WAHA's answer about its session cannot be read")
        return found

    async def new_id(self) -> Answer:
        """A new message id, or whatever it answers."""
        return await self._calls.get(f"/api/{self._name}/status/new-message-id")

    async def post(self, post: Post) -> Answer:
        """Have it post."""
        return await self._calls.post(f"/api/{self._name}/status/{post.kind}", post.body)


async def find_out(asked: Asked, options: Waha) -> tuple[Capabilities, Session]:
    """What this WAHA can do, and how its session stands. Raises `EngineFailure` where that is not certain."""
    server, session = await asked.server(), await asked.session()
    if session.engine:
        server = structs.replace(server, engine=session.engine)
    if not server.engine:
        raise failure_of_state(session.state) or Unavailable("WAHA does not say which engine it uses")
    reuses = await _reuses(asked, server, session)
    return capabilities_of(server, reuses=reuses, max_batch=options.max_batch), session


async def _reuses(asked: Asked, server: Server, session: Session) -> bool:
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


async def _gives_ids(asked: Asked) -> bool | None:
    """Whether WAHA has ids to give; None where this time it did not say."""
    answer = await asked.new_id()
    if answer.succeeded:
        return new_id_in(answer.body) is not None
    cannot = answer.status in {404, 405, 501} or (answer.status == 422 and not said_in(answer.body).state)
    return False if cannot else None


def taken(answer: Answer) -> Answer:
    """The answer, if it is a success. Raises what it means otherwise."""
    if answer.succeeded:
        return answer
    raise _refusal(answer)


def _refusal(answer: Answer) -> EngineFailure:
    """What the refusal of a question means."""
    return failure_of(as_refusal(answer))


def as_refusal(answer: Answer) -> Refusal:
    """What is known of a refusal."""
    now = datetime.now(UTC)
    return Refusal(status=answer.status, headers=answer.headers, body=answer.body, now=now)
