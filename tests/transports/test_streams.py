"""Streams, consumers and buckets are made where missing; what is there is checked, told apart, and left alone."""

from __future__ import annotations

from typing import Any

import pytest
from nats.js.api import ConsumerConfig, KeyValueConfig, ObjectStoreConfig, RetentionPolicy, StreamConfig

from tests.nats_support import open_nats, until_empty
from transports.bus import Bus, Outbound
from transports.errors import StreamMismatch
from transports.layout import CONSUMERS, DAY, RECIPIENTS_KEPT, layout
from transports.streams import ensure, inspect
from transports.subjects import (
    BUCKET_JOBS,
    BUCKET_LEASES,
    BUCKET_RECIPIENTS,
    BUCKET_SESSIONS,
    HEADER_EXPECTED_LAST,
    HEADER_TTL,
    STREAM_EVENTS,
    STREAM_SENDS,
    key_subject,
)

EVERYTHING = [
    "stream STORYCAST_SENDS",
    "stream STORYCAST_EVENTS",
    "stream STORYCAST_REJECTED",
    "bucket storycast_sessions",
    "bucket storycast_jobs",
    "bucket storycast_leases",
    "object store storycast_recipients",
    "consumer storycast-high",
    "consumer storycast-normal",
    "consumer storycast-bulk",
]


async def configs(bus: Bus) -> dict[str, StreamConfig]:
    """The configuration of every stream there is, those behind buckets included."""
    infos = await bus.call(bus.jetstream.streams_info)
    return {info.config.name or "": info.config for info in infos}


async def consumer_configs(bus: Bus) -> dict[str, ConsumerConfig]:
    infos = await bus.call(bus.jetstream.consumers_info, STREAM_SENDS)
    return {info.name: info.config for info in infos}


async def remake_stream(bus: Bus, name: str, **changes: Any) -> None:
    [wanted] = [part.config for part in layout() if part.config.name == name]
    await bus.call(bus.jetstream.delete_stream, name)
    await bus.call(bus.jetstream.add_stream, wanted.evolve(**changes))


async def remake_consumer(bus: Bus, name: str, **changes: Any) -> None:
    [wanted] = [consumer for consumer in CONSUMERS if consumer.durable_name == name]
    await bus.call(bus.jetstream.delete_consumer, STREAM_SENDS, name)
    await bus.call(bus.jetstream.add_consumer, STREAM_SENDS, wanted.evolve(**changes))


# Making


@pytest.mark.trio
async def test_ensure_makes_all_that_storycast_lives_on() -> None:
    async with open_nats() as bus:
        await ensure(bus)
        findings = await inspect(bus)
        assert [(finding.name, finding.wrong) for finding in findings] == [(name, "") for name in EVERYTHING]
        sends = (await configs(bus))[STREAM_SENDS]
        assert sends.retention == RetentionPolicy.WORK_QUEUE
        assert sends.max_msgs is not None
        assert sends.max_msgs > 0
        assert (await configs(bus))[f"KV_{BUCKET_SESSIONS}"].max_age == DAY


@pytest.mark.trio
async def test_the_memory_of_sessions_lasts_as_long_as_the_settings_say() -> None:
    async with open_nats() as bus:
        await ensure(bus, history_ttl=1800)
        assert (await configs(bus))[f"KV_{BUCKET_SESSIONS}"].max_age == 1800


@pytest.mark.trio
async def test_ensure_twice_changes_nothing() -> None:
    async with open_nats() as bus:
        await ensure(bus)
        before = await configs(bus), await consumer_configs(bus)
        await ensure(bus)
        assert (await configs(bus), await consumer_configs(bus)) == before


@pytest.mark.trio
async def test_ensure_makes_only_what_is_missing_and_keeps_what_is_in_the_rest() -> None:
    async with open_nats() as bus:
        await ensure(bus)
        await bus.call(bus.jetstream.publish, "storycast.send.main", b"waits")
        await bus.call(bus.jetstream.delete_stream, STREAM_EVENTS)
        await bus.call(bus.jetstream.delete_consumer, STREAM_SENDS, "storycast-bulk")
        await ensure(bus)
        assert not any(finding.wrong for finding in await inspect(bus))
        assert (await bus.call(bus.jetstream.stream_info, STREAM_SENDS)).state.messages == 1


