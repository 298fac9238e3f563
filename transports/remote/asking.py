"""Questions to the service of a session's engine that change nothing, so that no answer means `Unavailable`."""

from __future__ import annotations

from typing import TypeVar

from stages.errors import EngineFailure, OutcomeUnknown, Unavailable
from transports.bus import Bus, Outbound
from transports.errors import NoResponders, TransportError
from transports.remote.wire import Answer, EngineReport, Undecodable, answer_in
from transports.subjects import engine_status_subject

A = TypeVar("A", bound=Answer)


async def ask(bus: Bus, session: str, subject: str, kind: type[A]) -> A:
    """The answer on `subject`, waited for 5 s at most.

    Raises the failure that the service answers, and `Unavailable` if none answers, or none that we understand.
    """
    try:
        return answer_in((await bus.request(Outbound(subject))).data, kind)
    except NoResponders:
        raise absent(session) from None
    except (TransportError, Undecodable, OutcomeUnknown) as problem:
        raise Unavailable(f"{words_for(session)} gives no answer to go by: {problem}") from problem


async def ask_status(bus: Bus, session: str) -> EngineReport:
    """What the service of `session` says of itself. Raises `Unavailable` if that is nothing."""
    try:
        return await ask(bus, session, engine_status_subject(session), EngineReport)
    except Unavailable:
        raise
    except EngineFailure as failure:
        raise Unavailable(str(failure)) from failure


def absent(session: str) -> Unavailable:
    """The failure of a call that nobody is there to take."""
    return Unavailable(f"nobody serves {words_for(session)}: `storycast engine` would, or a gateway")


def words_for(session: str) -> str:
    """What an engine is called in messages."""
    return f"the engine of session {session!r}"
