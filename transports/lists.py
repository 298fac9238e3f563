"""Lists of recipients in the object store `storycast_recipients`: those that requests name, and those of reports."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from itertools import islice

from stages.errors import StoreFailed
from stages.lines import LONGEST_LINE, Lines
from stages.lists import broken, missing
from transports import objects
from transports.bus import Bus
from transports.errors import TransportError
from transports.subjects import BUCKET_RECIPIENTS

_AT_ONCE = 2_048
"""Lines that are packed without letting other tasks run: some milliseconds."""
_GZIP = 16 + zlib.MAX_WBITS
"""What zlib calls gzip."""


class NatsLists:
    """The `RecipientLists` in the object store."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def read(self, name: str) -> AsyncGenerator[Sequence[str], None]:
        """The lines of the object `name`, some at a time. See `RecipientLists`."""
        lines = Lines()
        try:
            info = await objects.find(self._bus, BUCKET_RECIPIENTS, name)
            if info is None:
                raise missing(name)
            async with aclosing(objects.read(self._bus, info)) as chunks:
                async for chunk in chunks:
                    for some in lines.feed(chunk):
                        yield some
        except objects.ObjectBroken as error:
            raise broken(str(error), "an object as it was written") from error
        except TransportError as error:
            raise StoreFailed(f"the list {name} cannot be read: {error}") from error
        yield lines.end()


async def put_list(bus: Bus, name: str, lines: Iterable[str], *, compress: bool = True) -> objects.Info:
    """Store `lines` as the list `name`, in place of one that is there; gzip, unless `compress` is off.

    A million recipients need no more memory than a few, if `lines` makes them one by one, as an open file does: line
    breaks at their ends do not matter. Raises `TransportError` if it cannot be stored, and `ValueError` for a line
    with a break in it, or one longer than a reader takes.
    """
    pieces = _pieces(lines)
    return await objects.put(bus, BUCKET_RECIPIENTS, name, _packed(pieces) if compress else pieces)


async def delete_list(bus: Bus, name: str) -> None:
    """Remove the list `name`; that it is not there is fine. Raises `TransportError`."""
    await objects.delete(bus, BUCKET_RECIPIENTS, name)


def with_reasons(recipients: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Lines for a report: recipient, tab, reason. What was written in a request may be anything: it is made to fit."""
    for recipient, reason in recipients:
        yield f"{_fit(recipient)}\t{_fit(reason)}"


def _fit(text: str) -> str:
    """Without tabs and line breaks, and two of them are short enough for a line."""
    room = LONGEST_LINE // 2 - 5
    plain = " ".join(text.split())
    return plain if len(plain) <= room else f"{plain[:room]}..."


def _pieces(lines: Iterable[str]) -> Iterator[bytes]:
    stripped = (line.rstrip("\r\n") for line in lines)
    while some := list(islice(stripped, _AT_ONCE)):
        text = "\n".join(some)
        if text.count("\n") >= len(some) or max(map(len, some)) > LONGEST_LINE:
            raise ValueError(f"a line of a list has no breaks and at most {LONGEST_LINE} characters")
        yield f"{text}\n".encode()


def _packed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(wbits=_GZIP)
    yield from map(packer.compress, pieces)
    yield packer.flush()
