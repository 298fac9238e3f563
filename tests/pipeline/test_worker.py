"""The worker, end to end over a real nats-server: what goes in as a request comes out as one post and one report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import structs

from pipeline.settings import Settings
from stages import message_id_of
from stages.engine import Receipt
from stages.messages import Content, Level
from tests.nats_support import (
    MIB,
    Ear,
    Events,
    GatedEngine,
    RunningWorker,
    engines,
    eventually,
    open_ear,
    open_nats,
    open_restartable,
    open_worker,
    publish,
    publish_story,
    quick,
    rejection_of,
    reports_stored,
    stored,
    until_empty,
)
from tests.support import people, request
from transports import pull
from transports.bus import Bus, Outbound, open_bus
from transports.simulated import Profile, SimulatedEngine
from transports.simulated.profile import Latency
from transports.streams import ensure

SPEED = 200


def calm(profile: Profile | None = None) -> SimulatedEngine:
    return SimulatedEngine(profile or Profile(), speed=SPEED)


async def until_ingested(bus: Bus, running: RunningWorker, count: int, session: str = "main") -> None:
    """Wait until so many requests have become stories in the session's line, or are under way."""

    def accepted() -> int:
        lanes = running.worker.statistics().lanes
        return lanes[session].ingest.accepted if session in lanes else 0

    await eventually(lambda: stored(bus), lambda _: accepted() >= count)


# One story


@pytest.mark.trio
async def test_a_story_for_5000_reaches_everyone_once_and_is_reported_with_its_progress_and_its_reasons() -> (
    None
):
    engine, everyone = calm(), people(5_000)
    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, engines(main=engine)):
            await publish_story(bus, "sale", everyone)
            [report] = await ear.until_reports(1)
            await until_empty(bus)

        assert report.success
        assert (report.total_recipients, report.sent_successfully) == (5_000, 5_000)
        assert (report.failed, report.skipped, report.unknown) == (0, 0, 0)
        assert report.message_id == message_id_of("main", "sale")
        assert sum(report.batch_sequence) == 4_999
        assert report.batches.total == len(report.batch_sequence) + 1

        assert engine.ledger.audience(report.message_id) == frozenset(everyone)
        assert set(engine.ledger.sightings().values()) == {1}
        assert engine.ledger.repeats == 0

        assert {message.subject for message in ear.on("storycast.progress.")} == {
            "storycast.progress.main.sale"
        }
        assert [event.state for event in ear.progress][:1] == ["anchoring"]
        assert [event.state for event in ear.progress][-1:] == ["completed"]
        batches = [event.batch for event in ear.progress if event.batch]
        assert [batch.size for batch in batches] == [1, *report.batch_sequence]
        shares = [event.progress.percentage for event in ear.progress]
        assert shares == sorted(shares)
        assert shares[-1] == 100

        assert [one.size for one in ear.scalings[:-1]] == [*report.batch_sequence[:-1], ear.scalings[-2].size]
        assert all(one.reason for one in ear.scalings)
        assert await reports_stored(bus) == 1


@pytest.mark.trio
async def test_a_messagepack_request_is_understood() -> None:
    engine = calm()
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine)):
        body = msgspec.msgpack.encode(request("packed", 3))
        await publish(bus, body, Content_Type="application/msgpack")
        await publish(bus, msgspec.msgpack.encode({"storyId": 1}), Content_Type="application/msgpack")
        await publish(bus, body)
        [report] = await ear.until_reports(1)
        await until_empty(bus)
    assert report.sent_successfully == 3
    assert sorted(one.code for one in ear.rejections) == ["not-decodable", "wrong-type"]


@pytest.mark.trio
async def test_a_dry_run_is_reported_and_calls_nobody() -> None:
    engine = calm()
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine)):
        await publish(bus, request("rehearsal", 500, dryRun=True))
        [report] = await ear.until_reports(1)
        await until_empty(bus)
    assert report.dry_run
    assert report.skips == {"dry-run": 500}
    assert report.sent_successfully == 0
    assert engine.ledger.calls == []


@pytest.mark.trio
async def test_after_a_rehearsal_the_story_itself_is_still_sent_once() -> None:
    engine = calm()
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine)):
        for _ in range(2):
            await publish(bus, request("sale", 20, dryRun=True))
        await publish(bus, request("sale", 20))
        reports = await ear.until_reports(3)
        await until_empty(bus)
    assert sorted(report.sent_successfully for report in reports) == [0, 0, 20]
    assert len(engine.ledger.sightings()) == 20
    assert engine.ledger.repeats == 0


