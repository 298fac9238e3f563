"""The client sends, follows and controls stories, on Trio and on asyncio alike, and says clearly what went wrong."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import anyio
import msgspec
import pytest
from msgspec import structs

from pipeline import Client, open_client
from pipeline.client import Event, Events
from stages.errors import BadRequest, ControlRefused, NotFinished
from stages.messages import (
    Alert,
    BatchCounts,
    Media,
    Progress,
    ProgressEvent,
    Recipient,
    Rejection,
    Report,
    Scaling,
    SendRequest,
    SessionLearning,
    StoryStatus,
    Text,
    Video,
)
from tests.nats_support import free_port
from tests.ops.support import NatsServer
from tests.support import people
from transports.bus import Bus, Inbound, Outbound, open_bus
from transports.errors import PublishRefused, Unreachable
from transports.subjects import (
    HEADER_REJECTION,
    HEADER_REPLY_TO,
    STREAM_SENDS,
    alert_subject,
    control_subject,
    progress_subject,
    rejected_subject,
    report_subject,
    scaling_subject,
    send_subject,
)

pytestmark = pytest.mark.anyio

T = TypeVar("T")
AT_MOST = 15.0
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
BUCKET = "storycast_recipients"


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Real time: there is a real server at the other end."""
    return str(request.param)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with storycast's streams, for all tests here; each takes a session of its own."""
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        server.make_streams()
        yield server.url


@pytest.fixture
def session(request: pytest.FixtureRequest) -> str:
    """A session that no other test has."""
    return f"{abs(hash(request.node.name)):x}"


class Side(NamedTuple):
    """A client, and the bus of a worker that is not there."""

    client: Client
    worker: Bus


@asynccontextmanager
async def both(url: str) -> AsyncIterator[Side]:
    async with open_bus(url) as worker, open_client(url) as client:
        with anyio.fail_after(AT_MOST):
            yield Side(client, worker)


def a_request(
    session: str, story: str = "sale", recipients: int | list[Recipient] = 2, **fields: Any
) -> SendRequest:
    given: dict[str, Any] = {
        "content": Text(text="Hello!"),
        "recipients": people(recipients) if isinstance(recipients, int) else recipients,
    }
    return SendRequest(story_id=story, session_id=session, **given | fields)


def a_report(session: str, story: str = "sale") -> Report:
    return Report(
        success=True,
        story_id=story,
        session_id=session,
        message_id="3EB0",
        state="completed",
        total_recipients=2,
        sent_successfully=2,
        failed=0,
        skipped=0,
        unknown=0,
        batches=BatchCounts(total=1, successful=1, failed=0, retried=0),
        batch_sequence=[1],
        total_duration=1,
        failed_recipients=[],
        failure_reasons={},
        failures={},
        skips={},
        skipped_recipients=[],
        unknown_recipients=[],
        session_learning=SessionLearning(
            max_proven_batch_size=0, used_historical_data=False, will_skip_ramping_next_time=False
        ),
    )


def a_progress(session: str, story: str = "sale") -> ProgressEvent:
    done = Progress(current=1, total=1, percentage=50, recipients_sent=1, recipients_total=2)
    return ProgressEvent(session_id=session, story_id=story, state="sending", at=NOW, progress=done)


def a_rejection(session: str, story: str | None = "sale") -> Rejection:
    return Rejection(
        code="target-not-allowed",
        field="recipients[0]",
        found="a group",
        allowed="a phone number",
        message="recipients[0]: target-not-allowed",
        session_id=session,
        at=NOW,
        story_id=story,
    )


def said(subject: str, message: Any) -> Outbound:
    return Outbound(subject, msgspec.json.encode(message))


def refused(session: str, rejection: Rejection) -> Outbound:
    header = {HEADER_REJECTION: msgspec.json.encode(rejection).decode()}
    return Outbound(rejected_subject(session), b"{...", header)


async def stored(bus: Bus, session: str) -> dict[str, Any]:
    found = await bus.last(STREAM_SENDS, send_subject(session))
    assert found is not None
    return msgspec.json.decode(found.data, type=dict[str, Any])


async def objects(bus: Bus) -> list[str]:
    """The names of the lists in the object store."""

    async def listed() -> list[str]:
        store = await bus.jetstream.object_store(BUCKET)
        return [info.name for info in await store.list()]

    return await bus.call(listed)


