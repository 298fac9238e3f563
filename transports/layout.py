"""The layout on the server: which streams, consumers and buckets storycast lives on, and how they must be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from transports import subjects

ACK_WAIT = 10.0
"""Seconds after which an unsettled request is delivered again, unless its worker says that it is at it."""
DAY = 86_400.0
RECIPIENTS_KEPT = 30 * DAY
"""Seconds that a list of recipients is kept: longer than any request for it may wait."""
WAITING_AT_MOST = 1_000_000
WAITING_PER_SESSION = 10_000
"""Requests of one session and level that may wait; the next one is refused where it is published."""
EVENTS_BYTES = 1 << 30
DUPLICATES = 120.0
ALWAYS_CHECKED = ("retention", "discard", "discard_new_per_subject", "max_msgs_per_subject", "storage")


class Part(Struct, frozen=True, kw_only=True):
    """One stream, as it is made.

    `name` is what people call it. `checked` are the options without which storycast goes wrong; `lasting` if what is in
    it must not be forgotten earlier than the configuration says.
    """

    name: str
    config: StreamConfig
    checked: Sequence[str] = (*ALWAYS_CHECKED, "allow_direct")
    lasting: bool = False


STREAMS = (
    StreamConfig(
        name=subjects.STREAM_SENDS,
        description="storycast: send requests, until their report is stored",
        subjects=sorted(subjects.SENDS.values()),
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_msgs=WAITING_AT_MOST,
        max_msgs_per_subject=WAITING_PER_SESSION,
        discard_new_per_subject=True,
        duplicate_window=600.0,
        allow_direct=True,
    ),
    StreamConfig(
        name=subjects.STREAM_EVENTS,
        description="storycast: progress events and reports of the last day",
        subjects=[subjects.PROGRESS, subjects.REPORTS],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=DAY,
        max_bytes=EVENTS_BYTES,
        allow_direct=True,
    ),
    StreamConfig(
        name=subjects.STREAM_REJECTED,
        description="storycast: refused requests as they came, with the reason",
        subjects=[subjects.REJECTED],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=7 * DAY,
        max_bytes=EVENTS_BYTES,
        allow_direct=True,
    ),
)
CONSUMERS = tuple(
    ConsumerConfig(
        durable_name=subjects.CONSUMERS[level],
        filter_subject=subjects.SENDS[level],
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT,
        max_ack_pending=WAITING_AT_MOST,
        max_deliver=-1,
    )
    for level in subjects.SENDS
)
"""They have as many copies as their stream, always."""


def layout(*, history_ttl: float = DAY, replicas: int = 1) -> Sequence[Part]:
    """Every stream, those behind buckets included, in `replicas` copies.

    `history_ttl` is how long, in seconds, sessions remember what they learned.
    """
    streams = [Part(name=f"stream {stream.name}", config=stream) for stream in STREAMS]
    parts = [*streams, _sessions(history_ttl), _JOBS, _LEASES, _RECIPIENTS]
    return [_copied(part, replicas) for part in parts]


def _copied(part: Part, replicas: int) -> Part:
    config: StreamConfig = part.config.evolve(num_replicas=replicas)
    return Part(name=part.name, config=config, checked=part.checked, lasting=part.lasting)


def _bucket(bucket: str, description: str, **options: Any) -> StreamConfig:
    """What clients of key-value buckets expect behind one; of each key only the last value is kept."""
    return StreamConfig(
        name=subjects.bucket_stream(bucket),
        description=description,
        subjects=[subjects.key_subject(bucket, ">")],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_msgs_per_subject=1,
        allow_rollup_hdrs=True,
        deny_delete=True,
        allow_direct=True,
        allow_msg_ttl=True,
        **{"duplicate_window": DUPLICATES, **options},
    )


def _sessions(ttl: float) -> Part:
    return Part(
        name=f"bucket {subjects.BUCKET_SESSIONS}",
        config=_bucket(
            subjects.BUCKET_SESSIONS,
            "storycast: what each session has learned",
            max_age=ttl,
            duplicate_window=min(DUPLICATES, ttl or DUPLICATES),
        ),
        checked=(),
        lasting=True,
    )


# A value that expires here must leave nothing: a marker in its place would be in the way of the next one.
_EXPIRING = (*ALWAYS_CHECKED, "allow_msg_ttl", "subject_delete_marker_ttl", "deny_purge")
_JOBS = Part(
    name=f"bucket {subjects.BUCKET_JOBS}",
    config=_bucket(subjects.BUCKET_JOBS, "storycast: where each story stands"),
    checked=_EXPIRING,
    lasting=True,
)
_LEASES = Part(
    name=f"bucket {subjects.BUCKET_LEASES}",
    config=_bucket(subjects.BUCKET_LEASES, "storycast: which worker serves which session"),
    checked=_EXPIRING,
    lasting=True,
)
_RECIPIENTS = Part(
    name=f"object store {subjects.BUCKET_RECIPIENTS}",
    config=StreamConfig(
        name=f"OBJ_{subjects.BUCKET_RECIPIENTS}",
        description="storycast: long lists of recipients",
        subjects=[f"$O.{subjects.BUCKET_RECIPIENTS}.C.>", f"$O.{subjects.BUCKET_RECIPIENTS}.M.>"],
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_age=RECIPIENTS_KEPT,
        duplicate_window=DUPLICATES,
        allow_rollup_hdrs=True,
        allow_direct=True,
    ),
    checked=(*ALWAYS_CHECKED, "allow_direct", "allow_rollup_hdrs"),
    lasting=True,
)
