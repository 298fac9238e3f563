"""The WAHA behind the loopback server: one session, what it answers, and whom that reaches."""

from __future__ import annotations

import re
from collections import deque
from typing import Any, Literal
from uuid import uuid4

import msgspec
import trio
from msgspec import Struct

from tests.waha.checks import FIELDS, problems_with
from tests.waha.faults import Fault, Reply, exception_body, session_body
from tests.waha.ledger import Ledger, Seen, canonical_of, digest

Route = Literal["post", "session", "version", "new-id"]

_SESSION = re.compile(r"/api/sessions/([^/]+)")
_NEW_ID = re.compile(r"/api/([^/]+)/status/new-message-id")
_POST = re.compile(r"/api/([^/]+)/status/(text|image|video|voice)")


class Settings(Struct, kw_only=True):
    """What this WAHA is; may be changed while it runs."""

    engine: str = "GOWS"
    version: str = "2026.7.1"
    tier: str = "CORE"
    session: str = "main"
    state: str = "WORKING"
    own: str = "628110000001@c.us"
    own_lid: str = "99110000001@lid"
    api_key: str = ""
    restricted: bool = False
    part: int = 500
    """Contacts of one call to WhatsApp; a call with more is split."""
    serialized: bool | None = None
    """Whether the id comes as `true_status@broadcast_...`; None: as the engine does it."""
    answered_id: str | None = None
    """The id in the answers, whatever was asked for."""
    session_key: bool = False
    """The key is for this session only: nothing is said of the server."""


