"""What reached whom, as the recipients read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import trio

from tests.whatsapp.nodes import Node, child, children, user


class Reader(Protocol):
    """A device that opens what it was sent."""

    def receive(self, kind: str, ciphertext: bytes, to_all: bytes) -> Any: ...


@dataclass(frozen=True)
class Enc:
    """One ciphertext and its type: pkmsg (starts a session), msg, skmsg (for all)."""

    kind: str
    content: bytes


@dataclass(frozen=True)
class Post:
    """One message as it arrived at the server."""

    message_id: str
    sender: str
    kind: str
    to: Mapping[str, Enc]
    """By device."""
    to_all: Enc
    size: int
    """Bytes of the whole stanza."""
    delivered: bool
    """Whether the server passed it on to the recipients."""

    @property
    def recipients(self) -> frozenset[str]:
        """Whom it was for, the account itself left out."""
        return frozenset(map(user, self.to)) - {user(self.sender)}

    def kinds(self) -> set[str]:
        """The types of the recipients' ciphertexts, the account's own phone left out."""
        return {enc.kind for jid, enc in self.to.items() if user(jid) in self.recipients}


class Ledger:
    """Every post in the order of arrival, and what each recipient read of it."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self.unknown: list[Node] = []
        """Queries that the server has no answer for."""
        self.receipts = 0
        """Messages of contacts that a client has taken in."""
        self._changed = trio.Condition()
        self._read: dict[int, dict[str, Any]] = {}

    async def add(self, post: Post) -> None:
        async with self._changed:
            self.posts.append(post)
            self._changed.notify_all()

    async def add_receipt(self) -> None:
        async with self._changed:
            self.receipts += 1
            self._changed.notify_all()

    async def until_receipts(self, count: int) -> None:
        """Wait until so many messages of contacts were taken in. The caller sets the deadline."""
        async with self._changed:
            while self.receipts < count:
                await self._changed.wait()

    async def until(self, count: int) -> None:
        """Wait until so many posts have arrived. The caller sets the deadline."""
        async with self._changed:
            while len(self.posts) < count:
                await self._changed.wait()

    def read(self, index: int, readers: Mapping[str, Reader]) -> dict[str, Any]:
        """What the recipients' devices make of a post: each one's message.

        A frame that was sent twice (same id, same ciphertext) is read once, as the recipients do.
        """
        for at, post in enumerate(self.posts[: index + 1]):
            if at not in self._read:
                self._read[at] = self._twin(at) or self._open(post, readers)
        return self._read[index]

    def _twin(self, at: int) -> dict[str, Any] | None:
        post = self.posts[at]
        return next(
            (self._read[i] for i, one in enumerate(self.posts[:at]) if one.to_all == post.to_all), None
        )

    def _open(self, post: Post, readers: Mapping[str, Reader]) -> dict[str, Any]:
        return {
            jid: readers[jid].receive(enc.kind, enc.content, post.to_all.content)
            for jid, enc in post.to.items()
        }


def as_post(message: Node, sender: str, size: int, delivered: bool) -> Post:
    """A message stanza as a post."""
    encs = {to.attrs["jid"]: _enc(child(to, "enc")) for to in children(child(message, "participants"))}
    return Post(
        message_id=message.attrs["id"],
        sender=sender,
        kind=message.attrs["type"],
        to=encs,
        to_all=_enc(child(message, "enc")),
        size=size,
        delivered=delivered,
    )


def _enc(node: Node | None) -> Enc:
    if node is None or not isinstance(node.content, bytes):
        raise ValueError("a message without its ciphertext")
    return Enc(node.attrs["type"], node.content)