@pytest.mark.trio
async def test_whoever_is_suppressed_is_not_sent_to_and_counts_as_skipped(tmp_path: Path) -> None:
    engine, everyone = calm(), people(10)
    path = tmp_path / "suppressed.txt"
    path.write_text("+" + everyone[3].partition("@")[0] + "\n")
    settings = quick(suppression_file=str(path))
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine), settings):
        await publish_story(bus, "sale", everyone)
        [report] = await ear.until_reports(1)
    assert report.skips == {"suppressed": 1}
    assert engine.ledger.audience(report.message_id or "") == frozenset(everyone) - {everyone[3]}


class ClockedEngine(GatedEngine):
    """Notes when it is called."""

    def __init__(self) -> None:
        super().__init__(is_open=True)
        self.called_at: list[datetime] = []

    async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
        self.called_at.append(datetime.now(UTC))
        return await super().send(content, recipients, message_id)


@pytest.mark.trio
async def test_a_story_that_is_not_due_is_sent_at_its_time_and_not_before() -> None:
    engine = ClockedEngine()
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine)):
        due = datetime.now(UTC) + timedelta(seconds=0.7)
        await publish(bus, request("later", 3, notBefore=due))
        await publish_story(bus, "now")
        reports = await ear.until_reports(2)
        await until_empty(bus)
    assert [report.story_id for report in reports] == ["now", "later"]
    assert engine.called_at[0] < due <= engine.called_at[1]


# Repeated


async def publish_ten_times(bus: Bus, time: str) -> None:
    """The same story, five times with ids of their own and five times without."""
    for n in range(10):
        headers = {"Storycast_Reply_To": f"answers.{n}"} | ({"Nats_Msg_Id": f"{time}-{n}"} if n % 2 else {})
        await publish(bus, request("sale", 300), session="main", level="normal", **headers)


def answers(ear: Ear) -> list[bytes]:
    return [message.data for message in ear.on("answers.")]


@pytest.mark.trio
async def test_a_story_published_ten_times_is_posted_once_and_answered_ten_times_also_later_and_after_a_restart() -> (
    None
):
    engine = calm()
    async with open_nats() as bus, open_ear(bus, "answers.>", "storycast.report.>") as ear:
        async with open_worker(bus, engines(main=engine)):
            await publish_ten_times(bus, "at once")
            await ear.until(lambda: len(answers(ear)) == 10)
            calls = len(engine.ledger.calls)
            await publish_ten_times(bus, "later")
            await ear.until(lambda: len(answers(ear)) == 20)
        async with open_worker(bus, engines(main=engine)):
            await publish_ten_times(bus, "after a restart")
            await ear.until(lambda: len(answers(ear)) == 30)
            await until_empty(bus)
        assert {message.subject for message in ear.on("answers.")} == {f"answers.{n}" for n in range(10)}
        assert set(answers(ear)) == {message.data for message in ear.on("storycast.report.")}
        assert len(ear.reports) == await reports_stored(bus) == 1
        assert len(engine.ledger.calls) == calls
        assert engine.ledger.sightings() == Counter(people(300))


@pytest.mark.trio
async def test_publishing_again_under_the_same_message_id_is_stopped_by_the_stream() -> None:
    async with open_nats() as bus:
        await ensure(bus)
        for _ in range(3):
            await publish(bus, request("sale"), Nats_Msg_Id="sale")
        assert (await stored(bus)).messages == 1


@pytest.mark.trio
async def test_the_same_story_id_of_two_sessions_is_two_stories() -> None:
    one, two = calm(), calm()
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(one=one, two=two)):
        await publish_story(bus, "sale", session="one")
        await publish_story(bus, "sale", session="two")
        reports = await ear.until_reports(2)
    assert len({report.message_id for report in reports}) == 2
    assert len(one.ledger.calls) == len(two.ledger.calls) == 1


# Bad input


def nested(depth: int, key: bytes = b"x") -> bytes:
    return b'{"storyId": "deep", "content": {"' + key + b'": ' + b"[" * depth + b"]" * depth + b"}}"


