"""The streams, consumers and buckets that storycast lives on: created where missing, checked where there.

What is there already is never changed: a difference is said, with the command that mends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    KeyValueConfig,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from transports import subjects
from transports.bus import Bus, NotStored
from transports.errors import PublishRefused, StreamMismatch

ACK_WAIT = 30.0
"""Seconds after which an unsettled request is delivered again, unless its worker says that it is at it."""
DAY = 86_400.0
WAITING_AT_MOST = 1_000_000
WAITING_PER_SESSION = 10_000
"""Requests of one session and level that may wait; the next one is refused where it is published."""
SUBJECTS_OVERLAP = 10065
"""JetStream's error code for a stream whose subjects another one has."""
EVENTS_BYTES = 1 << 30


class Finding(Struct, frozen=True):
    """One thing that was looked at: `wrong` is empty if it is as it should be."""

    name: str
    wrong: str = ""
    mend: str = ""


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


async def ensure(bus: Bus, *, history_ttl: float = DAY) -> None:
    """Create what is missing; `history_ttl` is how long, in seconds, sessions remember what they learned.

    Raises `StreamMismatch` if something is there but different.
    """
    for stream in STREAMS:
        if await _found(bus, stream.name or "") is None:
            await _add(bus, stream)
    for consumer in CONSUMERS:
        if await _consumer(bus, consumer) is None:
            await bus.call(bus.jetstream.add_consumer, subjects.STREAM_SENDS, consumer)
    if await _found(bus, f"KV_{subjects.BUCKET_SESSIONS}") is None:
        await bus.call(bus.jetstream.create_key_value, _sessions(history_ttl))
    wrong = [finding for finding in await inspect(bus, history_ttl=history_ttl) if finding.wrong]
    if wrong:
        raise StreamMismatch("; ".join(f"{it.name}: {it.wrong}; mend it with: {it.mend}" for it in wrong))


async def _add(bus: Bus, stream: StreamConfig) -> None:
    try:
        await bus.call(bus.jetstream.add_stream, stream)
    except PublishRefused as error:
        if error.code != SUBJECTS_OVERLAP:
            raise
        wanted = ", ".join(stream.subjects or [])
        raise StreamMismatch(
            f"stream {stream.name}: another stream takes its subjects ({wanted}) already; mend it with: "
            f"nats stream ls --subject='{(stream.subjects or [''])[0]}', and nats stream rm or edit what it shows"
        ) from error


async def inspect(bus: Bus, *, history_ttl: float = DAY) -> Sequence[Finding]:
    """Look at everything and change nothing."""
    streams = [await _look_at_stream(bus, stream) for stream in STREAMS]
    consumers = [await _look_at_consumer(bus, consumer) for consumer in CONSUMERS]
    return [*streams, *consumers, await _look_at_sessions(bus, history_ttl)]


async def _look_at_stream(bus: Bus, wanted: StreamConfig) -> Finding:
    name = wanted.name or ""
    found = await _found(bus, name)
    if found is None:
        return _missing(f"stream {name}")
    keys = (
        "retention",
        "discard",
        "discard_new_per_subject",
        "max_msgs_per_subject",
        "storage",
        "allow_direct",
    )
    wrong = _differences(found, wanted, keys)
    if sorted(found.subjects or []) != sorted(wanted.subjects or []):
        wrong.append(f"subjects are {found.subjects}, should be {wanted.subjects}")
    mend = f"nats stream edit {name}, or nats stream rm {name} (loses what is in it) and start storycast"
    return Finding(f"stream {name}", "; ".join(wrong), mend)


async def _look_at_consumer(bus: Bus, wanted: ConsumerConfig) -> Finding:
    name = wanted.durable_name or ""
    found = await _consumer(bus, wanted)
    if found is None:
        return _missing(f"consumer {name}")
    wrong = _differences(found, wanted, ("filter_subject", "ack_policy", "ack_wait"))
    mend = (
        f"nats consumer rm {subjects.STREAM_SENDS} {name} and start storycast (requests stay in the stream)"
    )
    return Finding(f"consumer {name}", "; ".join(wrong), mend)


async def _look_at_sessions(bus: Bus, ttl: float) -> Finding:
    name = f"bucket {subjects.BUCKET_SESSIONS}"
    found = await _found(bus, f"KV_{subjects.BUCKET_SESSIONS}")
    if found is None:
        return _missing(name)
    if found.max_age and found.max_age < ttl:
        mend = f"nats stream edit KV_{subjects.BUCKET_SESSIONS} --max-age={ttl:g}s"
        return Finding(name, f"forgets after {found.max_age:g} s, should be {ttl:g}", mend)
    return Finding(name)


def _sessions(ttl: float) -> KeyValueConfig:
    return KeyValueConfig(
        bucket=subjects.BUCKET_SESSIONS,
        description="storycast: what each session has learned",
        history=1,
        ttl=ttl,
        storage=StorageType.FILE,
    )


async def _found(bus: Bus, stream: str) -> StreamConfig | None:
    try:
        return (await bus.call(bus.jetstream.stream_info, stream)).config
    except NotStored:
        return None


async def _consumer(bus: Bus, wanted: ConsumerConfig) -> ConsumerConfig | None:
    try:
        info = await bus.call(bus.jetstream.consumer_info, subjects.STREAM_SENDS, wanted.durable_name)
    except NotStored:
        return None
    config: ConsumerConfig | None = info.config
    return config


def _differences(found: Any, wanted: Any, keys: Sequence[str]) -> list[str]:
    pairs = ((key, getattr(found, key), getattr(wanted, key)) for key in keys)
    return [
        f"{key} is {is_}, should be {getattr(should, 'value', should)}"
        for key, is_, should in pairs
        if is_ != should
    ]


def _missing(name: str) -> Finding:
    return Finding(name, "is missing", "storycast worker (or storycast up) creates it when it starts")
