"""Every signal of WAHA that means something: how to bring it about, and what it must be told as."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

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
from tests.waha.faults import Fault, answer, by_whatsapp, exception, manner, session_is
from tests.waha.world import World
from transports.testing import SILENCE


class Signal(Struct, frozen=True):
    """`arrange` makes the next call meet it."""

    failure: type[EngineFailure]
    arrange: Callable[[World], None]


def _meets(failure: type[EngineFailure], fault: Fault) -> Signal:
    return Signal(failure, lambda world: world.meets(fault))


def _restrict(world: World) -> None:
    world.settings.restricted = True


def _becomes(state: str) -> Signal:
    def arrange(world: World) -> None:
        world.settings.state = state

    return Signal(SessionLost, arrange)


def _text(status: int, message: str) -> Fault:
    return answer(status, {"statusCode": status, "message": message})


_HTML = b"<html><body>It works!</body></html>"

SIGNALS: dict[str, Signal] = {
    # how many calls
    "429 with Retry-After": _meets(
        RateLimited, answer(429, {"message": "Too Many Requests"}, retry_after="7")
    ),
    "429 by WhatsApp": _meets(RateLimited, by_whatsapp(429)),
    "rate-overlimit": _meets(
        RateLimited, exception("2 UNKNOWN: info query returned status 429: rate-overlimit")
    ),
    # nobody got it
    "500": _meets(Unavailable, _text(500, "Internal server error")),
    "503": _meets(Unavailable, answer(503, _HTML, content_type="text/html")),
    "500 by WhatsApp": _meets(Unavailable, by_whatsapp(500)),
    "not connected": _meets(Unavailable, exception("2 UNKNOWN: websocket not connected")),
    "NOWEB is not connected": _meets(Unavailable, exception("Connection Closed", details="", code=428)),
    "GOWS is not running": _meets(
        Unavailable,
        exception("14 UNAVAILABLE: No connection established. Last error: connect ENOENT /tmp/gows.sock"),
    ),
    "device list timed out": _meets(
        Unavailable,
        exception("2 UNKNOWN: failed to get device list: failed to send usync query: info query timed out"),
    ),
    "422 in a new status": _meets(Unavailable, session_is("SOMETHING_NEW")),
    "500 with a status of its own": _meets(Unavailable, answer(500, {"status": "SCAN_QR_CODE"})),
    "422 STARTING": _meets(Unavailable, session_is("STARTING")),
    "redirect": _meets(Unavailable, answer(302, b"", location="http://127.0.0.1:1/elsewhere")),
    "media host away": _meets(
        Unavailable,
        exception("getaddrinfo ENOTFOUND media.example", name="AxiosError", code="ENOTFOUND", details=""),
    ),
    # who knows
    SILENCE: _meets(OutcomeUnknown, manner("silent", delivers=True)),
    "reset, delivered": _meets(OutcomeUnknown, manner("reset", delivers=True)),
    "reset, not delivered": _meets(OutcomeUnknown, manner("reset")),
    "reset, unread": _meets(OutcomeUnknown, manner("unread")),
    "cut answer": _meets(OutcomeUnknown, manner("cut", body=b'{"key":{"id":"3EB0', delivers=True)),
    "dribbling answer": _meets(OutcomeUnknown, manner("dribble", delivers=True)),
    "sent, without an id": _meets(OutcomeUnknown, answer(201, {"_data": {}}, delivers=True)),
    "sent, answer is garbage": _meets(OutcomeUnknown, answer(201, b'{"id":tru', delivers=True)),
    "sent, answer is a page": _meets(
        OutcomeUnknown, answer(200, _HTML, content_type="text/html", delivers=True)
    ),
    "no ack from WhatsApp": _meets(
        OutcomeUnknown,
        exception("2 UNKNOWN: batch 1: timed out waiting for message send response", delivers=True),
    ),
    "WhatsApp went away": _meets(
        OutcomeUnknown,
        exception("2 UNKNOWN: websocket disconnected before message send returned response", delivers=True),
    ),
    "NOWEB timed out": _meets(OutcomeUnknown, exception("Timed Out", details="", code=408, delivers=True)),
    "GOWS went away": _meets(OutcomeUnknown, exception("14 UNAVAILABLE: Connection dropped", delivers=True)),
    "a part failed": _meets(
        OutcomeUnknown, exception("2 UNKNOWN: batch 2: server returned error 400", delivers=True)
    ),
    "gRPC deadline": _meets(
        OutcomeUnknown, exception("4 DEADLINE_EXCEEDED: Deadline exceeded", delivers=True)
    ),
    "502 by a proxy": _meets(OutcomeUnknown, answer(502, _HTML, content_type="text/html")),
    "504 by a proxy": _meets(OutcomeUnknown, answer(504, _HTML, content_type="text/html", delivers=True)),
    # some of the recipients
    **{f"{code} by WhatsApp": _meets(RecipientsRejected, by_whatsapp(code)) for code in (400, 406, 421, 479)},
    "400 of the only part": _meets(
        RecipientsRejected, exception("2 UNKNOWN: batch 1: server returned error 400")
    ),
    "406 on prekeys": _meets(
        RecipientsRejected, exception("2 UNKNOWN: info query returned status 406: not-acceptable")
    ),
    "frame too large": _meets(TooLarge, exception("2 UNKNOWN: failed to send message node: frame too large")),
    "413": _meets(TooLarge, _text(413, "request entity too large")),
    # the account
    "463 by WhatsApp": Signal(AccountRestricted, _restrict),
    "475 by WhatsApp": _meets(AccountRestricted, by_whatsapp(475)),
    "temporary ban": _meets(AccountRestricted, exception("2 UNKNOWN: temporarily banned (TempBan 101)")),
    # the session
    "401 by WhatsApp": _meets(SessionLost, by_whatsapp(401)),
    "403 by WhatsApp": _meets(SessionLost, by_whatsapp(403)),
    "401 by WAHA": _meets(SessionLost, _text(401, "Unauthorized")),
    "403 by WAHA": _meets(SessionLost, _text(403, "Forbidden resource")),
    "422 SCAN_QR_CODE": _becomes("SCAN_QR_CODE"),
    "422 FAILED": _becomes("FAILED"),
    "422 STOPPED": _becomes("STOPPED"),
    "422 PASSKEY_REQUIRED": _becomes("PASSKEY_REQUIRED"),
    "no such session": _meets(SessionLost, _text(404, "We didn't find a session with name 'main'.")),
    "logged out": _meets(SessionLost, exception("2 UNKNOWN: the store doesn't contain a device JID")),
    # the content
    "418 by WhatsApp": _meets(ContentRefused, by_whatsapp(418)),
    "400 by WAHA": _meets(
        ContentRefused, answer(400, {"statusCode": 400, "message": ["text must be a string"]})
    ),
    "422 by WAHA": _meets(ContentRefused, _text(422, "WEBJS doesn't accept 'contacts'.")),
    "501 by WAHA": _meets(ContentRefused, _text(501, "The method is not implemented by 'WEBJS' engine.")),
    "no WAHA there": _meets(ContentRefused, _text(404, "Cannot POST /api/main/status/text")),
    "upload failed": _meets(
        ContentRefused, exception("2 UNKNOWN: failed to upload: upload failed with status code 413")
    ),
    "media not found": _meets(
        ContentRefused,
        exception(
            "Request failed with status code 404", name="AxiosError", code="ERR_BAD_REQUEST", details=""
        ),
    ),
}
"""By name. A restriction, and a session that stopped working, stay until the settings are changed again."""
WAITS: Mapping[str, float] = {"429 with Retry-After": 7.0}
"""Those that name a wait, and its seconds."""