def bad(**fields: Any) -> bytes:
    return msgspec.json.encode(request("bad") | fields)


def without(*fields: str) -> bytes:
    return msgspec.json.encode({key: value for key, value in request("bad").items() if key not in fields})


JID = "6281200000000@s.whatsapp.net"
LETTERS = "letters, digits, `_` or `-`"
WHO = "a phone number in international form"
BAD: dict[str, tuple[bytes, str, str, str, str]] = {
    # what it is: (the request, code, field, part of what was found, part of what is allowed)
    "nothing": (b"", "not-decodable", "", "", "JSON object"),
    "not JSON": (b"hello", "not-decodable", "", "", "JSON object"),
    "cut off": (bad()[:-10], "not-decodable", "", "truncated", "JSON object"),
    "no UTF-8": (b'{"storyId": "\xff\xfe"}', "not-decodable", "", "", "UTF-8"),
    "a list": (b"[]", "wrong-type", "", "array", "object"),
    "null": (b"null", "wrong-type", "", "null", "object"),
    "10 MB of open brackets": (b"[" * 10 * MIB, "wrong-type", "", "array", "object"),
    "10 MB of nesting": (nested(5 * MIB), "not-decodable", "", "recursion", "JSON object"),
    "nesting as the text": (nested(200_000, b"text"), "not-decodable", "", "recursion", "JSON object"),
    "unknown field": (bad(batchsize=5), "unknown-field", "batchsize", "batchsize", "schema"),
    "unknown field with odd letters": (bad(**{"ü\u2028\x85 \r\n": 1}), "unknown-field", "ü", "ü", "schema"),
    "missing field": (without("content"), "missing-field", "content", "nothing", ""),
    "wrong type": (bad(recipients="all"), "wrong-type", "recipients", "str", "array"),
    "no recipients": (bad(recipients=[]), "out-of-range", "recipients", "[]", "at least one"),
    "all recipients malformed": (
        bad(recipients=["x", "0812", "@", ""]), "no-valid-recipient", "recipients[0]", "x", WHO,
    ),
    "a group": (bad(recipients=[JID, "120363@g.us"]), "target-not-allowed", "recipients[1]", "a group", WHO),
    "a newsletter": (bad(recipients=["1@newsletter"]), "target-not-allowed", "recipients[0]", "newsletter", WHO),
    "a chat": (bad(chatId=JID), "target-not-allowed", "chatId", "chatId", "never to a chat"),
    "session with a dot": (bad(sessionId="a.b"), "out-of-range", "sessionId", "a.b", LETTERS),
    "session with a star": (bad(sessionId="*"), "out-of-range", "sessionId", "*", LETTERS),
    "session with a line break": (bad(sessionId="main\n"), "out-of-range", "sessionId", "main", LETTERS),
    "story with a space": (bad(storyId="a b"), "out-of-range", "storyId", "a b", LETTERS),
    "story with a dot": (bad(storyId="a.b"), "out-of-range", "storyId", "a.b", LETTERS),
    "story with a wildcard": (bad(storyId=">"), "out-of-range", "storyId", ">", LETTERS),
    "story without a name": (bad(storyId=""), "out-of-range", "storyId", "", LETTERS),
    "another session than the subject's": (bad(sessionId="other"), "session-mismatch", "sessionId", "other", "main"),
    "negative batch size": (
        bad(smartSendConfig={"batchSize": -5}), "out-of-range", "smartSendConfig.batchSize", "-5", ">= 1",
    ),
    "unknown strategy": (
        bad(smartSendConfig={"strategy": "magic"}), "invalid-value", "smartSendConfig.strategy", "magic", "tiered",
    ),
    "media without mimetype": (
        bad(content={"type": "image", "url": "https://x.example/a.jpg"}),
        "missing-field", "content.mimetype", "nothing", "image/jpeg",
    ),
    "media from nowhere": (
        bad(content={"type": "image", "mimetype": "image/jpeg"}), "media-source", "content", "neither", "url and data",
    ),
    "a time without zone": (bad(notBefore="2026-11-22T08:00:00"), "out-of-range", "notBefore", "2026", "timezone"),
}  # fmt: skip