async def lines_of(bus: Bus, name: str) -> list[str]:
    async def got() -> bytes:
        store = await bus.jetstream.object_store(BUCKET)
        return (await store.get(name)).data or b""

    data = await bus.call(got)
    return (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode().splitlines()


async def all_of(events: Events) -> list[Event]:
    return [event async for event in events]


# Sending


async def test_a_request_is_stored_as_it_is(url: str, session: str) -> None:
    async with both(url) as (client, worker):
        sent = await client.send(a_request(session, priority=7))
        found = await stored(worker, session)
        again = await client.send(a_request(session), level="bulk")
        bulk = await worker.last(STREAM_SENDS, send_subject(session, "bulk"))
    assert (found["storyId"], found["recipients"], found["priority"]) == ("sale", people(2), 7)
    assert 0 < sent.sequence < again.sequence
    assert bulk is not None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipients": []}, "recipients: "),
        ({"session_id": "a.b"}, "sessionId: out-of-range"),
        ({"story_id": "*"}, "storyId: out-of-range"),
        ({"content": Text(text="")}, r"content\.text: out-of-range"),
        ({"priority": 10}, "priority: out-of-range"),
    ],
)
async def test_a_wrong_request_is_refused_before_it_is_sent(
    url: str, session: str, changes: dict[str, Any], words: str
) -> None:
    async with both(url) as (client, worker):
        request = structs.replace(a_request(session), **changes)
        with pytest.raises(BadRequest, match=words):
            await client.send(request)
        with pytest.raises(BadRequest, match=words):
            async with client.send_and_follow(request):
                pytest.fail("it cannot be followed")
        assert await worker.last(STREAM_SENDS, send_subject(session)) is None


async def test_a_few_recipients_from_any_iterable_are_in_the_request(url: str, session: str) -> None:
    async with both(url) as (client, worker):
        await client.send(a_request(session), recipients=(person for person in people(3)))
        found = await stored(worker, session)
    assert found["recipients"] == people(3)
    assert found.get("recipientsRef") is None


async def test_a_request_for_the_audience_is_stored_as_it_is_unless_recipients_take_its_place(
    url: str, session: str
) -> None:
    request = a_request(session, recipients=0, audience="contacts")
    async with both(url) as (client, worker):
        await client.send(request)
        assert (await stored(worker, session))["audience"] == "contacts"
        await client.send(request, recipients=people(3))
        found = await stored(worker, session)
    assert (found.get("audience"), found["recipients"]) == (None, people(3))


async def test_no_recipients_at_all_are_refused(url: str, session: str) -> None:
    async with both(url) as (client, worker):
        with pytest.raises(BadRequest, match="recipients: "):
            await client.send(a_request(session), recipients=iter(()))
        assert await worker.last(STREAM_SENDS, send_subject(session)) is None


@pytest.mark.parametrize("by_argument", [True, False])
async def test_a_long_list_is_stored_apart_and_the_request_refers_to_it(
    url: str, session: str, by_argument: bool
) -> None:
    many = people(40_000)
    async with both(url) as (client, worker):
        if by_argument:
            await client.send(a_request(session), recipients=iter(many))
        else:
            await client.send(a_request(session, recipients=40_000))
        found = await stored(worker, session)
        listed = await lines_of(worker, found["recipientsRef"])
    assert "recipients" not in found or found["recipients"] == []
    assert listed == many


async def test_an_open_file_will_do_and_what_nobody_is_called_refuses_no_other(
    url: str, session: str, tmp_path: Path
) -> None:
    odd = ["1" * 300, "two\nlines"]
    (tmp_path / "people.txt").write_text("\n".join(people(40_000)), newline="\r\n")
    async with both(url) as (client, worker):
        with (tmp_path / "people.txt").open(newline="") as file:
            await client.send(a_request(session), recipients=chain(file, odd))
        listed = await lines_of(worker, (await stored(worker, session))["recipientsRef"])
        await client.send(a_request(session), recipients=["1\n", "2\r\n", "3"])
        assert (await stored(worker, session))["recipients"] == ["1", "2", "3"]
    assert listed == [*people(40_000), "1" * 256, "two lines"]


async def test_what_a_list_holds_counts_and_not_how_large_the_content_is(url: str, session: str) -> None:
    clip = Video(mimetype="video/mp4", data=bytes(600_000))
    async with both(url) as (client, worker):
        await client.send(a_request(session, content=clip))
        inline = await stored(worker, session)
        await client.send(a_request(session, content=clip, recipients=10_000))
        apart = await stored(worker, session)
    assert (len(inline["recipients"]), inline.get("recipientsRef")) == (2, None)
    assert apart["recipientsRef"]