@pytest.mark.trio
@pytest.mark.parametrize("bucket", [BUCKET_JOBS, BUCKET_LEASES, BUCKET_SESSIONS])
async def test_the_buckets_are_what_key_value_clients_expect(bucket: str) -> None:
    async with open_nats() as bus:
        await ensure(bus)
        config = (await configs(bus))[f"KV_{bucket}"]
        await bus.call(bus.jetstream.delete_stream, f"KV_{bucket}")
        ttl = config.max_age or None
        theirs = KeyValueConfig(bucket=bucket, description=config.description, ttl=ttl, direct=True)
        await bus.call(bus.jetstream.create_key_value, theirs)
        assert config == (await configs(bus))[f"KV_{bucket}"]


@pytest.mark.trio
async def test_the_object_store_is_what_its_clients_expect_and_forgets_lists_that_nobody_fetched() -> None:
    async with open_nats() as bus:
        await ensure(bus)
        config = (await configs(bus))[f"OBJ_{BUCKET_RECIPIENTS}"]
        assert config.max_age == RECIPIENTS_KEPT
        await bus.call(bus.jetstream.delete_stream, f"OBJ_{BUCKET_RECIPIENTS}")
        theirs = ObjectStoreConfig(description=config.description, ttl=RECIPIENTS_KEPT)
        await bus.call(bus.jetstream.create_object_store, BUCKET_RECIPIENTS, config=theirs)
        assert config == (await configs(bus))[f"OBJ_{BUCKET_RECIPIENTS}"]


@pytest.mark.trio
@pytest.mark.parametrize("bucket", [BUCKET_JOBS, BUCKET_LEASES])
async def test_what_expires_in_a_bucket_leaves_nothing_in_the_way_of_the_next(bucket: str) -> None:
    async with open_nats() as bus:
        await ensure(bus)
        subject = key_subject(bucket, "main")
        await bus.store(Outbound(subject, b"first", {HEADER_TTL: "1s"}))
        await until_empty(bus, f"KV_{bucket}")
        await bus.store(Outbound(subject, b"second", {HEADER_EXPECTED_LAST: "0"}))


# Copies


@pytest.mark.trio
async def test_too_few_copies_are_said_with_what_makes_them_more_and_nothing_is_touched() -> None:
    async with open_nats() as bus:
        await ensure(bus)
        before = await configs(bus)
        with pytest.raises(StreamMismatch) as caught:
            await ensure(bus, replicas=3)
        for name in before:
            said = f": num_replicas is 1, should be 3; mend it with: nats stream edit {name} --replicas=3"
            assert said in str(caught.value)
        assert await configs(bus) == before


@pytest.mark.trio
async def test_copies_that_a_server_cannot_make_are_said_with_what_helps() -> None:
    async with open_nats() as bus:
        with pytest.raises(
            StreamMismatch, match=r"^stream STORYCAST_SENDS: .* for 3 copies; .* STORYCAST_REPLICAS"
        ):
            await ensure(bus, replicas=3)


# Looking


@pytest.mark.trio
async def test_on_an_empty_server_everything_is_said_to_be_missing_and_how_to_get_it() -> None:
    async with open_nats() as bus:
        findings = await inspect(bus)
        assert [finding.name for finding in findings] == EVERYTHING
        assert {finding.wrong for finding in findings} == {"is missing"}
        assert all("storycast worker" in finding.mend for finding in findings)
        assert await configs(bus) == {}


STREAM_DIFFERENCES = [
    (STREAM_SENDS, {"retention": RetentionPolicy.LIMITS}, "retention is limits, should be workqueue"),
    (STREAM_SENDS, {"subjects": ["storycast.send.*"]}, r"subjects are \['storycast.send.\*'\], should be"),
    (STREAM_EVENTS, {"subjects": ["storycast.progress.>"]}, "subjects are"),
    (STREAM_EVENTS, {"allow_direct": False}, "allow_direct is .*, should be True"),
    (STREAM_EVENTS, {"retention": RetentionPolicy.INTEREST}, "retention is interest, should be limits"),
    (f"KV_{BUCKET_JOBS}", {"allow_msg_ttl": False}, "allow_msg_ttl is .*, should be True"),
    (f"KV_{BUCKET_JOBS}", {"max_msgs_per_subject": 5}, "max_msgs_per_subject is 5, should be 1"),
    (f"KV_{BUCKET_JOBS}", {"max_age": 3600.0}, "forgets after 3600 s, should be never"),
    (
        f"KV_{BUCKET_LEASES}",
        {"subject_delete_marker_ttl": 60.0},
        r"subject_delete_marker_ttl is 60\.0, should be None",
    ),
    (
        f"KV_{BUCKET_LEASES}",
        {"deny_purge": True, "allow_rollup_hdrs": False},
        "deny_purge is True, should be False",
    ),
    (f"OBJ_{BUCKET_RECIPIENTS}", {"max_age": 3600.0}, "forgets after 3600 s, should be 2592000"),
]