class Request(Struct, frozen=True, kw_only=True):
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class World:
    """Answers requests, and knows who saw what."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.ledger = Ledger()
        self.requests: list[Request] = []
        self.posts = 0
        """Status requests that arrived, whatever became of them."""
        self.under_way = 0
        self.peak = 0
        self._faults: dict[Route, deque[Fault]] = {
            "post": deque(),
            "session": deque(),
            "version": deque(),
            "new-id": deque(),
        }
        self._arrivals = trio.lowlevel.ParkingLot()

    def meets(self, *faults: Fault, on: Route = "post") -> None:
        """The next calls meet these, one each."""
        self._faults[on].extend(faults)

    async def arrived(self, posts: int) -> None:
        """Wait until so many status requests have arrived."""
        while self.posts < posts:
            await self._arrivals.park()

    def takes_unread(self, method: str) -> bool:
        """Whether the next call is cut off before it is read."""
        waiting = self._faults["post"]
        if method != "POST" or not waiting or not waiting[0].unread:
            return False
        waiting.popleft()
        self._arrived()
        return True

    def answer(self, request: Request) -> Reply:
        """What becomes of a request."""
        self.requests.append(request)
        if found := _POST.fullmatch(request.path):
            self._arrived()
        if self.settings.api_key and request.headers.get("x-api-key") != self.settings.api_key:
            return _refused(401, "Unauthorized")
        if request.method == "POST" and found:
            return self._post(found[1], found[2], request)
        if request.method == "GET":
            return self._get(request.path)
        return self._unknown(request)

    def _arrived(self) -> None:
        self.posts += 1
        self._arrivals.unpark_all()

    def _get(self, path: str) -> Reply:
        if path == "/api/server/version":
            return self._met("version") or self._version()
        if found := _SESSION.fullmatch(path):
            return self._met("session") or self._session(found[1])
        if (found := _NEW_ID.fullmatch(path)) and self.takes_ids:
            return self._met("new-id") or self._new_id(found[1])
        if found and self.settings.engine not in {"GOWS", "NOWEB"} and self._since(2025, 3, 2):
            return _refused(501, f"The method is not implemented by '{self.settings.engine}' engine.")
        return _refused(404, f"Cannot GET {path}", "Not Found")

    def _unknown(self, request: Request) -> Reply:
        self.ledger.problems.append(f"WAHA has no {request.method} {request.path}")
        return _refused(404, f"Cannot {request.method} {request.path}", "Not Found")

    def _met(self, route: Route, request: Any = None) -> Reply | None:
        waiting = self._faults[route]
        return waiting.popleft().reply(request) if waiting else None

    @property
    def takes_ids(self) -> bool:
        """Whether this engine and version knows ids that are given to it."""
        return self.settings.engine in {"GOWS", "NOWEB"} and self._since(2025, 3, 2)

    def _since(self, *version: int) -> bool:
        return tuple(map(int, self.settings.version.split("."))) >= version

    def _version(self) -> Reply:
        if self.settings.session_key:
            return _refused(403, "Forbidden resource", "Forbidden")
        about = {name: getattr(self.settings, name) for name in ("version", "engine", "tier")}
        return _json(200, {**about, "browser": None, "platform": "linux/x64", "worker": {"id": None}})

    def _session(self, name: str) -> Reply:
        own = self.settings
        if name != own.session or own.state == "MISSING":
            return _refused(404, "Session not found", "Not Found")
        me = {"id": own.own, "lid": own.own_lid, "pushName": "WAHA"} if own.state == "WORKING" else None
        return _json(
            200,
            {
                "name": name,
                "status": own.state,
                "config": {},
                "me": me,
                "engine": {"engine": own.engine},
                "presence": None,
                "timestamps": {"activity": None},
            },
        )

    def _new_id(self, name: str) -> Reply:
        return self._not_working(name) or _json(200, {"id": fresh_id()})

    def _not_working(self, name: str) -> Reply | None:
        own = self.settings
        if name != own.session or own.state == "MISSING":
            return _refused(404, f"We didn't find a session with name '{name}'.", "Not Found")
        return None if own.state == "WORKING" else _json(422, session_body(name, own.state))

    def _post(self, name: str, kind: str, request: Request) -> Reply:
        body = _decoded(request.body)
        self._look_at(kind, body, request)
        if self._faults["post"]:
            fault = self._faults["post"].popleft()
            if fault.delivers:
                self._deliver(kind, body)
            return fault.reply(body)
        return self._not_working(name) or self._cannot(kind, body) or self._sent(kind, body)

    def _look_at(self, kind: str, body: Any, request: Request) -> None:
        found = problems_with(kind, body, own=self.settings.own, takes_ids=self.takes_ids)
        if request.headers.get("content-type", "").partition(";")[0] != "application/json":
            found.append("the body is not said to be JSON")
        self.ledger.problems.extend(f"{kind}: {problem}" for problem in found)

    def _cannot(self, kind: str, body: Any) -> Reply | None:
        own = self.settings
        if not isinstance(body, dict) or kind not in FIELDS:
            return _refused(400, "Unexpected token in JSON at position 0", "Bad Request")
        if own.engine not in {"GOWS", "NOWEB"} and body.get("contacts"):
            return _refused(
                422, f"{own.engine} doesn't accept 'contacts'. Remove the field.", "Unprocessable Entity"
            )
        if kind != "text" and own.tier == "CORE" and not self._since(2026, 6, 1):
            return _refused(422, "The feature is available only in Plus version.", "Unprocessable Entity")
        if own.restricted:
            return Reply(status=500, body=exception_body("2 UNKNOWN: server returned error 463", body))
        return None

    def _sent(self, kind: str, body: dict[str, Any]) -> Reply:
        message_id = self.settings.answered_id or self._deliver(kind, body)
        serialized = self.settings.serialized
        if self.settings.engine == "GOWS" if serialized is None else serialized:
            full = f"true_status@broadcast_{message_id}_{self.settings.own}"
            return _json(201, {"id": full, "_data": {"Info": {"ID": message_id}}})
        key = {"remoteJid": "status@broadcast", "fromMe": True, "id": message_id}
        return _json(201, {"key": key, "message": {}, "status": "PENDING"})

    def _deliver(self, kind: str, body: dict[str, Any]) -> str:
        contacts, own = body["contacts"], {self.settings.own, self.settings.own_lid}
        message_id = body.get("id") or fresh_id()
        self.ledger.note(
            Seen(
                message_id=message_id,
                recipients=canonical_of([contact for contact in contacts if contact not in own]),
                content=digest(body),
                kind=kind,
                own=self.settings.own in contacts,
                stanzas=-(-len(contacts) // self.settings.part),
            )
        )
        return message_id


def fresh_id() -> str:
    """A message id as WhatsApp Web gives them."""
    return f"3EB0{uuid4().hex[:18].upper()}"


def _decoded(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None


def _json(status: int, body: Any) -> Reply:
    return Reply(status=status, body=msgspec.json.encode(body))


def _refused(status: int, message: str, error: str = "") -> Reply:
    named = {"error": error} if error else {}
    return _json(status, {"message": message, **named, "statusCode": status})
