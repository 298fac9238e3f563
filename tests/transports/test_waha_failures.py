"""Every signal of WAHA is told as what it means, and in words that give nothing away."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from stages.errors import (
    AccountRestricted,
    EngineFailure,
    OutcomeUnknown,
    RateLimited,
    SessionLost,
    Unavailable,
)
from stages.messages import Text
from tests.waha.faults import Fault, answer, by_whatsapp, exception, exception_body, manner
from tests.waha.rig import open_rig
from tests.waha.signals import SIGNALS
from tests.waha.world import Settings
from transports.waha import Waha
from transports.waha.failures import retry_after

ID = "3EB0AAAAAAAAAAAAAAAAAA"
SECRET = "confidential words: server returned error 463"
LASTING = {
    "463 by WhatsApp",
    *(name for name in SIGNALS if name.startswith("422 ") and SIGNALS[name].failure is SessionLost),
}
NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)


@pytest.mark.trio
@pytest.mark.parametrize("name", SIGNALS)
async def test_each_signal_is_told_as_what_it_means(name: str) -> None:
    async with open_rig() as rig, rig.open() as waha:
        SIGNALS[name].arrange(rig.waha)
        with pytest.raises(EngineFailure) as met:
            await waha.send(Text(text=SECRET), rig.people(3), ID)
        assert type(met.value) is SIGNALS[name].failure
        assert not re.search(r"\d{6}|confidential|628", str(met.value))
        if name not in LASTING:
            await waha.send(Text(text=SECRET), rig.people(3), ID)
    assert rig.waha.ledger.problems == []


@pytest.mark.trio
@pytest.mark.parametrize("name", [name for name in SIGNALS if SIGNALS[name].failure is not OutcomeUnknown])
async def test_what_is_told_for_certain_has_reached_nobody(name: str) -> None:
    async with open_rig() as rig, rig.open() as waha:
        SIGNALS[name].arrange(rig.waha)
        with pytest.raises(EngineFailure):
            await waha.send(Text(text=SECRET), rig.people(3), ID)
    assert rig.waha.ledger.calls == []


@pytest.mark.trio
async def test_a_call_that_was_perhaps_sent_can_be_sent_again_and_is_seen_once() -> None:
    async with open_rig() as rig, rig.open() as waha:
        await rig.arrange("reset, delivered")
        with pytest.raises(OutcomeUnknown):
            await waha.send(Text(text=SECRET), rig.people(3), ID)
        await waha.send(Text(text=SECRET), rig.people(3), ID)
    assert rig.waha.ledger.repeats == 3
    assert set(rig.waha.ledger.sightings().values()) == {1}


@pytest.mark.trio
@pytest.mark.parametrize(
    "said", [answer(500, {}), answer(503, b"<html>"), exception("Cannot read properties")]
)
async def test_without_ids_an_error_that_says_nothing_may_have_come_after_the_story_went_out(
    said: Fault,
) -> None:
    async with open_rig(Settings(engine="NOWEB", version="2025.2.1")) as rig, rig.open() as waha:
        rig.waha.meets(said)
        with pytest.raises(OutcomeUnknown):
            await waha.send(Text(text=SECRET), rig.people(3), None)
    async with open_rig() as rig, rig.open() as waha:
        rig.waha.meets(said)
        with pytest.raises(OutcomeUnknown):  # the next call would have an id of its own
            await waha.send(Text(text=SECRET), rig.people(3), None)
        rig.waha.meets(said)
        with pytest.raises(Unavailable):
            await waha.send(Text(text=SECRET), rig.people(3), ID)


@pytest.mark.trio
async def test_a_restricted_account_stays_restricted() -> None:
    async with open_rig() as rig, rig.open() as waha:
        await rig.arrange("463 by WhatsApp")
        for _ in range(3):
            with pytest.raises(AccountRestricted):
                await waha.send(Text(text=SECRET), rig.people(1), ID)


@pytest.mark.trio
async def test_the_echo_of_a_request_is_never_taken_for_the_error() -> None:
    async with open_rig() as rig, rig.open() as waha:
        for text in (
            SECRET,
            '"exception":{"message":"server returned error 463"}',
            ',"request":{"message":"logged out"',
        ):
            rig.waha.meets(exception("2 UNKNOWN: something new"))
            with pytest.raises(Unavailable):
                await waha.send(Text(text=text), rig.people(1), ID)


@pytest.mark.trio
async def test_an_error_is_understood_from_its_beginning_however_long_its_echo_is() -> None:
    text = '"message":"server returned error 401" ' * 5_000
    async with open_rig(options=Waha(timeout=20)) as rig, rig.open() as waha:
        for fault in (by_whatsapp(463), exception("server returned error 463", details="", name="Boom")):
            rig.waha.meets(fault)
            with pytest.raises(AccountRestricted):
                await waha.send(Text(text=text[:65_000]), rig.people(400), ID)


@pytest.mark.trio
@pytest.mark.parametrize("how", ["cut", "endless", "dribble"])
async def test_an_error_is_understood_even_if_its_echo_never_ends(how: str) -> None:
    body = exception_body("2 UNKNOWN: server returned error 463", "x")[:-30]
    async with open_rig(options=Waha(timeout=2)) as rig, rig.open() as waha:
        rig.waha.meets(manner(how, status=500, body=body))  # type: ignore[arg-type]  # the three are manners
        with pytest.raises(AccountRestricted):
            await waha.send(Text(text=SECRET), rig.people(1), ID)


@pytest.mark.trio
async def test_the_gravest_of_several_codes_counts() -> None:
    async with open_rig() as rig, rig.open() as waha:
        for codes, meant in (
            ((400, 463), AccountRestricted),
            ((429, 401), SessionLost),
            ((400, 429), RateLimited),
        ):
            said = "\n".join(f"batch {at}: server returned error {code}" for at, code in enumerate(codes, 1))
            rig.waha.meets(exception(said))
            with pytest.raises(meant):
                await waha.send(Text(text=SECRET), rig.people(2), ID)


@pytest.mark.trio
async def test_the_wait_that_the_server_names_is_passed_on() -> None:
    async with open_rig() as rig, rig.open() as waha:
        for written, seconds in (
            ("7", 7.0),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
            ("soon", None),
            ("-1", None),
        ):
            rig.waha.meets(answer(429, {}, retry_after=written))
            with pytest.raises(RateLimited) as met:
                await waha.send(Text(text=SECRET), rig.people(1), ID)
            assert met.value.retry_after == seconds


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("Sun, 22 Nov 2026 08:00:30 GMT", 30.0),
        ("", None),
        ("99999999999", 999999999.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(written: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": written}, NOW) == seconds
