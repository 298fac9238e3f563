"""The checkpoints of stories, kept in the key-value bucket `storycast_jobs`, one key a story.

Every save names the revision that it replaces, so that a worker which lost a story to another one cannot overwrite what
that one has written since. A save whose answer was lost is recognised by its writer when it is tried again.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from secrets import token_hex

import msgspec
from msgspec import structs

from stages.checkpoint import VERSION, Checkpoint
from stages.errors import StoreFailed, Superseded
from transports.bus import HEADERS_ROOM, Bus, Outbound, Stored
from transports.entries import Entry, read, replace, replacement
from transports.errors import CheckpointTooLarge, TransportError
from transports.locks import Locks
from transports.subjects import BUCKET_JOBS, HEADER_WRITER

FINISHED_KEPT = 86_400
"""Seconds that a finished story is remembered: as long as its report."""
FORMAT = b"\x01"
"""The first byte of a stored checkpoint: MessagePack, compressed by zlib."""

AMENDMENTS = 5
"""So many times an amendment is tried while others write the same checkpoint."""

Change = Callable[[Checkpoint | None], Checkpoint]

log = logging.getLogger("storycast")


class NatsJobs:
    """A `JobStore` in the bucket `storycast_jobs`.

    It remembers the revision of each story that it has loaded or saved, until the story is saved as finished, or
    forgotten. Saves of one story go one after the other.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._writer = token_hex(8)
        self._revisions: dict[str, int] = {}
        self._locks = Locks()

    async def load(self, session_id: str, story_id: str) -> Checkpoint | None:
        """The story's checkpoint; None if there is none, or none that this version can read.

        Raises `StoreFailed` if NATS cannot say.
        """
        key = f"{session_id}.{story_id}"
        async with self._locks.of(key):
            entry = await self._read(key)
            checkpoint = _readable(entry, session_id, story_id)
            if entry.revision and (checkpoint is None or checkpoint.state != "finished"):
                self._revisions[key] = entry.revision
            else:
                self._revisions.pop(key, None)
            return checkpoint

    async def peek(self, session_id: str, story_id: str) -> Checkpoint | None:
        """The story's checkpoint, for whoever only looks: what `save` replaces stays the same.

        Raises `StoreFailed` if NATS cannot say.
        """
        return _readable(await self._read(f"{session_id}.{story_id}"), session_id, story_id)

    async def amend(self, session_id: str, story_id: str, change: Change) -> Checkpoint:
        """Store what `change` makes of the checkpoint that is there, in one step; returns it.

        Raises `Superseded` if the story was loaded here and another worker has written since, `StoreFailed` if NATS
        cannot store it now.
        """
        key = f"{session_id}.{story_id}"
        async with self._locks.of(key):
            for _ in range(AMENDMENTS):
                entry = await self._read(key)
                known = self._revisions.get(key)
                if known is not None and entry.revision != known and not self._may_follow(entry, known):
                    raise Superseded(f"another worker has written the checkpoint of {key}")
                checkpoint = change(_readable(entry, session_id, story_id))
                with _told(story_id, "kept"):
                    revision = await self._put(key, encoded(checkpoint), entry.revision, _ttl(checkpoint))
                if revision is not None:
                    if known is not None:
                        self._revisions[key] = revision
                    return checkpoint
        raise StoreFailed(f"the checkpoint of {key} is being written by somebody just now")

    async def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint that was loaded or saved here last.

        Raises `Superseded` if another worker has written since, `StoreFailed` if NATS cannot store it now, and
        `CheckpointTooLarge` if this server never will.
        """
        key = _key(checkpoint)
        data = _fitting(checkpoint, self._bus.max_payload - HEADERS_ROOM)
        async with self._locks.of(key):
            with _told(checkpoint.story_id, "kept"):
                revision = await self._replace(key, data, _ttl(checkpoint))
            self._revisions[key] = revision
            if checkpoint.state == "finished":
                del self._revisions[key]

    async def finish_all(self, checkpoints: Sequence[Checkpoint]) -> Sequence[bool]:
        """Save all `checkpoints`, each of a story that is finished, at once; says of each whether that went well.

        For those that it did not, `save` knows why, and what to do.
        """
        free = [each for each in checkpoints if self._locks.take(_key(each))]
        try:
            found = await self._bus.store_all([self._finishing(each) for each in free])
        finally:
            for each in free:
                self._locks.give_back(_key(each))
        done = {_key(each) for each, it in zip(free, found, strict=True) if isinstance(it, Stored)}
        for key in done:
            self._revisions.pop(key, None)
        return [_key(each) in done for each in checkpoints]

    def _finishing(self, checkpoint: Checkpoint) -> Outbound:
        key = _key(checkpoint)
        return replacement(
            BUCKET_JOBS,
            key,
            encoded(checkpoint),
            after=self._revisions.get(key, 0),
            ttl=FINISHED_KEPT,
            headers={HEADER_WRITER: self._writer},
        )

    @property
    def remembered(self) -> int:
        """How many stories it knows the revision of."""
        return len(self._revisions)

    def forget(self, session_id: str) -> None:
        """Remember the revisions of its stories no longer: whoever goes on with one loads it first."""
        its = f"{session_id}."
        self._revisions = {key: at for key, at in self._revisions.items() if not key.startswith(its)}

    async def _read(self, key: str) -> Entry:
        with _told(key.partition(".")[2], "read"):
            return await read(self._bus, BUCKET_JOBS, key)

    async def _replace(self, key: str, data: bytes, ttl: int | None) -> int:
        after = self._revisions.get(key, 0)
        if revision := await self._put(key, data, after, ttl):
            return revision
        found = await read(self._bus, BUCKET_JOBS, key)
        if found.revision != after and not self._may_follow(found, after):
            raise Superseded(f"another worker has written the checkpoint of {key}")
        if revision := await self._put(key, data, found.revision, ttl):
            return revision
        raise StoreFailed(f"the checkpoint of {key} is being written by somebody just now")

    def _may_follow(self, found: Entry, after: int) -> bool:
        """Whether nobody else has written: it is our own save whose answer was lost, or a mark of deletion.

        No trace at all of what was there means that another worker finished the story, so long ago that even this has
        been forgotten.
        """
        if found.value is None:
            return found.revision > 0 or after == 0
        return found.headers.get(HEADER_WRITER) == self._writer

    async def _put(self, key: str, data: bytes, after: int, ttl: int | None) -> int | None:
        headers = {HEADER_WRITER: self._writer}
        return await replace(self._bus, BUCKET_JOBS, key, data, after=after, ttl=ttl, headers=headers)


def _key(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.session_id}.{checkpoint.story_id}"


@contextmanager
def _told(story: str, what: str) -> Iterator[None]:
    try:
        yield
    except TransportError as error:
        raise StoreFailed(f"the checkpoint of {story} cannot be {what}: {error}") from error


def _ttl(checkpoint: Checkpoint) -> int | None:
    return FINISHED_KEPT if checkpoint.state == "finished" else None


def encoded(checkpoint: Checkpoint) -> bytes:
    """A checkpoint as it is stored."""
    return FORMAT + zlib.compress(msgspec.msgpack.encode(checkpoint), 1)


def decoded(value: bytes) -> Checkpoint:
    """What `encoded` gave. Raises `ValueError` for anything else, and for other versions."""
    if not value.startswith(FORMAT):
        raise ValueError("another format")
    try:
        checkpoint = msgspec.msgpack.decode(zlib.decompress(value[1:]), type=Checkpoint)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(str(error)) from error
    if checkpoint.version != VERSION:
        raise ValueError(f"version {checkpoint.version}")
    return checkpoint


def _readable(entry: Entry, session: str, story: str) -> Checkpoint | None:
    if entry.value is None:
        return None
    try:
        return decoded(entry.value)
    except ValueError as error:
        log.warning(
            "a checkpoint cannot be read: the story begins anew, and the next save replaces it",
            extra={"session": session, "story": story, "revision": entry.revision, "problem": str(error)},
        )
        return None


def _fitting(checkpoint: Checkpoint, room: int) -> bytes:
    """The checkpoint; without the names of its batches if only so it fits."""
    data = encoded(checkpoint)
    if len(data) > room:
        data = encoded(structs.replace(checkpoint, batches=()))
    if len(data) > room:
        raise CheckpointTooLarge(
            f"the checkpoint of {checkpoint.story_id} has {len(data):,} bytes, and this server takes {room:,}: "
            "its configuration needs a larger max_payload"
        )
    return data