@pytest.mark.trio
async def test_each_bad_request_is_kept_with_its_reason_and_the_worker_goes_on() -> None:
    engine = calm()
    async with (
        open_nats(max_payload=16 * MIB) as bus,
        open_ear(bus, "storycast.>") as ear,
        open_worker(bus, engines(main=engine)),
    ):
        for data, *_ in BAD.values():
            await publish(bus, data)
        await ear.until(lambda: len(ear.rejections) == len(BAD))
        await publish_story(bus, "good")
        [report] = await ear.until_reports(1)
        await until_empty(bus)
    assert report.story_id == "good"
    assert len(engine.ledger.calls) == 1
    kept = {message.data: message for message in ear.on("storycast.rejected.main")}
    assert set(kept) == {data for data, *_ in BAD.values()}
    for name, (data, code, field, found, allowed) in BAD.items():
        why = rejection_of(kept[data])
        assert why.code == code, name
        assert why.field.startswith(field), name
        assert why.field == field or name == "unknown field with odd letters", name
        assert found in why.found, (name, why.found)
        assert allowed in why.allowed, (name, why.allowed)
        assert why.session_id == "main", name


@pytest.mark.trio
async def test_a_refused_request_is_answered_if_it_asked_for_that() -> None:
    async with (
        open_nats() as bus,
        open_ear(bus, "answers.>", "storycast.rejected.>") as ear,
        open_worker(bus, engines(main=calm())),
    ):
        await publish(bus, bad(recipients=[]), Storycast_Reply_To="answers.1")
        await publish(bus, b"{}", Storycast_Reply_To="storycast.send.main")
        await publish(bus, bad(), Content_Type="text/plain", Storycast_Reply_To="answers.2")
        await ear.until(lambda: len(answers(ear)) == 2 and len(ear.rejections) == 3)
        await until_empty(bus)
    reasons = {why.code for why in ear.rejections}
    assert reasons == {"out-of-range", "missing-field", "unsupported-content-type"}
    assert set(answers(ear)) < {
        message.headers["Storycast-Rejection"].encode() for message in ear.on("storycast.")
    }


@pytest.mark.trio
@pytest.mark.parametrize("token", ["mäin", "a$b", "x" * 65, "a:b", "{main}", "a\u2028b"])
async def test_a_subject_whose_session_is_none_is_refused_without_a_lane(token: str) -> None:
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=calm())) as running:
        await publish(bus, request(sessionId=token), session=token)
        await publish_story(bus, "good")
        await ear.until_reports(1)
        await ear.until(lambda: len(ear.rejections) == 1)
        await until_empty(bus)
        assert list(running.worker.statistics().lanes) == ["main"]
    [why] = ear.rejections
    found = token if len(token) < 65 else "x" * 64 + "..."
    assert (why.code, why.field, why.found) == ("invalid-session", "subject", found)
    assert [message.subject for message in ear.on("storycast.rejected.")] == ["storycast.rejected._"]


@pytest.mark.trio
async def test_no_request_can_make_the_worker_stop_or_fall_silent() -> None:
    unknown = ["\x01" * 100 + str(n) for n in range(900)]
    async with (
        open_nats(max_payload=100_000) as bus,
        open_ear(bus) as ear,
        open_worker(bus, engines(main=calm())),
    ):
        await publish(
            bus, msgspec.msgpack.encode(request("big", [JID, *unknown])), Content_Type="application/msgpack"
        )
        await publish(bus, request("answered", 1), Storycast_Reply_To="a" * 5_000)
        await publish(bus, request("answered", 1), Storycast_Reply_To="a" * 5_000)
        await bus.store(Outbound("storycast.report.main.foreign", b'{"version": 2}'))
        await publish(bus, request("foreign", 1))
        for size in range(97_000, 99_500, 250):
            await publish(bus, request(f"size{size}", [JID, "x" * size]))
        await publish_story(bus, "good")
        await ear.until(lambda: {"big", "answered", "good", "size99250"} <= reported(ear))
        await until_empty(bus)
    assert ear.alerts == []


def reported(ear: Ear) -> set[str]:
    return {message.subject.rpartition(".")[2] for message in ear.on("storycast.report.")}


# Who is next


