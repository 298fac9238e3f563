"""Orders: whoever takes one, it is heeded before the next call, outlives the worker, and nobody is sent to twice."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec
import pytest
import trio

from pipeline import lanes as lanes_module
from pipeline import presence as presence_module
from stages import message_id_of
from stages.checkpoint import Checkpoint
from stages.engine import Receipt
from stages.errors import (
    AccountRestricted,
    ControlRefused,
    EngineFailure,
    RateLimited,
    SessionLost,
    Unavailable,
)
from stages.messages import Action, Content
from tests.nats_support import (
    Ear,
    engines,
    open_ear,
    open_nats,
    open_worker,
    publish_story,
    until_empty,
)
from tests.pipeline.crew import (
    SteppedEngine,
    answer_to,
    claim_for,
    in_twos,
    order,
    owner_of,
    until,
    until_state,
)
from tests.support import people
from transports.bus import Bus, Outbound
from transports.jobs import NatsJobs
from transports.subjects import control_subject

SEVEN = people(7)
ONCE = dict.fromkeys(SEVEN, 1)


class FailingEngine(SteppedEngine):
    """Its first call fails, and all others succeed."""

    def __init__(self, failure: EngineFailure) -> None:
        super().__init__(steps=float("inf"))
        self._failure = failure

    async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
        receipt = await super().send(content, recipients, message_id)
        if len(self.calls) == 1:
            raise self._failure
        return receipt


def states(ear: Ear, story: str = "sale") -> list[str]:
    return [event.state for event in ear.progress if event.story_id == story]


# Pausing


@pytest.mark.trio
async def test_a_paused_story_ends_its_call_lets_the_others_go_on_and_goes_on_where_it_was() -> None:
    engine = SteppedEngine(steps=1)
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine), in_twos()):
        await publish_story(bus, "sale", SEVEN)
        await publish_story(bus, "other", 3)
        await engine.until_calls(2)
        assert (await order(bus, "pause")).state == "pausing"
        engine.let()
        [report] = await ear.until_reports(1)
        assert report.story_id == "other"
        status = await order(bus, "status")
        assert (status.state, status.sent, status.total) == ("paused", 3, 7)
        assert engine.sent("sale") == dict.fromkeys(SEVEN[:3], 1)
        assert states(ear)[-1] == "paused"
        await order(bus, "resume")
        [_, report] = await ear.until_reports(2)
        await until_empty(bus)
    assert engine.sent("sale") == ONCE
    assert (report.state, report.sent_successfully, report.unknown) == ("completed", 7, 0)


@pytest.mark.trio
async def test_a_story_that_is_paused_in_the_line_is_not_begun_until_it_is_resumed() -> None:
    engine = SteppedEngine()
    async with (
        open_nats() as bus,
        open_ear(bus) as ear,
        open_worker(bus, engines(main=engine), in_twos()) as one,
    ):
        await publish_story(bus, "first", 3)
        await publish_story(bus, "sale", SEVEN)
        await publish_story(bus, "last", 3)
        await engine.until_calls(1)
        await until(lambda: one.worker.statistics().lanes["main"].line.waiting == 2)
        assert (await order(bus, "pause")).state == "paused"
        engine.let()
        assert [report.story_id for report in await ear.until_reports(2)] == ["first", "last"]
        assert not engine.sent("sale")
        await order(bus, "resume")
        await ear.until_reports(3)
        await until_empty(bus)
    assert engine.sent("sale") == ONCE


@pytest.mark.trio
async def test_a_story_that_is_paused_before_any_worker_saw_it_waits_for_its_resumption() -> None:
    engine = SteppedEngine(steps=float("inf"))
    async with (
        open_nats() as bus,
        open_ear(bus) as ear,
        open_worker(bus, engines(main=engine), in_twos()) as one,
    ):
        assert (await order(bus, "status")).state == "unknown"
        assert (await order(bus, "pause")).state == "paused"
        await publish_story(bus, "sale", SEVEN)
        await until(lambda: one.worker.custody.paused("main") == ["sale"])
        assert not engine.calls
        await order(bus, "resume")
        await ear.until_reports(1)
        await until_empty(bus)
    assert engine.sent("sale") == ONCE


@pytest.mark.trio
async def test_orders_that_are_repeated_change_nothing() -> None:
    engine = SteppedEngine(steps=1)
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine), in_twos()):
        await publish_story(bus, "sale", SEVEN)
        await engine.until_calls(2)
        assert [(await order(bus, "pause")).state for _ in range(2)] == ["pausing"] * 2
        engine.let()
        await until_state(bus, "paused")
        assert (await order(bus, "pause")).state == "paused"
        for _ in range(3):
            await order(bus, "resume")
        [report] = await ear.until_reports(1)
        assert [(await order(bus, "cancel")).state for _ in range(2)] == ["finished"] * 2
        await until_empty(bus)
    assert report.state == "completed"
    assert engine.sent("sale") == ONCE


@pytest.mark.trio
async def test_a_story_that_is_resumed_before_the_pause_took_effect_just_goes_on() -> None:
    engine = SteppedEngine(steps=1)
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine), in_twos()):
        await publish_story(bus, "sale", SEVEN)
        await engine.until_calls(2)
        await order(bus, "pause")
        assert (await order(bus, "resume")).state == "under way"
        engine.let()
        [report] = await ear.until_reports(1)
        await until_empty(bus)
    assert report.sent_successfully == 7
    assert "paused" not in states(ear)
    assert engine.sent("sale") == ONCE


@pytest.mark.trio
async def test_a_pause_survives_the_worker_and_another_one_goes_on_where_it_was() -> None:
    first, second = SteppedEngine(steps=1), SteppedEngine(steps=float("inf"))
    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, engines(main=first), in_twos()):
            await publish_story(bus, "sale", SEVEN)
            await first.until_calls(2)
            await order(bus, "pause")
            first.let()
            await until_state(bus, "paused")
        async with open_worker(bus, engines(main=second), in_twos()) as other:
            await until(lambda: other.worker.custody.paused("main") == ["sale"])
            status = await order(bus, "status")
            assert (status.state, status.sent, status.worker) == ("paused", 3, other.worker.id)
            assert not second.calls
            await order(bus, "resume")
            [report] = await ear.until_reports(1)
            await until_empty(bus)
    assert first.sent("sale") + second.sent("sale") == ONCE
    assert (report.sent_successfully, report.unknown) == (7, 0)


@pytest.mark.trio
async def test_all_requests_for_a_paused_story_are_answered_after_it_was_resumed() -> None:
    engine = SteppedEngine(steps=1)
    async with (
        open_nats() as bus,
        open_ear(bus) as ear,
        open_worker(bus, engines(main=engine), in_twos()) as one,
    ):
        await publish_story(bus, "sale", SEVEN)
        await engine.until_calls(2)
        await publish_story(bus, "sale", SEVEN)
        await order(bus, "pause")
        engine.let()
        await until(lambda: one.worker.custody.statistics().paused == 2)
        await publish_story(bus, "sale", SEVEN)
        await until(lambda: one.worker.custody.statistics().paused == 3)
        await order(bus, "resume")
        await ear.until_reports(1)
        await until_empty(bus)
        assert one.worker.custody.statistics().held == 0
    assert engine.sent("sale") == ONCE


# Cancelling


@pytest.mark.trio
async def test_a_story_that_is_cancelled_during_a_call_says_who_was_sent_and_skips_the_rest() -> None:
    engine = SteppedEngine(steps=1)
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine), in_twos()):
        await publish_story(bus, "sale", SEVEN)
        await publish_story(bus, "other", 3)
        await engine.until_calls(2)
        assert (await order(bus, "cancel")).state == "cancelling"
        engine.let()
        [report, other] = await ear.until_reports(2)
        await until_empty(bus)
        assert (await until_state(bus, "finished")).reason == "cancelled"
    assert (report.story_id, report.state, report.reason, report.success) == (
        "sale",
        "cancelled",
        "cancelled",
        False,
    )
    assert (report.sent_successfully, report.failed, report.skipped, report.unknown) == (3, 0, 4, 0)
    assert report.skips == {"cancelled": 4}
    assert sorted(report.skipped_recipients) == sorted(SEVEN[3:])
    assert engine.sent("sale") == dict.fromkeys(SEVEN[:3], 1)
    assert states(ear)[-1] == "cancelled"
    assert other.state == "completed"


@pytest.mark.trio
@pytest.mark.parametrize("known", [True, False], ids=["in the line", "not seen yet"])
async def test_a_story_that_is_cancelled_before_it_begins_calls_nobody(known: bool) -> None:
    engine = SteppedEngine()
    async with (
        open_nats() as bus,
        open_ear(bus) as ear,
        open_worker(bus, engines(main=engine), in_twos()) as one,
    ):
        await publish_story(bus, "first", 3)
        await engine.until_calls(1)
        if known:
            await publish_story(bus, "sale", SEVEN)
            await until(lambda: one.worker.statistics().lanes["main"].line.waiting == 1)
        assert (await order(bus, "cancel")).state == "cancelling"
        if not known:
            await publish_story(bus, "sale", SEVEN)
        engine.let()
        [_, report] = await ear.until_reports(2)
        await until_empty(bus)
    assert (report.state, report.skips, report.sent_successfully) == ("cancelled", {"cancelled": 7}, 0)
    assert not engine.sent("sale")


@pytest.mark.trio
async def test_a_paused_story_that_is_cancelled_is_over_at_once() -> None:
    engine = SteppedEngine(steps=1)
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine), in_twos()):
        await publish_story(bus, "sale", SEVEN)
        await engine.until_calls(2)
        await order(bus, "pause")
        engine.let()
        await until_state(bus, "paused")
        await order(bus, "cancel")
        [report] = await ear.until_reports(1)
        await until_empty(bus)
    assert (report.state, report.sent_successfully, report.skips) == ("cancelled", 3, {"cancelled": 4})
    assert engine.sent("sale") == dict.fromkeys(SEVEN[:3], 1)


@pytest.mark.trio
async def test_a_cancellation_after_a_pause_that_has_not_taken_effect_yet_counts() -> None:
    engine = SteppedEngine(steps=1)
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine), in_twos()):
        await publish_story(bus, "sale", SEVEN)
        await engine.until_calls(2)
        await order(bus, "pause")
        await order(bus, "cancel")
        engine.let()
        [report] = await ear.until_reports(1)
        await until_empty(bus)
    assert (report.state, report.sent_successfully) == ("cancelled", 3)


@pytest.mark.trio
@pytest.mark.parametrize("action", ["pause", "resume"])
async def test_a_cancelled_story_is_never_brought_back(action: Action) -> None:
    engine = SteppedEngine(steps=1)
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine), in_twos()):
        await publish_story(bus, "sale", SEVEN)
        await engine.until_calls(2)
        await order(bus, "cancel")
        with pytest.raises(ControlRefused, match="it is cancelled") as refused:
            await order(bus, action)
        assert refused.value.code == "cancelled"
        engine.let()
        [report] = await ear.until_reports(1)
        assert (await until_state(bus, "finished")).reason == "cancelled"
        await until_empty(bus)
    assert (report.state, report.sent_successfully) == ("cancelled", 3)


@pytest.mark.trio
async def test_a_cancellation_survives_the_worker() -> None:
    first, second = SteppedEngine(steps=1), SteppedEngine(steps=float("inf"))
    async with open_nats() as bus, open_ear(bus) as ear:
        async with open_worker(bus, engines(main=first), in_twos(grace=0)):
            await publish_story(bus, "sale", SEVEN)
            await first.until_calls(2)
            await order(bus, "cancel")
        assert ear.reports == []
        async with open_worker(bus, engines(main=second), in_twos()):
            [report] = await ear.until_reports(1)
            await until_empty(bus)
    assert not second.calls
    # The call that was under way when the worker ended may have been heard.
    assert (report.sent_successfully, report.unknown, report.skips) == (1, 2, {"cancelled": 4})
    assert report.state == "cancelled"


# What a call waits for is cut short


@pytest.mark.trio
@pytest.mark.parametrize(
    "failure", [RateLimited(retry_after=600), Unavailable("starting")], ids=["refused", "away"]
)
@pytest.mark.parametrize("action", ["pause", "cancel"])
async def test_an_order_does_not_wait_for_what_the_next_call_waits_for(
    failure: EngineFailure, action: Action, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.delivery.backoff", lambda attempt, random: 600.0)
    engine = FailingEngine(failure)
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine), in_twos()):
        await publish_story(bus, "sale", SEVEN)
        await ear.until(lambda: "waiting" in states(ear))
        await order(bus, action)
        if action == "pause":
            await until_state(bus, "paused")
        else:
            [report] = await ear.until_reports(1)
            assert report.skips == {"cancelled": 7}
        assert len(engine.calls) == 1


@pytest.mark.trio
async def test_an_order_does_not_wait_for_the_pause_between_two_batches() -> None:
    engine, settings = SteppedEngine(steps=float("inf")), in_twos()
    slow = msgspec.structs.replace(
        settings, smart_send=msgspec.structs.replace(settings.smart_send, batch_delay=600_000)
    )
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine), slow):
        await publish_story(bus, "sale", SEVEN)
        await ear.until(lambda: any(event.batch for event in ear.progress))
        await order(bus, "pause")
        await until_state(bus, "paused")
        await order(bus, "cancel")
        [report] = await ear.until_reports(1)
    assert (report.sent_successfully, report.skips) == (1, {"cancelled": 6})


# Who takes it


@pytest.mark.trio
async def test_whichever_worker_is_asked_the_owner_carries_it_out() -> None:
    engine = SteppedEngine(steps=1)
    async with (
        open_nats() as bus,
        open_ear(bus) as ear,
        open_ear(bus, "storycast.worker.*.control.>") as passed_on,
        open_worker(bus, engines(main=engine), in_twos()) as one,
        open_worker(bus, engines(main=engine), in_twos()) as two,
        open_worker(bus, engines(main=engine), in_twos()) as three,
    ):
        await publish_story(bus, "sale", SEVEN)
        await engine.until_calls(2)
        owner = owner_of("main", one, two, three).worker.id
        answers = [await order(bus, "status") for _ in range(20)]
        assert {answer.worker for answer in answers} == {owner}
        assert {answer.state for answer in answers} == {"under way"}
        answers = [await order(bus, "pause") for _ in range(20)]
        assert {(answer.worker, answer.state) for answer in answers} == {(owner, "pausing")}
        engine.let()
        await until_state(bus, "paused")
        for _ in range(20):
            await order(bus, "resume")
        await ear.until_reports(1)
        await until_empty(bus)
    assert passed_on.messages
    assert engine.sent("sale") == ONCE


@pytest.mark.trio
async def test_an_order_whose_owner_is_dead_is_stored_and_heeded_by_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(presence_module, "SILENT_FOR", 0.0)
    engine = SteppedEngine(steps=float("inf"))
    async with (
        open_nats() as bus,
        open_ear(bus) as ear,
        open_worker(bus, engines(main=engine), in_twos()) as one,
    ):
        await claim_for(bus, "ghost", ttl=1)
        status = await order(bus, "pause")
        assert (status.state, status.worker) == ("paused", None)
        await publish_story(bus, "sale", SEVEN)
        await until(lambda: one.worker.custody.paused("main") == ["sale"])
        assert not engine.calls
        await order(bus, "cancel")
        [report] = await ear.until_reports(1)
    assert report.skips == {"cancelled": 7}


@pytest.mark.trio
async def test_of_a_story_that_another_worker_wrote_meanwhile_it_is_said_that_it_moved() -> None:
    engine = SteppedEngine(steps=1)
    async with open_nats() as bus, open_worker(bus, engines(main=engine), in_twos(grace=0)):
        await publish_story(bus, "sale", SEVEN)
        await engine.until_calls(2)
        others = NatsJobs(bus)
        checkpoint = await others.load("main", "sale")
        assert checkpoint is not None
        await others.save(checkpoint)
        with pytest.raises(ControlRefused, match="try again") as refused:
            await order(bus, "pause")
    assert refused.value.code == "moved"


# Two at the same time


@pytest.mark.trio
@pytest.mark.parametrize("actions", [("pause", "cancel"), ("cancel", "pause")])
async def test_of_a_pause_and_a_cancellation_at_the_same_time_the_cancellation_counts(
    actions: Sequence[Action],
) -> None:
    engine = SteppedEngine(steps=1)

    async with (
        open_nats() as bus,
        open_ear(bus) as ear,
        open_worker(bus, engines(main=engine), in_twos()),
        open_worker(bus, engines(main=engine), in_twos()),
    ):
        await publish_story(bus, "sale", SEVEN)
        await engine.until_calls(2)
        await both(bus, actions)
        engine.let()
        [report] = await ear.until_reports(1)
        await until_empty(bus)
    assert (report.state, report.sent_successfully) == ("cancelled", 3)


@pytest.mark.trio
async def test_of_a_pause_and_a_resumption_at_the_same_time_one_is_last_and_that_is_what_happens() -> None:
    engine = SteppedEngine(steps=1)
    async with (
        open_nats() as bus,
        open_ear(bus) as ear,
        open_worker(bus, engines(main=engine), in_twos()),
        open_worker(bus, engines(main=engine), in_twos()),
    ):
        await publish_story(bus, "sale", SEVEN)
        await engine.until_calls(2)
        for _ in range(10):
            await both(bus, ("pause", "resume"))
        last = await order(bus, "status")
        engine.let()
        if last.state == "pausing":
            await until_state(bus, "paused")
            await order(bus, "resume")
        else:
            assert last.state == "under way"
        [report] = await ear.until_reports(1)
        await until_empty(bus)
    assert report.sent_successfully == 7
    assert engine.sent("sale") == ONCE


async def both(bus: Bus, actions: Sequence[Action]) -> None:
    """Give two orders without waiting for an answer in between; either may be refused."""

    async def give(action: Action) -> None:
        with suppress(ControlRefused):
            await order(bus, action)

    async with trio.open_nursery() as nursery:
        for action in actions:
            nursery.start_soon(give, action)


@pytest.mark.trio
async def test_an_order_that_is_being_carried_out_while_the_lane_opens_is_heeded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine, looked, go_on = SteppedEngine(), trio.Event(), trio.Event()

    class SlowJobs(NatsJobs):
        async def peek(self, session_id: str, story_id: str) -> Checkpoint | None:
            found = await super().peek(session_id, story_id)
            looked.set()
            await go_on.wait()
            return found

    monkeypatch.setattr("pipeline.worker.NatsJobs", SlowJobs)
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine), in_twos()):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(order, bus, "cancel")
            await looked.wait()
            await publish_story(bus, "sale", SEVEN)
            await engine.until_calls(1)
            go_on.set()
        engine.let()
        [report] = await ear.until_reports(1)
    assert report.state == "cancelled"


# What cannot be carried out


WRONG = [
    (b"", "invalid-request"),
    (b"{", "invalid-request"),
    (b"\xff\xfe", "invalid-request"),
    (b'{"action": "\xff"}', "invalid-request"),
    (b'{"\xff": 1, "action": "pause"}', "invalid-request"),
    (b"[]", "invalid-request"),
    (b"null", "invalid-request"),
    (b"{}", "invalid-request"),
    (b'{"action": "explode"}', "invalid-request"),
    (b'{"action": ["pause"]}', "invalid-request"),
    (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b', "action": "pause"}', "invalid-request"),
]


@pytest.mark.trio
async def test_whatever_is_no_order_is_answered_and_stops_nothing() -> None:
    engine = SteppedEngine(steps=float("inf"))
    async with open_nats() as bus, open_ear(bus) as ear, open_worker(bus, engines(main=engine), in_twos()):
        for data, code in WRONG:
            assert (await answer_to(bus, data)).code == code, data[:40]
        await bus.publish([Outbound(control_subject("main", "sale"), data) for data, _ in WRONG])
        await publish_story(bus, "sale", SEVEN)
        await ear.until_reports(1)
        assert (await until_state(bus, "finished")).reason is None


@pytest.mark.trio
@pytest.mark.parametrize(
    "subject",
    [
        "storycast.control.ünï.sale",
        "storycast.control.main.sälé",
        "storycast.control.*.sale",
        "storycast.control.main.*",
        "storycast.control.main.>",
        "storycast.control.>",
        "storycast.control.main.sale.more",
        f"storycast.control.{'x' * 65}.sale",
        f"storycast.control.main.{'x' * 129}",
        f"storycast.control.{'x' * 3_000}.sale",
    ],
    ids=lambda subject: subject[18:36],
)
async def test_an_order_for_a_name_that_cannot_be_is_answered_and_stops_nothing(subject: str) -> None:
    lost: list[str] = []
    engine = SteppedEngine(steps=float("inf"))
    async with (
        open_nats(on_event=lost.append) as bus,
        open_ear(bus) as ear,
        open_worker(bus, engines(main=engine), in_twos()),
    ):
        answer = await answer_to(bus, b'{"action": "pause"}', subject)
        assert answer.code == "invalid-subject"
        await publish_story(bus, "sale", SEVEN)
        [report] = await ear.until_reports(1)
    assert report.sent_successfully == 7
    assert lost == []


@pytest.mark.trio
@pytest.mark.parametrize("reply", ["storycast.send.main", "$JS.API.STREAM.PURGE.STORYCAST_SENDS"])
async def test_an_answer_never_goes_where_it_could_do_harm(reply: str) -> None:
    async with (
        open_nats() as bus,
        open_ear(bus) as ear,
        open_worker(bus, engines(), in_twos()),
        bus.subscribe(reply) as mailbox,
    ):
        for subject in (control_subject("main", "sale"), "storycast.workers.roll-call"):
            await bus.publish([Outbound(subject, b'{"action": "status"}', reply=reply)])
        assert (await order(bus, "status")).state == "unknown"
        await bus.publish([Outbound(reply, b"last")])
        assert [message.data for message in await mailbox.receive()] == [b"last"]
    assert ear.rejections == []


@pytest.mark.trio
@pytest.mark.parametrize("action", ["pause", "cancel", "status"])
async def test_a_session_as_a_whole_can_only_be_resumed(action: Action) -> None:
    async with open_nats() as bus, open_worker(bus, engines(), in_twos()):
        with pytest.raises(ControlRefused, match=f"{action} needs a story") as refused:
            await order(bus, action, None)
        assert refused.value.code == "invalid-request"
        answer = await order(bus, "resume", None)
        assert (answer.story_id, answer.reason) == (None, "it was not stopped")


@pytest.mark.trio
async def test_to_resume_a_story_that_nobody_knows_leaves_no_trace() -> None:
    async with open_nats() as bus, open_worker(bus, engines(), in_twos()):
        assert (await order(bus, "resume")).state == "unknown"
        assert await NatsJobs(bus).peek("main", "sale") is None


# A stopped session


@pytest.mark.trio
@pytest.mark.parametrize(
    "failure", [SessionLost("logged out"), AccountRestricted("463")], ids=["lost", "restricted"]
)
async def test_a_stopped_session_that_is_resumed_is_served_again(
    failure: EngineFailure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes_module, "PARKED_DELAY", 0.2)
    engine = FailingEngine(failure)
    async with (
        open_nats() as bus,
        open_ear(bus) as ear,
        open_worker(bus, engines(main=engine), in_twos()) as one,
    ):
        await publish_story(bus, "sale", SEVEN)
        await ear.until(lambda: len(ear.alerts) == 1)
        await until(lambda: one.worker.custody.statistics().handed_back >= 4)
        assert len(engine.calls) == 1
        answer = await order(bus, "resume", None)
        assert answer.reason == "its requests are delivered again within a minute"
        [report] = await ear.until_reports(1)
        await until_empty(bus)
    assert report.sent_successfully == 7
    assert {message_id for message_id, _ in engine.calls} == {message_id_of("main", "sale")}
