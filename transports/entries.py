"""Keys of a key-value bucket, read and replaced one revision after the other: the ground that fencing stands on.

nats-py's own `update` drops a key's time to live, so this is the protocol beneath it. Reads are answered by the
stream's leader alone: another copy may lag behind, and would show a revision that is history.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from transports.answers import headers_in
from transports.bus import WRONG_LAST_SEQUENCE, Bus, NotStored, Outbound, Stored
from transports.errors import PublishRefused, TransportError
from transports.subjects import (
    HEADER_EXPECTED_LAST,
    HEADER_KV_OPERATION,
    HEADER_TTL,
    bucket_stream,
    key_subject,
)

BEING_WRITTEN = 10164
"""JetStream's error code, in a cluster, for a wrong last sequence that is not known yet."""


class Entry(Struct, frozen=True):
    """What a key holds: `value` is None if it was deleted, and `revision` 0 if there is not even a trace of it."""

    revision: int = 0
    value: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


async def read(bus: Bus, bucket: str, key: str) -> Entry:
    """What `key` holds now. Raises `TransportError`."""
    subject = key_subject(bucket, key)
    try:
        found = await bus.stored_last(bucket_stream(bucket), subject)
    except NotStored:
        return Entry()
    headers = headers_in(found.hdrs)
    deleted = headers.get(HEADER_KV_OPERATION) in {"DEL", "PURGE"}
    return Entry(found.seq, None if deleted else found.data, headers)


async def replace(
    bus: Bus,
    bucket: str,
    key: str,
    value: bytes,
    *,
    after: int,
    ttl: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> int | None:
    """Store `value` if `after` is still the key's revision, for `ttl` seconds or for ever.

    Returns its own revision; None if the key has another one by now, be it by an earlier call of ours whose answer was
    lost. Raises `TransportError`: then the value may be stored or not, or yet will be.
    """
    try:
        stored = await bus.store(replacement(bucket, key, value, after=after, ttl=ttl, headers=headers))
    except PublishRefused as error:
        if _is_overtaken(error):
            return None
        raise
    return stored.sequence


def revision_in(found: Stored | TransportError) -> int | TransportError | None:
    """What `replace` returns or raises where storing its message had this outcome."""
    if isinstance(found, Stored):
        return found.sequence
    return None if _is_overtaken(found) else found


def _is_overtaken(error: TransportError) -> bool:
    return isinstance(error, PublishRefused) and error.code in {WRONG_LAST_SEQUENCE, BEING_WRITTEN}


def replacement(
    bucket: str,
    key: str,
    value: bytes,
    *,
    after: int,
    ttl: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> Outbound:
    """The message that `replace` stores."""
    named = {**(headers or {}), HEADER_EXPECTED_LAST: str(after)}
    if ttl is not None:
        named[HEADER_TTL] = f"{ttl}s"
    return Outbound(key_subject(bucket, key), value, named)


async def erase(bus: Bus, bucket: str, key: str, *, revision: int) -> None:
    """Erase the key without a trace, unless it has a newer revision than this. Raises `TransportError`."""
    await bus.call(
        bus.jetstream.purge_stream, bucket_stream(bucket), seq=revision + 1, subject=key_subject(bucket, key)
    )
