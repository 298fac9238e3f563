"""The checkpoint of a story: where it stands, small enough to be stored after every batch.

It is written before a batch counts, and before the next one goes out, so that whoever takes the story up after a crash
knows what is done, and which recipients may or may not have got it (`out`). Recipients are places in the sending
order; `order` is that order's fingerprint, so that places are never read against another list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from hashlib import blake2b
from typing import Literal, Protocol

from msgspec import Struct

from stages.history import History
from stages.messages import BatchOutcome
from stages.people import People
from stages.policy import TRIES

VERSION = 1
REMEMBERED_BATCHES = 5_000
"""So many batches a checkpoint and a report name; the counts are always whole."""

Packed = tuple[int, ...]
"""`Ranges.packed()`."""
JobState = Literal["open", "paused", "cancelled", "finished"]


class BatchRecord(Struct, frozen=True, array_like=True):
    """One batch that came back; index 0 is the anchor."""

    index: int
    size: int
    attempt: int
    outcome: BatchOutcome
    milliseconds: int


class Counts(Struct, frozen=True, array_like=True):
    """All batches so far, however many of them are still named."""

    total: int = 0
    successful: int = 0
    failed: int = 0
    retried: int = 0


class Retry(Struct, frozen=True, array_like=True):
    """Recipients that wait for another attempt after `tried` ones.

    `unsure`: a call that timed out may have reached them. `apart`: they go by themselves, in one batch.
    """

    tried: int
    unsure: bool
    apart: bool
    places: Packed


class Checkpoint(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a story stands.

    Everything before `next` is in one of sent, failed (by reason), unknown, retries, or out; the rest is fresh.
    `reuses`: all calls bore the one id, so who may have got it can be sent it again. `message_id` is the id of the last
    call that went through. `history` is what the policy went by. `starts` counts how often the story was taken up since
    it last got anywhere.
    """

    session_id: str
    story_id: str
    state: JobState = "open"
    version: int = VERSION
    order: str = ""
    total: int = 0
    message_id: str | None = None
    message_ids: tuple[str, ...] = ()
    reuses: bool = True
    anchored: bool = False
    index: int = 0
    size: int = 0
    planned: int = 0
    width: int = 0
    tries: int = TRIES
    next: int = 0
    sent: Packed = ()
    failed: dict[str, Packed] = {}
    unknown: Packed = ()
    retries: tuple[Retry, ...] = ()
    out: tuple[Retry, ...] = ()
    batches: tuple[BatchRecord, ...] = ()
    counts: Counts = Counts()
    used_history: bool = False
    history: History | None = None
    starts: int = 0
    began: datetime | None = None
    reason: str | None = None


def has_begun(checkpoint: Checkpoint) -> bool:
    """Whether anybody has the story, or may have it."""
    unsure = any(retry.unsure for retry in checkpoint.retries)
    return bool(checkpoint.sent or checkpoint.unknown or checkpoint.out or unsure)


class JobStore(Protocol):
    """The checkpoints of stories, one each.

    Both methods raise `StoreFailed` if the store cannot answer now: ask again.
    """

    async def load(self, session_id: str, story_id: str) -> Checkpoint | None:
        """The story's checkpoint; None if there is none, or none that this version can read."""
        ...

    async def save(self, checkpoint: Checkpoint) -> None:
        """Replace the one that was loaded or saved here last.

        Raises `Superseded` if another worker has written since: the story is that one's now.
        """
        ...


class MemoryJobs:
    """Checkpoints in memory: for embedding single stages, and for tests."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Checkpoint] = {}
        self.saves = 0

    async def load(self, session_id: str, story_id: str) -> Checkpoint | None:
        """The story's checkpoint, or None."""
        return self.kept.get((session_id, story_id))

    async def save(self, checkpoint: Checkpoint) -> None:
        """Keep it."""
        self.saves += 1
        self.kept[checkpoint.session_id, checkpoint.story_id] = checkpoint


def finished(session_id: str, story_id: str, *, reason: str | None = None) -> Checkpoint:
    """What is kept of a story once its report is stored: that it is over."""
    return Checkpoint(session_id=session_id, story_id=story_id, state="finished", reason=reason)


def fingerprint(order: Iterable[str]) -> str:
    """Names a sending order: another order, or other recipients, have another name.

    A million `People` take 10 ms, since no string is made of any of them; by that they have another name than the same
    in a list.
    """
    digest = blake2b(digest_size=16)
    for piece in order.as_bytes() if isinstance(order, People) else _lines(order):
        digest.update(piece)
    return digest.hexdigest()


def _lines(recipients: Iterable[str]) -> Iterator[bytes]:
    return (f"{recipient}\n".encode() for recipient in recipients)