@pytest.mark.trio
async def test_with_a_thousand_waiting_an_urgent_request_is_next_and_a_late_one_gets_its_turn() -> None:
    engine = GatedEngine()
    async with open_nats() as bus, open_ear(bus, "storycast.report.>") as ear:
        await ensure(bus)
        for n in range(1_000):
            await publish_story(bus, f"n{n}", 1)
        async with open_worker(bus, engines(main=engine)) as running:
            await engine.until_calls(1)
            await until_ingested(bus, running, 200)
            await publish_story(bus, "bulk", 1, level="bulk")
            for n in range(40):
                await publish_story(bus, f"high{n}", 1, level="high")
            await until_held(bus, running, high=40, bulk=1)
            engine.gate.set()
            await engine.until_calls(45)
            order = [named(message_id) for message_id in engine.messages[1:45]]
        assert order[0] == "high0"
        assert "bulk" in order[:40]
        assert sum(name.startswith("high") for name in order[: order.index("bulk")]) < 40
        assert [name for name in order if name.startswith("high")] == [
            f"high{n}" for n in range(sum(name.startswith("high") for name in order))
        ]
        assert len(ear.reports) <= 1_041


NAMES = {
    message_id_of("main", name): name
    for name in ["bulk", *(f"high{n}" for n in range(40)), *(f"n{n}" for n in range(1_000))]
}


def named(message_id: str) -> str:
    return NAMES[message_id]


LEVELS: tuple[Level, ...] = ("high", "bulk", "normal")


async def until_held(bus: Bus, running: RunningWorker, *, high: int, bulk: int) -> None:
    """Wait until those are in custody, and all that is in custody but the story under way is in the line."""
    custody = running.worker.custody

    def is_so() -> bool:
        held = [custody.count("main", level) for level in LEVELS]
        waiting = running.worker.statistics().lanes["main"].line.waiting
        return held[:2] == [high, bulk] and waiting + 1 == sum(held)

    await eventually(lambda: stored(bus), lambda _: is_so())


# Stopping, dying, and going on


@pytest.mark.trio
async def test_at_shutdown_what_is_under_way_is_finished_and_what_waits_goes_to_another_worker() -> None:
    first, second = GatedEngine(), GatedEngine(is_open=True)
    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, engines(main=first)) as running:
            for n in range(20):
                await publish_story(bus, f"s{n}", 3)
            await first.until_calls(1)
            await until_ingested(bus, running, 20)
            running.shutdown.set()
            await eventually(lambda: stored(bus), lambda _: not_waiting(running))
            first.gate.set()
        assert [report.story_id for report in await ear.until_reports(1)] == ["s0"]
        assert first.messages == [message_id_of("main", "s0")]
        async with open_worker(bus, engines(main=second)):
            reports = await ear.until_reports(20)
            await until_empty(bus)
    assert sorted(report.story_id for report in reports) == sorted(f"s{n}" for n in range(20))
    assert sorted(second.messages) == sorted(message_id_of("main", f"s{n}") for n in range(1, 20))


def not_waiting(running: RunningWorker) -> bool:
    lanes = running.worker.statistics().lanes
    return "main" in lanes and lanes["main"].line.waiting == 0


@pytest.mark.trio
async def test_a_story_that_outlasts_the_grace_is_handed_over_and_sent_under_the_same_id() -> None:
    first, second = GatedEngine(), GatedEngine(is_open=True)
    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, engines(main=first), quick(grace=0.05)):
            await publish_story(bus, "sale", 3)
            await first.until_calls(1)
        assert ear.reports == []
        assert (await stored(bus)).messages == 1
        async with open_worker(bus, engines(main=second)):
            await ear.until_reports(1)
            await until_empty(bus)
    assert first.messages == second.messages == [message_id_of("main", "sale")]


@pytest.mark.trio
@pytest.mark.parametrize("batches", [1, 2, 3])
async def test_a_worker_that_is_cancelled_in_mid_story_loses_nothing_and_nobody_sees_anything_twice(
    batches: int,
) -> None:
    engine, everyone = calm(), people(3_000)
    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, engines(main=engine)) as running:
            await publish_story(bus, "sale", everyone)
            await publish_story(bus, "next", everyone[:500])
            await ear.until(lambda: sum(event.batch is not None for event in ear.progress) >= batches)
            await running.kill()
        assert ear.reports == []
        assert (await stored(bus)).messages == 2
        assert engine.ledger.calls
        async with open_worker(bus, engines(main=engine)):
            reports = await ear.until_reports(2)
            await until_empty(bus)
        assert await reports_stored(bus) == 2
    assert engine.ledger.audience(message_id_of("main", "sale")) == frozenset(everyone)
    assert engine.ledger.audience(message_id_of("main", "next")) == frozenset(everyone[:500])
    assert len(engine.ledger.sightings()) == 3_000
    assert {call.message_id for call in engine.ledger.calls} == {
        message_id_of("main", "sale"),
        message_id_of("main", "next"),
    }
    assert sorted(report.sent_successfully for report in reports) == [500, 3_000]


