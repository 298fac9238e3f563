"""Media by address is fetched within bounds, and what cannot be had is told from what cannot be had now."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import pytest

from stages.errors import ContentRefused, EngineFailure, Unavailable
from stages.messages import Image, Text
from transports.neonize.media import media_of

MIB = 1024 * 1024
ELSEWHERE = {"/301": "ftp://127.0.0.1/a.png", "/307": "/307", "/303": "news:a.png"}


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.isdigit() or self.path[1:].isdigit():
            self.send_response(int(self.path[1:]))
            self.send_header("Location", ELSEWHERE.get(self.path, "file:///etc/passwd"))
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        size = {"/small": 10, "/large": 2 * MIB, "/slow": 200_000}[self.path]
        self.wfile.write(b"x" * size)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def site() -> Iterator[str]:
    with served() as address:
        yield address


def picture(url: str) -> Image:
    return Image(mimetype="image/png", url=url)


def test_a_text_has_none_and_inline_media_is_taken_as_it_is() -> None:
    assert media_of(Text(text="Hi"), largest=1, timeout=5) is None
    assert media_of(Image(mimetype="image/png", data=b"png"), largest=1, timeout=5) == b"png"


def test_an_address_is_fetched(site: str) -> None:
    assert media_of(picture(f"{site}/small"), largest=1, timeout=5) == b"x" * 10


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("404", ContentRefused),
        ("403", ContentRefused),
        ("429", Unavailable),
        ("500", Unavailable),
        ("large", ContentRefused),
    ],
)
def test_what_cannot_be_had_is_told_apart(site: str, path: str, kind: type[EngineFailure]) -> None:
    with pytest.raises(EngineFailure) as failure:
        media_of(picture(f"{site}/{path}"), largest=1, timeout=5)
    assert type(failure.value) is kind


@pytest.mark.parametrize("path", ["301", "302", "303", "307"])
def test_an_answer_that_leads_elsewhere_than_to_http_or_in_a_circle_is_refused(site: str, path: str) -> None:
    with pytest.raises(ContentRefused, match=path):
        media_of(picture(f"{site}/{path}"), largest=1, timeout=5)


def test_a_fetch_that_takes_too_long_is_given_up(site: str) -> None:
    ticks = count(0, 10)
    with pytest.raises(Unavailable, match="in time"):
        media_of(picture(f"{site}/slow"), largest=1, timeout=15, clock=lambda: float(next(ticks)))


def test_nobody_there_may_be_there_later() -> None:
    with served() as address:
        pass
    with pytest.raises(Unavailable) as failure:
        media_of(picture(f"{address}/small"), largest=1, timeout=5)
    assert address not in str(failure.value)
