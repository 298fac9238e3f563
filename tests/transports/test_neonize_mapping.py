"""Each text of the library is one typed failure, and none carries a phone number on."""

from __future__ import annotations

import pytest

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
from transports.neonize.mapping import Step, failure_of

DEVICES = "failed to get device list: failed to send usync query: "
MEMBERS = "failed to get broadcast list members: failed to get status privacy: "
UPLOAD = "upload failed with status code "

TEXTS: list[tuple[str, Step, type[EngineFailure]]] = [
    ("server returned error 429", "send", RateLimited),
    ("server returned error 463", "send", AccountRestricted),
    ("server returned error 475", "send", AccountRestricted),
    ("server returned error 479", "send", RecipientsRejected),
    ("server returned error 400", "send", RecipientsRejected),
    ("server returned error 406", "send", RecipientsRejected),
    ("server returned error 421", "send", RecipientsRejected),
    ("server returned error 420", "send", ContentRefused),
    ("server returned error 401", "send", SessionLost),
    ("server returned error 500", "send", Unavailable),
    ("server returned error 503", "send", Unavailable),
    (f"{DEVICES}info query returned status 429: rate-overlimit", "send", RateLimited),
    (f"{DEVICES}info query returned status 400: bad-request", "send", RecipientsRejected),
    (f"{DEVICES}info query returned status 503: service-unavailable", "send", Unavailable),
    (f"{DEVICES}info query timed out", "send", Unavailable),
    (f"{DEVICES}websocket disconnected before info query returned response", "send", Unavailable),
    (f"{MEMBERS}websocket not connected", "send", Unavailable),
    (f"{MEMBERS}info query returned status 463: forbidden", "send", AccountRestricted),
    ("failed to send message node: websocket not connected", "send", Unavailable),
    ("failed to send message node: frame socket is closed", "send", Unavailable),
    ("failed to send message node: frame too large (got 20000000 bytes)", "send", TooLarge),
    ("failed to prefetch sessions: database is locked", "send", Unavailable),
    ("timed out waiting for message send response", "send", OutcomeUnknown),
    ("websocket disconnected before message send returned response", "send", OutcomeUnknown),
    ("websocket disconnected before message send (retry) returned response", "send", OutcomeUnknown),
    ("websocket not connected", "send", OutcomeUnknown),
    ("websocket not connected", "prepare", Unavailable),
    ("frame socket is closed", "send", OutcomeUnknown),
    ("frame socket is closed", "prepare", Unavailable),
    ("client is nil", "send", Unavailable),
    ("the store doesn't contain a device JID", "send", SessionLost),
    ("failed to dial whatsapp web websocket: no such host", "prepare", Unavailable),
    (f"{UPLOAD}507", "prepare", Unavailable),
    (f"{UPLOAD}403", "prepare", Unavailable),
    (f"{UPLOAD}413", "prepare", ContentRefused),
    (f"{UPLOAD}429", "prepare", RateLimited),
    ("info query returned status 429: rate-overlimit", "prepare", RateLimited),
    ("something that nobody has seen before", "prepare", Unavailable),
    ("something that nobody has seen before", "send", OutcomeUnknown),
]


@pytest.mark.parametrize(("text", "step", "kind"), TEXTS)
def test_a_text_is_the_failure_that_it_means(text: str, step: Step, kind: type[EngineFailure]) -> None:
    assert type(failure_of(text, step)) is kind


def test_no_failure_holds_a_whole_phone_number() -> None:
    said = str(failure_of("failed to encrypt for 6281234567890:12@s.whatsapp.net", "send"))
    assert "628...90" in said
    assert "1234567" not in said


def test_no_failure_goes_on_for_pages() -> None:
    assert len(str(failure_of("x " * 100_000, "send"))) < 400