@pytest.mark.trio
async def test_a_worker_that_found_a_report_stored_but_not_acknowledged_sends_nothing_again() -> None:
    engine = calm()
    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, engines(main=engine)):
            await publish_story(bus, "sale", 3)
            await ear.until_reports(1)
            await until_empty(bus)
        await publish(bus, request("sale", 3), Storycast_Reply_To="storycast_answers")
        async with (
            open_ear(bus, "storycast_answers") as answered,
            open_worker(bus, engines(main=GatedEngine())),
        ):
            await answered.until(lambda: len(answered.messages) == 1)
            await until_empty(bus)
        assert answered.messages[0].data == ear.on("storycast.report.")[0].data
        assert len(ear.reports) == 1


@pytest.mark.trio
async def test_what_the_first_worker_learned_the_second_uses() -> None:
    settings = quick()
    async with open_nats() as bus, open_ear(bus) as ear:
        for story in ("first", "second"):
            async with open_worker(bus, engines(main=calm()), settings):
                await publish_story(bus, story, 5_000)
                await ear.until(lambda: story in {report.story_id for report in ear.reports})  # noqa: B023
        first, second = ear.reports
    proven = first.session_learning.max_proven_batch_size
    assert not first.session_learning.used_historical_data
    assert second.session_learning.used_historical_data
    assert first.batch_sequence[0] == 100
    assert second.batch_sequence[0] == proven > 100


@pytest.mark.trio
async def test_without_learning_the_second_worker_starts_from_the_first_rung() -> None:
    options = structs.replace(quick().smart_send, enable_learning=False)
    settings = Settings(smart_send=options)
    async with open_nats() as bus, open_ear(bus) as ear:
        for count, story in enumerate(("first", "second"), 1):
            async with open_worker(bus, engines(main=calm()), settings):
                await publish_story(bus, story, 5_000)
                await ear.until_reports(count)
        assert [report.batch_sequence[0] for report in ear.reports] == [100, 100]


@pytest.mark.trio
async def test_the_server_may_be_restarted_in_mid_story(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "EXPIRES", 0.5)
    engine, events = GatedEngine(), Events()
    async with open_restartable(tmp_path) as server:
        await server.start()
        async with (
            open_bus(server.url, on_event=events) as bus,
            open_ear(bus) as ear,
            open_worker(bus, engines(main=engine)),
        ):
            await publish_story(bus, "sale", 3)
            await engine.until_calls(1)
            await server.stop()
            await events.until("is lost")
            await server.start()
            await events.until("connected to NATS again")
            engine.gate.set()
            await eventually(lambda: reports_stored(bus), lambda count: count == 1)
            await publish_story(bus, "next", 3)
            await ear.until(lambda: "next" in {report.story_id for report in ear.reports})
            await until_empty(bus)
    assert engine.messages == [message_id_of("main", "sale"), message_id_of("main", "next")]


@pytest.mark.trio
async def test_recipients_that_fail_are_named_in_the_report_with_the_reason() -> None:
    everyone = people(1_000)
    profile = msgspec.convert({"numbers": {"dead": everyone[500:503]}}, Profile)
    async with (
        open_nats() as bus,
        open_ear(bus) as ear,
        open_worker(bus, engines(main=calm(structs.replace(profile, latency=Latency(a=0.01, b=0))))),
    ):
        await publish_story(bus, "sale", everyone)
        [report] = await ear.until_reports(1)
    assert report.failures == {"not-on-whatsapp": 3}
    assert report.failed_recipients == everyone[500:503]
    assert report.sent_successfully == 997


@pytest.mark.trio
async def test_a_message_where_workers_pass_requests_on_that_is_none_does_no_harm() -> None:
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=calm())) as running:
        await bus.publish([Outbound(f"storycast.worker.{running.worker.id}.send.main", b"?")])
        await publish_story(bus, "sale")
        await ear.until_reports(1)
