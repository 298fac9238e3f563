"""Media of a story as bytes: inline, or fetched from its `url` with a bound on size and time."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from stages.errors import ContentRefused, Unavailable
from stages.messages import Content, Text

_CHUNK: Final = 64 * 1024
_MIB: Final = 1024 * 1024
_STEP_TIMEOUT: Final = 15.0


def media_of(
    content: Content, *, largest: int, timeout: float, clock: Callable[[], float] = time.monotonic
) -> bytes | None:
    """The media of `content`, or None for a text. `largest` is in MiB, `timeout` in seconds.

    Raises `ContentRefused` where it is not to be had or too large, `Unavailable` where it may be later.
    """
    if isinstance(content, Text):
        return None
    if content.url is None:
        return content.data
    try:
        return _fetched(content.url, largest * _MIB, clock() + timeout, clock)
    except HTTPError as error:
        error.close()
        # What is left of 3xx are redirects that are not followed: to something else than HTTP, or in a circle.
        kind = ContentRefused if 300 <= error.code < 500 and error.code != 429 else Unavailable
        raise kind(f"the media's address answered {error.code}") from None
    except URLError as error:
        raise Unavailable(f"the media's address cannot be reached: {type(error.reason).__name__}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise Unavailable(f"the media could not be fetched: {type(error).__name__}") from None


def _fetched(url: str, largest: int, deadline: float, clock: Callable[[], float]) -> bytes:
    parts, size = [], 0
    with _opener().open(Request(url), timeout=min(_STEP_TIMEOUT, max(0.1, deadline - clock()))) as answer:
        while part := answer.read1(_CHUNK):
            parts.append(part)
            size += len(part)
            if size > largest:
                raise ContentRefused(
                    f"the media is larger than {largest // _MIB} MiB, the limit of `max_media`"
                )
            if clock() > deadline:
                raise Unavailable("the media could not be fetched in time")
    return b"".join(parts)


def _opener() -> OpenerDirector:
    # The usual one also opens files and FTP, to which an answer could redirect.
    opener = OpenerDirector()
    for handler in (
        ProxyHandler,
        HTTPHandler,
        HTTPSHandler,
        HTTPRedirectHandler,
        HTTPDefaultErrorHandler,
        HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener
