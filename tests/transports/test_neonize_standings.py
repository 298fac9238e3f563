"""Each event of the library is how the session stands, and what a call meets then."""

from __future__ import annotations

import pytest

from stages.errors import AccountRestricted, SessionLost, Unavailable
from transports.neonize.client import Heard
from transports.neonize.frames import Standing
from transports.neonize.standings import refusal, standing_of

NOON = 1_795_262_400.0


def after(heard: Heard) -> Standing:
    standing = standing_of(heard, "main", NOON)
    assert standing is not None
    return standing


@pytest.mark.parametrize("name", ["Connected", "KeepAliveRestored"])
def test_a_connection_is_ready(name: str) -> None:
    assert after(Heard(name)) == Standing(state="ready")
    assert refusal(after(Heard(name))) is None


@pytest.mark.parametrize("name", ["QR", "PairStatus", "LoggedOut", "StreamReplaced", "ClientOutdated"])
def test_what_only_a_person_can_mend_is_lost_and_says_what_to_do(name: str) -> None:
    standing = after(Heard(name))
    assert (standing.state, standing.over, standing.person) == ("lost", True, True)
    assert "storycast" in standing.reason
    assert isinstance(refusal(standing), SessionLost)


@pytest.mark.parametrize("name", ["Disconnected", "KeepAliveTimeout", "StreamError"])
def test_what_the_client_mends_by_itself_is_unavailable_and_goes_on(name: str) -> None:
    standing = after(Heard(name))
    assert (standing.state, standing.over) == ("unavailable", False)
    assert isinstance(refusal(standing), Unavailable)


def test_a_refused_connection_takes_another_client() -> None:
    standing = after(Heard("ConnectFailure", "generic"))
    assert (standing.state, standing.over, standing.person) == ("unavailable", True, False)


def test_a_ban_says_why_and_until_when() -> None:
    standing = after(Heard("TemporaryBan", "sent too many same message", 3600.0))
    assert (standing.state, standing.until) == ("restricted", NOON + 3600)
    assert "sent too many same message" in standing.reason
    assert "until 2026-11-21T" in standing.reason
    assert isinstance(refusal(standing), AccountRestricted)


def test_a_ban_without_an_end_says_so() -> None:
    standing = after(Heard("TemporaryBan"))
    assert standing.until is None
    assert "no end is known" in standing.reason


def test_other_events_say_nothing_about_it() -> None:
    assert standing_of(Heard("Receipt"), "main", NOON) is None