async def test_recipients_with_priorities_stay_in_the_request(url: str, session: str) -> None:
    ranked = [Recipient(jid=person, priority=9) for person in people(12_000)]
    async with both(url) as (client, worker):
        await client.send(a_request(session, recipients=ranked))
        assert len((await stored(worker, session))["recipients"]) == 12_000
        too_many = a_request(session, content=media_of(500_000), recipients=ranked)
        with pytest.raises(BadRequest, match=r"too-large: found a request of .* allowed: 1,044,480 bytes"):
            await client.send(too_many)


def media_of(size: int) -> Media:
    return Video(mimetype="video/mp4", data=bytes(size))


async def test_content_too_large_for_a_message_is_refused_before_a_list_is_stored(
    url: str, session: str
) -> None:
    async with both(url) as (client, worker):
        await client.send(a_request(session), recipients=people(40_000))  # the store is there now
        before = await objects(worker)
        with pytest.raises(BadRequest, match="too-large"):
            await client.send(a_request(session, content=media_of(900_000)), recipients=people(40_000))
        assert await objects(worker) == before


async def test_an_error_of_the_iterable_comes_through_and_nothing_is_sent(url: str, session: str) -> None:
    def broken() -> Iterator[str]:
        yield from people(40_000)
        raise BadRequest("file", field="people.txt", found="no UTF-8 text", allowed="one recipient a line")

    async with both(url) as (client, worker):
        with pytest.raises(BadRequest, match="no UTF-8 text"):
            await client.send(a_request(session), recipients=broken())
        assert await worker.last(STREAM_SENDS, send_subject(session)) is None
        assert [name for name in await objects(worker) if name.startswith(f"{session}.")] == []


@pytest.fixture
def own_url(tmp_path: Path) -> Iterator[str]:
    """A server for one test alone."""
    with NatsServer(tmp_path) as server:
        server.make_streams()
        yield server.url


async def test_a_full_stream_is_said_clearly_and_only_the_refused_list_is_deleted(own_url: str) -> None:
    full = r"^too many requests wait already: stream STORYCAST_SENDS takes no more at level normal"
    async with both(own_url) as (client, worker):
        config = (await worker.call(worker.jetstream.stream_info, STREAM_SENDS)).config
        await worker.call(worker.jetstream.update_stream, config.evolve(max_msgs_per_subject=1))
        await client.send(a_request("main"), recipients=people(40_000))
        accepted = (await stored(worker, "main"))["recipientsRef"]
        with pytest.raises(PublishRefused, match=full) as caught:
            await client.send(a_request("main"), recipients=people(50_000))
        assert caught.value.code == 10077
        assert "maximum messages per subject exceeded" in str(caught.value)
        assert "Story sale was not stored; send it again when" in str(caught.value)
        assert await objects(worker) == [accepted]
        assert len(await lines_of(worker, accepted)) == 40_000
        await client.send(a_request("other"))  # another session is not full


async def test_without_streams_it_is_unreachable_and_says_why(tmp_path: Path) -> None:
    with NatsServer(tmp_path) as server:
        async with both(server.url) as (client, _):
            with pytest.raises(Unreachable, match="are the streams there"):
                await client.send(a_request("main"))


# Following


async def test_events_are_those_of_the_story_and_end_with_its_report(url: str, session: str) -> None:
    scaling = Scaling(session_id=session, story_id="sale", size=100, gap_ms=0, reason="why", at=NOW)
    alert = Alert(session_id=session, kind="session-lost", reason="why", at=NOW)
    async with both(url) as (client, worker), client.events(session, "sale") as events:
        await worker.publish(
            [
                said(progress_subject(session, "sale"), a_progress(session)),
                said(progress_subject(session, "other"), a_progress(session, "other")),
                said(progress_subject(session, "sale"), {"foreign": "message"}),
                said(scaling_subject(session), structs.replace(scaling, story_id="other")),
                said(scaling_subject(session), scaling),
                said(alert_subject(session), alert),
                refused(session, a_rejection(session, "other")),
            ]
        )
        found = [await anext(events) for _ in range(3)]
        await worker.publish([said(report_subject(session, "sale"), a_report(session))])
        found += await all_of(events)
    # Between subjects there is no order.
    assert found[-1] == a_report(session)
    assert sorted(map(repr, found[:-1])) == sorted(map(repr, [a_progress(session), scaling, alert]))


