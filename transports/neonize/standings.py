"""The library's events as the standing of the session, and what that standing means for a call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from stages.errors import AccountRestricted, EngineFailure, SessionLost, Unavailable
from transports.neonize.client import Heard
from transports.neonize.frames import Standing
from transports.neonize.masking import masked

STARTING: Final = Standing(state="starting", reason="the client is starting")
READY: Final = Standing(state="ready")


def not_linked(session: str) -> Standing:
    """Nobody has linked the session yet, or not again."""
    return _lost(f"not linked: storycast pair --session {session}", linking=True)


def standing_of(heard: Heard, session: str, now: float) -> Standing | None:
    """How the session stands after `heard` at `now` (epoch seconds); None where it says nothing about that."""
    make = _BY_NAME.get(heard.name)
    return make(heard, session, now) if make else None


def refusal(standing: Standing) -> EngineFailure | None:
    """What a call meets at that standing, or None where it may go out."""
    if standing.state == "ready":
        return None
    kind = {"lost": SessionLost, "restricted": AccountRestricted}.get(standing.state, Unavailable)
    return kind(standing.reason)


def _lost(reason: str, *, linking: bool = False) -> Standing:
    return Standing(state="lost", reason=reason, over=True, person=True, linking=linking)


def _logged_out(heard: Heard, session: str, _: float) -> Standing:
    why = f" ({masked(heard.detail)})" if heard.detail else ""
    return _lost(f"logged out{why}: storycast pair --session {session}", linking=True)


def _replaced(_: Heard, session: str, __: float) -> Standing:
    return _lost(
        f"replaced: another program uses the same linked device. End that one, then storycast resume {session}"
    )


def _outdated(_: Heard, session: str, __: float) -> Standing:
    return _lost(
        "WhatsApp no longer accepts the installed neonize: pip install --upgrade neonize, "
        f"start the worker again, then storycast resume {session}"
    )


def _banned(heard: Heard, _: str, now: float) -> Standing:
    why = f" ({masked(heard.detail)})" if heard.detail else ""
    if not heard.seconds:
        return Standing(
            state="restricted", reason=f"temporarily banned{why}; no end is known", over=True, person=True
        )
    until = now + heard.seconds
    ends = datetime.fromtimestamp(until, UTC).isoformat(timespec="minutes")
    return Standing(
        state="restricted",
        reason=f"temporarily banned{why} until {ends}",
        until=until,
        over=True,
        person=True,
    )


def _refused(heard: Heard, _: str, __: float) -> Standing:
    # The client does not try again by itself after this one, so another is started.
    return Standing(
        state="unavailable", reason=f"WhatsApp refused the connection: {masked(heard.detail)}", over=True
    )


def _away(reason: str) -> Callable[[Heard, str, float], Standing]:
    return lambda *_: Standing(state="unavailable", reason=reason)


_BY_NAME: Final[dict[str, Callable[[Heard, str, float], Standing]]] = {
    "Connected": lambda *_: READY,
    "KeepAliveRestored": lambda *_: READY,
    "KeepAliveTimeout": _away("WhatsApp does not answer"),
    "Disconnected": _away("the connection to WhatsApp is down"),
    "StreamError": _away("WhatsApp ended the connection"),
    "ConnectFailure": _refused,
    "LoggedOut": _logged_out,
    "StreamReplaced": _replaced,
    "TemporaryBan": _banned,
    "ClientOutdated": _outdated,
    "QR": lambda _, session, __: not_linked(session),
    "PairStatus": lambda _, session, __: not_linked(session),
}
