"""Lists of recipients that are too long for a message: requests name them, and they are read piece by piece.

A list is text in UTF-8, one recipient a line, gzip or not. Where lists are kept is behind the port
`RecipientLists`; what a list that cannot be used is refused with is the same for all of them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Container, Iterable, Sequence
from contextlib import aclosing
from itertools import islice
from typing import Protocol

from anyio.lowlevel import checkpoint

from stages.errors import BadRequest
from stages.recipients import Roster, Sorter

MOST_LINES = 5_000_000
AT_ONCE = 1_024
"""Lines sorted out without letting other tasks run: some milliseconds."""


class RecipientLists(Protocol):
    """Where lists are kept."""

    def read(self, name: str) -> AsyncGenerator[Sequence[str], None]:
        """The lines of the list `name` in order, without line breaks, some at a time. To be closed after use.

        Raises `BadRequest` (see `missing`, `broken`) if there is no such list or it cannot be used, and `StoreFailed`
        if that cannot be found out now. What was read counts only once the iteration has come to its end: there a
        list may still turn out to be broken.
        """
        ...


class MemoryLists:
    """Lists in memory, by name: for embedding single stages, and for tests."""

    def __init__(self) -> None:
        self.kept: dict[str, Sequence[str]] = {}

    async def read(self, name: str) -> AsyncGenerator[Sequence[str], None]:
        """The lines of the list, all at once."""
        await checkpoint()
        if name not in self.kept:
            raise missing(name)
        yield self.kept[name]


async def gather(lists: RecipientLists, name: str, suppressed: Container[str]) -> Roster:
    """The recipients in the list `name`, sorted out; empty lines do not count.

    Other tasks get their turn every few thousand lines. Raises `BadRequest` if the list is missing, broken, too long,
    or names a group, a newsletter or a broadcast list (`field` then has the number of the line, from 1), and
    `StoreFailed` if it cannot be read now.
    """
    sorter = Sorter(suppressed, field="recipientsRef:{}".format)
    last = 0
    async with aclosing(lists.read(name)) as pieces:
        async for piece in pieces:
            last += len(piece)
            if last > MOST_LINES:
                raise broken(f"more than {MOST_LINES:,} lines", f"{MOST_LINES:,} lines at most")
            numbered = iter(enumerate(piece, last - len(piece) + 1))
            while some := list(islice(numbered, AT_ONCE)):
                sorter.add(_filled(some))
                await checkpoint()
    return sorter.roster()


def missing(name: str) -> BadRequest:
    """What a request is refused with if there is no list `name`."""
    allowed = "the name of an object in the object store storycast_recipients"
    return BadRequest("list-missing", field="recipientsRef", found=name, allowed=allowed)


def broken(found: str, allowed: str) -> BadRequest:
    """What a request is refused with if its list cannot be used as it is."""
    return BadRequest("list-broken", field="recipientsRef", found=found, allowed=allowed)


def _filled(numbered: Iterable[tuple[int, str]]) -> Iterable[tuple[int, str]]:
    return ((number, line) for number, line in numbered if line and not line.isspace())