async def test_of_a_finished_story_the_report_is_the_only_event(url: str, session: str) -> None:
    async with both(url) as (client, worker):
        await worker.store(said(report_subject(session, "sale"), a_report(session)))
        async with client.events(session, "sale") as events:
            assert await all_of(events) == [a_report(session)]


async def test_following_can_be_left_at_any_event_and_begun_again(url: str, session: str) -> None:
    async with both(url) as (client, worker):
        for _ in range(2):
            async with client.events(session, "sale") as events:
                await worker.publish([said(progress_subject(session, "sale"), a_progress(session))] * 10)
                async for event in events:
                    assert event == a_progress(session)
                    break


async def test_watching_a_session_hears_all_of_it_and_nothing_else(url: str, session: str) -> None:
    async with both(url) as (client, worker), client.watch(session) as events, client.watch() as everything:
        for each in ("other", session):
            await worker.publish([said(progress_subject(each, "any"), a_progress(each, "any"))])
        assert await anext(events) == a_progress(session, "any")
        assert [(await anext(everything)).session_id for _ in range(2)] == ["other", session]


# Reports


async def after(do: Callable[[], Awaitable[object]], then: Callable[[], Awaitable[T]]) -> T:
    """Begin `then`, and once it waits do `do`."""
    found: list[T] = []

    async def begun() -> None:
        found.append(await then())

    async with anyio.create_task_group() as group:
        group.start_soon(begun)
        await do()
    return found[0]


async def until_listening(bus: Bus, subject: str) -> None:
    """Wait until somebody listens on `subject`."""
    with anyio.fail_after(AT_MOST):
        while True:
            try:
                await bus.request(Outbound(subject), timeout=0.01)
            except Unreachable as error:
                if "no responders" not in str(error):
                    return  # there is somebody, who does not answer


async def test_a_report_is_waited_for_and_found_later_too(url: str, session: str) -> None:
    async with both(url) as (client, worker):

        async def finish() -> None:
            await until_listening(worker, alert_subject(session))  # the last one that it listens on
            await worker.store(said(report_subject(session, "sale"), a_report(session)))

        async def ask() -> Report:
            return await client.report(session, "sale", timeout=AT_MOST)

        assert await after(finish, ask) == a_report(session)
        assert await ask() == a_report(session)


async def test_a_report_that_does_not_come_in_time_is_an_error_of_its_own(url: str, session: str) -> None:
    async with both(url) as (client, _):
        with pytest.raises(NotFinished, match=f"story sale of session {session} has no report after 0.05 s"):
            await client.report(session, "sale", timeout=0.05)


async def test_a_story_that_is_refused_while_its_report_is_waited_for_is_a_bad_request(
    url: str, session: str
) -> None:
    async with both(url) as (client, worker):

        async def refuse() -> None:
            await until_listening(worker, alert_subject(session))  # the last one that it listens on
            await worker.publish([refused(session, a_rejection(session))])

        with pytest.RaisesGroup(pytest.RaisesExc(BadRequest, match="target-not-allowed: found a group")):
            await after(refuse, lambda: client.report(session, "sale", timeout=AT_MOST))


@pytest.mark.parametrize("answer", [a_report("main"), a_rejection("main"), a_rejection("main", None)])
async def test_sending_and_following_ends_with_the_answer_to_this_very_request(
    url: str, session: str, answer: Report | Rejection
) -> None:
    async with both(url) as (client, worker):
        await worker.store(said(report_subject(session, "sale"), a_report(session)))  # of an earlier time
        async with client.send_and_follow(a_request(session), recipients=people(5)) as events:
            request = await worker.last(STREAM_SENDS, send_subject(session))
            assert request is not None
            await worker.publish([said(progress_subject(session, "sale"), a_progress(session))])
            assert await anext(events) == a_progress(session)
            await worker.publish([said(request.headers[HEADER_REPLY_TO], answer)])
            assert await all_of(events) == [structs.replace(answer, story_id="sale")]


# Control


@asynccontextmanager
async def worker_that_answers(bus: Bus, session: str, answer: bytes) -> AsyncIterator[list[Inbound]]:
    """Answers every request on the control subjects of `session`."""
    asked: list[Inbound] = []

    async with (
        bus.subscribe(control_subject(session, "*")) as mailbox,
        anyio.create_task_group() as group,
    ):

        async def serve() -> None:
            while True:
                for message in await mailbox.receive():
                    asked.append(message)
                    await bus.publish([Outbound(message.reply, answer)])

        group.start_soon(serve)
        yield asked
        group.cancel_scope.cancel()


