"""From the bytes of a list to its lines, piece by piece: never more in memory than a piece, whatever the bytes are.

What is wrong with them is raised as the `BadRequest` of `stages.lists.broken`.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterator

from stages.lists import broken

LONGEST_LINE = 256
"""Characters."""
MOST_BYTES = 256 * 1024 * 1024
"""Bytes of a list, unpacked."""
PIECE = 64 * 1024
"""Bytes that are unpacked, and become lines, in one step."""

_GZIP = b"\x1f\x8b"
_WITH_HEADER = 16 + zlib.MAX_WBITS
"""What zlib calls gzip."""


class Lines:
    """Turns bytes into lines: unpacks, decodes UTF-8, cuts at LF or CRLF. A BOM at the beginning is fine."""

    def __init__(self) -> None:
        self._unpacker = Unpacker()
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._rest = ""
        self._lines = 0
        self._bytes = 0

    def feed(self, data: bytes) -> Iterator[list[str]]:
        """The lines that `data` completes, in steps of bounded size, each of which has to be taken."""
        for piece in self._unpacker.feed(data):
            yield self._cut(self._decoded(piece))

    def end(self) -> list[str]:
        """The lines that are left once all bytes were fed: a last one without a line break, mostly."""
        lines = self._cut(self._decoded(self._unpacker.end(), final=True))
        return lines + self._cut("\n") if self._rest else lines

    def _decoded(self, piece: bytes, *, final: bool = False) -> str:
        self._bytes += len(piece)
        if self._bytes > MOST_BYTES:
            raise broken(f"more than {MOST_BYTES:,} bytes", f"{MOST_BYTES:,} bytes at most")
        try:
            return self._decoder.decode(piece, final)
        except UnicodeDecodeError as error:
            found = f"bytes that are no UTF-8, not far after line {self._lines:,}"
            raise broken(found, "text in UTF-8, one recipient a line, gzip or not") from error

    def _cut(self, text: str) -> list[str]:
        # A CR at the very end waits with the rest for its LF.
        *lines, self._rest = (self._rest + text).replace("\r\n", "\n").split("\n")
        lengths = [*map(len, lines), len(self._rest) - 1]
        if max(lengths) > LONGEST_LINE:
            number = next(number for number, length in enumerate(lengths, 1) if length > LONGEST_LINE)
            found = f"more than {LONGEST_LINE} characters in line {self._lines + number:,}"
            raise broken(found, f"one recipient a line, {LONGEST_LINE} characters at most")
        self._lines += len(lines)
        return lines


class Unpacker:
    """Gunzips bytes that begin like gzip, member after member, and lets any others through."""

    def __init__(self) -> None:
        self._opening = b""
        self._is_packed: bool | None = None
        self._member = zlib.decompressobj(_WITH_HEADER)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` unpacks to, in pieces."""
        if self._is_packed is None:
            data = self._opening + data
            if len(data) < len(_GZIP):
                self._opening = data
                return
            self._is_packed = data.startswith(_GZIP)
        if self._is_packed:
            yield from self._unpacked(data)
        else:
            yield from (data[start : start + PIECE] for start in range(0, len(data), PIECE))

    def end(self) -> bytes:
        """What was held back."""
        if self._is_packed and not self._member.eof:
            raise broken("gzip that ends too early", "the whole of it")
        return b"" if self._is_packed is not None else self._opening

    def _unpacked(self, data: bytes) -> Iterator[bytes]:
        while data:  # what zlib still holds back comes out with the checksum that follows it
            if self._member.eof:
                data = data.lstrip(b"\0")  # what pads the end
                if not data:
                    return
                self._member = zlib.decompressobj(_WITH_HEADER)
            try:
                piece = self._member.decompress(data, PIECE)
            except zlib.error as error:
                raise broken(f"damaged gzip ({error})", "gzip, or plain text") from error
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            yield piece