@pytest.mark.trio
@pytest.mark.parametrize(("name", "changes", "wrong"), STREAM_DIFFERENCES)
async def test_a_different_stream_is_named_with_what_mends_it_and_not_touched(
    name: str, changes: dict[str, Any], wrong: str
) -> None:
    called = {part.config.name: part.name for part in layout()}
    async with open_nats() as bus:
        await ensure(bus)
        await remake_stream(bus, name, **changes)
        before = (await configs(bus))[name]
        with pytest.raises(
            StreamMismatch, match=f"{called[name]}: {wrong}.*; mend it with: nats stream edit {name}"
        ):
            await ensure(bus)
        assert (await configs(bus))[name] == before


CONSUMER_DIFFERENCES: list[tuple[dict[str, Any], str]] = [
    (
        {"filter_subject": "storycast.send.main"},
        r"filter_subject is storycast\.send\.main, should be storycast\.send\.\*",
    ),
    ({"ack_wait": 5.0}, r"ack_wait is 5\.0, should be 10\.0"),
    ({"max_deliver": 5}, "max_deliver is 5, should be -1: a request delivered so often would stay .*"),
    ({"max_ack_pending": 1_000}, "max_ack_pending is 1000, should be 1000000: .*"),
]


@pytest.mark.trio
@pytest.mark.parametrize(("changes", "wrong"), CONSUMER_DIFFERENCES)
async def test_a_different_consumer_is_named_with_what_mends_it_and_not_touched(
    changes: dict[str, Any], wrong: str
) -> None:
    name = "storycast-normal"
    async with open_nats() as bus:
        await ensure(bus)
        await remake_consumer(bus, name, **changes)
        before = (await consumer_configs(bus))[name]
        mend = f"nats consumer rm {STREAM_SENDS} {name}"
        with pytest.raises(StreamMismatch, match=f"^consumer {name}: {wrong}; mend it with: {mend}"):
            await ensure(bus)
        assert (await consumer_configs(bus))[name] == before


@pytest.mark.trio
async def test_a_bucket_that_forgets_too_soon_is_named_with_what_mends_it() -> None:
    async with open_nats() as bus:
        await bus.call(bus.jetstream.create_key_value, KeyValueConfig(bucket=BUCKET_SESSIONS, ttl=60.0))
        wrong = "bucket storycast_sessions: forgets after 60 s, should be 86400"
        mend = "nats stream edit KV_storycast_sessions --max-age=86400s"
        with pytest.raises(StreamMismatch, match=f"^{wrong}; mend it with: {mend}"):
            await ensure(bus)


@pytest.mark.trio
@pytest.mark.parametrize("ttl", [0.0, 2 * DAY])
async def test_a_bucket_that_remembers_longer_is_fine(ttl: float) -> None:
    async with open_nats() as bus:
        await bus.call(bus.jetstream.create_key_value, KeyValueConfig(bucket=BUCKET_SESSIONS, ttl=ttl))
        await ensure(bus)


@pytest.mark.trio
async def test_all_that_differs_is_said_at_once() -> None:
    async with open_nats() as bus:
        await ensure(bus)
        await remake_stream(bus, STREAM_EVENTS, retention=RetentionPolicy.INTEREST)
        await remake_consumer(bus, "storycast-bulk", ack_wait=1.0)
        with pytest.raises(StreamMismatch) as caught:
            await ensure(bus)
        assert "stream STORYCAST_EVENTS" in str(caught.value)
        assert "consumer storycast-bulk" in str(caught.value)


@pytest.mark.trio
async def test_a_foreign_stream_on_our_subjects_is_said_with_what_finds_it() -> None:
    async with open_nats() as bus:
        await bus.call(bus.jetstream.add_stream, StreamConfig(name="MINE", subjects=["storycast.send.*"]))
        with pytest.raises(
            StreamMismatch, match=r"STORYCAST_SENDS: another stream .* nats stream ls --subject"
        ):
            await ensure(bus)
        assert set(await configs(bus)) == {"MINE"}