@pytest.mark.parametrize("action", ["status", "pause", "resume", "cancel"])
async def test_a_control_asks_the_worker_and_returns_where_the_story_stands(
    url: str, session: str, action: str
) -> None:
    answer = {
        "sessionId": session,
        "storyId": "sale",
        "state": "paused",
        "messageId": "3EB0",
        "total": 10,
        "sent": 4,
        "worker": "w1",
        "reason": None,
    }
    async with (
        both(url) as (client, worker),
        worker_that_answers(worker, session, msgspec.json.encode(answer)) as asked,
    ):
        status = await getattr(client, action)(session, "sale")
    assert status == StoryStatus(
        session_id=session, story_id="sale", state="paused", message_id="3EB0", total=10, sent=4, worker="w1"
    )
    [question] = asked
    assert question.subject == f"storycast.control.{session}.sale"
    assert msgspec.json.decode(question.data) == {"action": action}


async def test_what_a_worker_will_not_do_is_an_error_with_its_code(url: str, session: str) -> None:
    refusal = b'{"code": "not-found", "message": "no such story"}'
    async with both(url) as (client, worker), worker_that_answers(worker, session, refusal):
        with pytest.raises(ControlRefused, match=r"^no such story$") as caught:
            await client.pause(session, "sale")
    assert caught.value.code == "not-found"


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"code": 1}', b"\xff"])
async def test_an_answer_that_cannot_be_read_is_an_error_too(url: str, session: str, answer: bytes) -> None:
    async with both(url) as (client, worker), worker_that_answers(worker, session, answer):
        with pytest.raises(ControlRefused, match="cannot be read") as caught:
            await client.status(session, "sale")
    assert caught.value.code == "unreadable-answer"


async def test_without_a_worker_a_control_says_so_at_once(url: str, session: str) -> None:
    async with both(url) as (client, _):
        with pytest.raises(Unreachable, match="no worker is running that could cancel story sale"):
            await client.cancel(session, "sale", timeout=3600)


async def test_a_worker_that_does_not_answer_in_time_is_unreachable(url: str, session: str) -> None:
    async with both(url) as (client, worker), worker.subscribe(control_subject(session, "*")):
        with pytest.raises(Unreachable, match="did not answer in time"):
            await client.status(session, "sale", timeout=0.05)


@pytest.mark.parametrize(
    "names", [("*", "sale"), ("main", ">"), ("a.b", "sale"), ("main", ""), ("main\n", "a")]
)
async def test_names_that_would_be_wildcards_or_no_names_are_refused(
    url: str, names: tuple[str, str]
) -> None:
    async with both(url) as (client, _):
        for ask in (client.status, client.pause, client.resume, client.cancel):
            with pytest.raises(BadRequest, match="Id: out-of-range"):
                await ask(*names)
        with pytest.raises(BadRequest, match="Id: out-of-range"):
            client.events(*names)
        with pytest.raises(BadRequest, match="Id: out-of-range"):
            await client.report(*names, timeout=1)


# The block


async def test_without_a_server_it_is_unreachable_and_in_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transports.connection.CONNECT_TIMEOUT", 0.3)
    port = free_port()
    with pytest.raises(Unreachable, match=f"no NATS server answers at nats://127.0.0.1:{port}"):
        async with open_client(f"nats://127.0.0.1:{port}"):
            pytest.fail("there is nobody to be connected to")


async def test_an_error_inside_leaves_the_block_as_it_is(url: str) -> None:
    cause = KeyError("why")
    with pytest.raises(ValueError, match="mine") as caught:
        async with open_client(url):
            raise ValueError("mine") from cause
    assert caught.value.__cause__ is cause
    group = ExceptionGroup("mine", [ValueError("one")])
    with pytest.raises(ExceptionGroup) as grouped:
        async with open_client(url):
            raise group
    assert (grouped.value.message, grouped.value.exceptions) == ("mine", group.exceptions)


async def test_a_server_lost_for_good_ends_the_block(url: str) -> None:
    async def lose_it() -> None:
        async with open_client(url) as client:
            await client._bus.call(client._bus.client.close)
            await anyio.sleep_forever()

    with anyio.fail_after(AT_MOST), pytest.raises(Unreachable, match="was closed for good"):
        await lose_it()


def test_it_needs_nothing_of_anyio_around_it(url: str, session: str) -> None:
    async def main() -> int:
        async with asyncio.timeout(AT_MOST), open_client(url) as client:
            return (await client.send(a_request(session))).sequence

    assert asyncio.run(main()) > 0
