"""The streams, consumers and buckets of the layout: created where missing, checked where there.

What is there already is never changed: a difference is said, with the command that mends it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct
from nats.js.api import ConsumerConfig, StreamConfig

from transports import subjects
from transports.bus import Bus, NotStored
from transports.errors import PublishRefused, StreamMismatch
from transports.layout import ACK_WAIT, CONSUMERS, DAY, Part, layout

__all__ = ["ACK_WAIT", "Finding", "ensure", "inspect"]

SUBJECTS_OVERLAP = 10065
"""JetStream's error code for a stream whose subjects another one has."""
NO_CLUSTER = 10074
"""JetStream's error code for copies asked of a server that stands alone."""
NO_PEERS = 10005
"""JetStream's error code for more copies than the cluster has servers."""
FOR_EVER = float("inf")


class Finding(Struct, frozen=True):
    """One thing that was looked at: `wrong` is empty if it is as it should be."""

    name: str
    wrong: str = ""
    mend: str = ""


class _Difference(Struct, frozen=True):
    """`flag` is what mends it with `nats stream edit`, if that is all there is to it."""

    wrong: str
    flag: str = ""


async def ensure(bus: Bus, *, history_ttl: float = DAY, replicas: int = 1) -> None:
    """Create what is missing, in `replicas` copies.

    `history_ttl` is how long, in seconds, sessions remember what they learned. Raises `StreamMismatch` if something is
    there but different, or has fewer copies.
    """
    for part in layout(history_ttl=history_ttl, replicas=replicas):
        if await _found(bus, part) is None:
            await _add(bus, part)
    for consumer in CONSUMERS:
        if await _consumer(bus, consumer) is None:
            await bus.call(bus.jetstream.add_consumer, subjects.STREAM_SENDS, consumer)
    findings = await inspect(bus, history_ttl=history_ttl, replicas=replicas)
    wrong = [finding for finding in findings if finding.wrong]
    if wrong:
        raise StreamMismatch("; ".join(f"{it.name}: {it.wrong}; mend it with: {it.mend}" for it in wrong))


async def _add(bus: Bus, part: Part) -> None:
    try:
        await bus.call(bus.jetstream.add_stream, part.config)
    except PublishRefused as error:
        if (why := _why_refused(part, error)) is None:
            raise
        raise StreamMismatch(why) from error


def _why_refused(part: Part, error: PublishRefused) -> str | None:
    wanted = part.config.subjects or []
    if error.code == SUBJECTS_OVERLAP:
        return (
            f"{part.name}: another stream takes its subjects ({', '.join(wanted)}) already; mend it with: "
            f"nats stream ls --subject='{wanted[0]}', and nats stream rm or edit what it shows"
        )
    if error.code in {NO_CLUSTER, NO_PEERS}:
        return (
            f"{part.name}: there are not enough servers for {part.config.num_replicas} copies; mend it with: "
            "a cluster of as many nats-servers, or a lower STORYCAST_REPLICAS"
        )
    return None


async def inspect(bus: Bus, *, history_ttl: float = DAY, replicas: int = 1) -> Sequence[Finding]:
    """Look at everything and change nothing."""
    parts = layout(history_ttl=history_ttl, replicas=replicas)
    streams = [await _look_at(bus, part) for part in parts]
    consumers = [await _look_at_consumer(bus, consumer, replicas) for consumer in CONSUMERS]
    return [*streams, *consumers]


async def _look_at(bus: Bus, part: Part) -> Finding:
    found = await _found(bus, part)
    if found is None:
        return _missing(part.name)
    differences = [*_differences(found, part.config, part.checked), *_limits(found, part)]
    wrong = "; ".join(difference.wrong for difference in differences)
    return Finding(part.name, wrong, _mend(part, differences))


def _mend(part: Part, differences: Sequence[_Difference]) -> str:
    name = part.config.name
    flags = [difference.flag for difference in differences if difference.flag]
    edit = " ".join([f"nats stream edit {name}", *flags])
    if len(flags) == len(differences):
        return edit
    return f"{edit}, or nats stream rm {name} (loses what is in it) and start storycast"


async def _look_at_consumer(bus: Bus, wanted: ConsumerConfig, replicas: int) -> Finding:
    name = wanted.durable_name or ""
    found = await _consumer(bus, wanted)
    if found is None:
        return _missing(f"consumer {name}")
    differences = [
        *_differences(found, wanted, ("filter_subject", "ack_policy", "ack_wait")),
        *_consumer_limits(found, wanted, replicas),
    ]
    mend = (
        f"nats consumer rm {subjects.STREAM_SENDS} {name} and start storycast (requests stay in the stream)"
    )
    return Finding(f"consumer {name}", "; ".join(difference.wrong for difference in differences), mend)


def _limits(found: StreamConfig, part: Part) -> Iterator[_Difference]:
    """More is as good; less loses what must not be lost."""
    copies, wanted = found.num_replicas or 1, part.config.num_replicas or 1
    if copies < wanted:
        yield _Difference(f"num_replicas is {copies}, should be {wanted}", f"--replicas={wanted}")
    kept, to_keep = found.max_age or FOR_EVER, part.config.max_age or FOR_EVER
    if part.lasting and kept < to_keep:
        should = "never" if to_keep == FOR_EVER else f"{to_keep:.12g}"
        yield _Difference(
            f"forgets after {kept:.12g} s, should be {should}", f"--max-age={part.config.max_age or 0:.12g}s"
        )


def _consumer_limits(found: ConsumerConfig, wanted: ConsumerConfig, replicas: int) -> Iterator[_Difference]:
    if (found.max_deliver or -1) > 0:
        yield _Difference(
            f"max_deliver is {found.max_deliver}, should be -1: a request delivered so often would stay in the "
            "stream and never be served"
        )
    at_once, least = found.max_ack_pending or 0, wanted.max_ack_pending or 0
    if 0 < at_once < least:
        yield _Difference(f"max_ack_pending is {at_once}, should be {least}: those taken hold up the others")
    if 0 < (found.num_replicas or 0) < replicas:
        yield _Difference(f"num_replicas is {found.num_replicas}, should be {replicas}")


async def _found(bus: Bus, part: Part) -> StreamConfig | None:
    try:
        return (await bus.call(bus.jetstream.stream_info, part.config.name or "")).config
    except NotStored:
        return None


async def _consumer(bus: Bus, wanted: ConsumerConfig) -> ConsumerConfig | None:
    try:
        info = await bus.call(bus.jetstream.consumer_info, subjects.STREAM_SENDS, wanted.durable_name)
    except NotStored:
        return None
    config: ConsumerConfig | None = info.config
    return config


def _differences(found: Any, wanted: Any, keys: Sequence[str]) -> Iterator[_Difference]:
    if isinstance(wanted, StreamConfig) and sorted(found.subjects or []) != sorted(wanted.subjects or []):
        yield _Difference(f"subjects are {found.subjects}, should be {wanted.subjects}")
    for key in keys:
        is_, should = getattr(found, key), getattr(wanted, key)
        if (is_ or None) != (should or None):
            yield _Difference(f"{key} is {is_}, should be {getattr(should, 'value', should)}")


def _missing(name: str) -> Finding:
    return Finding(name, "is missing", "storycast worker (or storycast up) creates it when it starts")
