"""Lines: however the bytes of a list are packed and cut into chunks, its lines come out, or it is refused."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import lines as module
from stages.errors import BadRequest
from stages.lines import LONGEST_LINE, PIECE, Lines
from tests.support import people

LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\ufeff"), max_size=8)


def read(*chunks: bytes) -> list[str]:
    lines = Lines()
    found = [line for chunk in chunks for piece in lines.feed(chunk) for line in piece]
    return [*found, *lines.end()]


def refused(*chunks: bytes) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        read(*chunks)
    assert (caught.value.code, caught.value.field) == ("list-broken", "recipientsRef")
    assert caught.value.allowed
    return caught.value


@given(
    st.lists(LINE, min_size=1, max_size=6),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(0, 60), max_size=6).map(sorted),
)
def test_lines_come_out_as_they_went_in(
    written: list[str], line_break: str, marked: bool, packed: bool, cuts: list[int]
) -> None:
    data = line_break.join([*written, ""]).encode("utf-8-sig" if marked else "utf-8")
    data = gzip.compress(data) if packed else data
    chunks = [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, None], strict=True)]
    assert read(*chunks) == written


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"\n", [""]),
        (b"\na", ["", "a"]),
        (b"ab\r\n\r\ncd\r", ["ab", "", "cd"]),
        (b"a\rb\x0bc\xe2\x80\xa8d\n", ["a\rb\x0bc\u2028d"]),
        (b"\xef\xbb\xbf", []),
        (b"\x1f\n", ["\x1f"]),
    ],
)
def test_only_line_feeds_cut_and_the_last_line_needs_none(data: bytes, lines: list[str]) -> None:
    assert read(data) == lines
    assert read(*(data[place : place + 1] for place in range(len(data)))) == lines
    assert read(gzip.compress(data)) == lines


def test_gzip_may_have_several_members_and_zeros_behind_them() -> None:
    data = gzip.compress(b"one\ntw") + gzip.compress(b"") + gzip.compress(b"o\n") + b"\0" * 700
    assert read(data) == ["one", "two"]
    assert read(*(data[place : place + 1] for place in range(len(data)))) == ["one", "two"]


def test_a_long_list_comes_in_small_pieces_whatever_it_is_packed_to() -> None:
    listed = people(20_000)
    data = "\n".join(listed).encode()
    for chunk in (data, gzip.compress(data)):
        lines = Lines()
        pieces = [*lines.feed(chunk), lines.end()]
        assert [line for piece in pieces for line in piece] == listed
        assert max(sum(map(len, piece)) for piece in pieces) <= PIECE + LONGEST_LINE


def test_what_unpacks_to_much_more_is_never_in_memory_at_once() -> None:
    bomb = gzip.compress(b"\n" * 10_000_000)
    lines = Lines()
    tracemalloc.start()
    try:
        assert sum(map(len, lines.feed(bomb))) == 10_000_000
        assert tracemalloc.get_traced_memory()[1] < 40 * PIECE
    finally:
        tracemalloc.stop()


def test_lines_may_be_as_long_as_promised_and_no_longer() -> None:
    longest = "x" * LONGEST_LINE
    assert read(f"{longest}\r".encode(), f"\n{longest}".encode()) == [longest, longest]
    for data in (f"a\n{longest}x\nb\n", f"a\n{longest}x", f"a\n{longest}xx", "a\n" + "x" * 1_000_000):
        assert refused(data.encode()).found == "more than 256 characters in line 2"
        assert refused(gzip.compress(data.encode())).found == "more than 256 characters in line 2"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe6\x002\x00",
        b"62812\n\xff",
        b"62812\n\xc3",
        gzip.compress(b"62812\n\xc3", mtime=0),
        b"PK\x03\x04\x14\x00\x00\x00\x08\x00\xee\xff",
    ],
)
def test_what_is_no_text_in_utf8_is_refused(data: bytes) -> None:
    assert "UTF-8" in refused(data).found


def test_damaged_gzip_is_refused() -> None:
    whole = gzip.compress(b"6281234567890\n" * 1_000)
    for length in range(2, len(whole)):
        assert "gzip" in refused(whole[:length]).found
    for place in range(10, len(whole)):
        damaged = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        assert refused(damaged).found
    assert "gzip" in refused(whole + b"more").found


def test_a_list_of_too_many_bytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 100)
    assert read(b"1234\n" * 20) == ["1234"] * 20
    for data in (b"1234\n" * 21, gzip.compress(b"1234\n" * 21)):
        assert refused(data).found == "more than 100 bytes"
