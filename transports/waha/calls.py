"""Calls over HTTP: bounded in time and in what is read, and each on a connection of its own."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
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
        headers = {} if body is None else {"Content-Type": "application/json"}
        request = self._client.build_request(
            method, f"{self._base}{path}", content=body, headers=headers, timeout=self._timeout
        )
        try:
            with anyio.fail_after(self._whole):
                return await self._answer(request)
        except TimeoutError:
            raise unanswered(f"WAHA did not answer within {self._whole:g} s") from None
        except _BEFORE as error:
            raise Unavailable(f"WAHA cannot be reached at {self._base}{_why(error)}") from None
        except httpx.TransportError as error:
            # Its text may quote what was sent or received; its kind says enough.
            raise unanswered(f"no whole answer from WAHA ({type(error).__name__})") from None

    async def _answer(self, request: httpx.Request) -> Answer:
        response = await self._client.send(request, stream=True)
        body = bytearray()
        try:
            async for part in response.aiter_raw():
                body += part
                if len(body) >= MAX_BODY:
                    break
        except httpx.TransportError:
            if response.is_success:
                raise
            # A refusal is one even if its words broke off.
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(status=response.status_code, headers=headers, body=bytes(body[:MAX_BODY]))


def _key(options: Waha) -> str:
    if options.api_key or not options.api_key_file:
        return options.api_key
    try:
        return Path(options.api_key_file).read_text(encoding="ascii").strip()
    except OSError as error:
        raise Unavailable(f"the API key file {options.api_key_file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Unavailable(f"the API key file {options.api_key_file} holds no plain text") from None


def _trust(options: Waha) -> ssl.SSLContext | bool:
    if not options.verify_tls:
        return False
    if not options.ca_file:
        return True
    try:
        return ssl.create_default_context(cafile=options.ca_file)
    except OSError as error:  # `SSLError`, where it holds no authorities, is one too
        raise Unavailable(f"the file of authorities {options.ca_file}: {error.strerror or error}") from None


def _why(error: BaseException) -> str:
    """What is worth knowing of why a connection failed, as far as it was TLS."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f": its certificate is not trusted ({cause.verify_message})"
        cause = cause.__cause__ or cause.__context__
    return ""
