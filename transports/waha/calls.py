"""Calls over HTTP: bounded in time and in what is read, and each on a connection of its own."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import anyio
import httpx
from msgspec import Struct

from stages.errors import EngineFailure, OutcomeUnknown, Unavailable
from transports.waha.options import Waha

MAX_BODY = 64 * 1024
"""Bytes of an answer that are read: an error echoes the whole request."""

# What certainly happened before anything of the request was taken in.
_BEFORE = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class Answer(Struct, frozen=True, kw_only=True):
    """What came back: `body` is its beginning where it was too long, or where the connection broke."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<Answer: {self.status}, {len(self.body)} bytes>"  # a body may echo content and phone numbers

    @property
    def succeeded(self) -> bool:
        """It says that what was asked has been done."""
        return 200 <= self.status < 300


@asynccontextmanager
async def open_calls(options: Waha) -> AsyncGenerator[Calls]:
    """Raises `Unavailable` where the key or the authorities cannot be read."""
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "storycast"}
    if key := _key(options):
        headers["X-Api-Key"] = key
    # No connection is kept: WAHA closes idle ones when it likes, and a call that meets this would look like one that
    # was perhaps sent. No environment either: where the key goes is said by the options alone.
    limits = httpx.Limits(max_connections=options.connections, max_keepalive_connections=0)
    async with httpx.AsyncClient(
        headers=headers, verify=_trust(options), limits=limits, trust_env=False, follow_redirects=False
    ) as client:
        calls = Calls(client, options)
        try:
            yield calls
        finally:
            calls.close()


class Calls:
    """Asks WAHA. After `close` it asks nothing any more."""

    def __init__(self, client: httpx.AsyncClient, options: Waha) -> None:
        self._client = client
        self._base = options.url.rstrip("/")
        self._whole = options.timeout
        self._timeout = httpx.Timeout(
            options.timeout, connect=options.connect_timeout, pool=options.connect_timeout
        )
        self._closed = False

    def close(self) -> None:
        """Let nothing more go out."""
        self._closed = True

    async def get(self, path: str) -> Answer:
        """Ask for something that changes nothing. Raises `Unavailable` where there is no answer."""
        return await self._ask("GET", path, None, unanswered=Unavailable)

    async def post(self, path: str, body: bytes) -> Answer:
        """Raises `Unavailable` where nothing was sent, `OutcomeUnknown` where it may have been."""
        return await self._ask("POST", path, body, unanswered=OutcomeUnknown)

    async def _ask(
        self, method: str, path: str, body: bytes | None, *, unanswered: type[EngineFailure]
    ) -> Answer:
        if self._closed:
            raise Unavailable("the engine is closed")
        request = self._request(method, path, body)
        reading = _Reading()
        try:
            with anyio.fail_after(self._whole):
                await self._read(request, reading)
        except TimeoutError:
            failure = unanswered(f"WAHA did not answer within {self._whole:g} s")
        except _BEFORE as error:
            failure = Unavailable(f"WAHA cannot be reached at {self._base}{_why(error)}")
        except httpx.TransportError as error:
            # Its text may quote what was sent or received; its kind says enough.
            failure = unanswered(f"no whole answer from WAHA ({type(error).__name__})")
        else:
            return reading.answer()
        # A refusal is one even if its words break off.
        if reading.status >= 300:
            return reading.answer()
        raise failure

    def _request(self, method: str, path: str, body: bytes | None) -> httpx.Request:
        described = {"Content-Type": "application/json", "Content-Length": str(len(body or b""))}
        headers = {} if body is None else described
        request = self._client.build_request(
            method, f"{self._base}{path}", headers=headers, timeout=self._timeout
        )
        request.stream = _Body(body or b"")
        return request

    async def _read(self, request: httpx.Request, reading: _Reading) -> None:
        response = await self._client.send(request, stream=True)
        try:
            reading.status, reading.headers = response.status_code, dict(response.headers.items())
            await reading.take(response)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()


class _Body(httpx.AsyncByteStream):
    """What is sent, in one piece. No generator, as httpx's own are: Trio complains of those that are left half-way."""

    def __init__(self, body: bytes) -> None:
        self._rest = [body] if body else []

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if not self._rest:
            raise StopAsyncIteration
        return self._rest.pop()


class _Reading:
    """As much of an answer as has come."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self._body = bytearray()

    async def take(self, response: httpx.Response) -> None:
        """Read the body to its end, or until it is too long."""
        try:
            async for part in response.aiter_raw():
                self._body += part[: MAX_BODY - len(self._body)]
                if len(self._body) == MAX_BODY:
                    # Not `break`: a generator left in the middle is not cleaned up. This ends it by an error.
                    await response.aclose()
        except (httpx.TransportError, httpx.StreamError):
            if len(self._body) < MAX_BODY:
                raise

    def answer(self) -> Answer:
        """What has come."""
        return Answer(status=self.status, headers=self.headers, body=bytes(self._body))


def _key(options: Waha) -> str:
    if options.api_key or not options.api_key_file:
        return options.api_key
    try:
        key = Path(options.api_key_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise Unavailable(f"the API key file {options.api_key_file}: {why}") from None
    if not re.fullmatch(r"[!-~]+", key):
        raise Unavailable(f"the API key file {options.api_key_file} holds no key")
    return key


def _trust(options: Waha) -> ssl.SSLContext | bool:
    if not options.verify_tls or options.url.startswith("http://"):
        return False
    if not options.ca_file:
        return _usual_authorities()
    try:
        return ssl.create_default_context(cafile=options.ca_file)
    except OSError as error:  # `SSLError`, where it holds no authorities, is one too
        raise Unavailable(f"the file of authorities {options.ca_file}: {error.strerror or error}") from None


@cache
def _usual_authorities() -> ssl.SSLContext:
    """Read once for all sessions: there are many of them, and they take a while."""
    return httpx.create_ssl_context()


def _why(error: BaseException) -> str:
    """What is worth knowing of why a connection failed, as far as it was TLS."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f": its certificate is not trusted ({cause.verify_message})"
        cause = cause.__cause__ or cause.__context__
    return ""
