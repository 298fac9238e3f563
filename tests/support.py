"""Builders and harnesses that the tests share: people, requests, stories, a scripted engine, and a whole lane."""

from __future__ import annotations

import gc
import itertools
import math
import warnings
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar

import anyio
import msgspec
import trio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream
from msgspec import Struct, structs
from trio.testing import MockClock

from pipeline.topology import Lane, Ports, run_lane
from stages.checkpoint import JobStore, MemoryJobs
from stages.delivery import Limits
from stages.engine import Capabilities, Engine, EngineState, EngineStatus, Receipt
from stages.errors import ContentRefused, EngineFailure
from stages.flow import (
    Batch,
    BatchResult,
    Delivery,
    Outgoing,
    Postponed,
    Refused,
    Repeated,
    Reported,
    Role,
    Story,
)
from stages.history import History, HistoryStore, MemoryHistories
from stages.lists import MemoryLists, RecipientLists
from stages.messages import Alert, BatchOutcome, Content, Level, ProgressEvent, Report, Scaling, Text
from stages.options import SmartSend
from transports.simulated import Ledger, Profile, SimulatedEngine

T = TypeVar("T")
SESSION = "main"
EPOCH = datetime(2026, 11, 21, 9, tzinfo=UTC)
FULL = Capabilities(reuses_message_id=True, targets_recipients=True)


def virtual_now() -> datetime:
    """The wall clock of the tests: a fixed date plus the time that has passed on the event loop."""
    return EPOCH + timedelta(seconds=anyio.current_time())


def on_virtual_time(main: Callable[[], Awaitable[T]], **given: Any) -> T:
    """`trio.run` with a clock that jumps over every wait."""
    return trio.run(main, **given | {"clock": MockClock(autojump_threshold=0)})


def no_jitter() -> float:
    """The random number that makes every jittered wait exactly its middle."""
    return 0.5


# People, requests, stories


def people(count: int, *, first: int = 6281200000000) -> list[str]:
    """`count` different people, as canonical JIDs."""
    return [f"{number}@s.whatsapp.net" for number in range(first, first + count)]


def request(story_id: str = "sale", recipients: int | Sequence[Any] = 3, **fields: Any) -> dict[str, Any]:
    """A send request as it is on the wire, before it is encoded."""
    listed = people(recipients) if isinstance(recipients, int) else list(recipients)
    basic = {
        "storyId": story_id,
        "sessionId": SESSION,
        "content": {"type": "text", "text": "Hello!"},
        "recipients": listed,
    }
    return basic | fields


def delivery(
    body: Mapping[str, Any] | bytes | None = None,
    *,
    key: str = "1",
    level: Level = "normal",
    session: str = SESSION,
    content_type: str = "application/json",
    attempt: int = 1,
) -> Delivery:
    """`body` as it comes in; bytes as they are, anything else as JSON."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body if body is not None else request())
    return Delivery(
        key=key, session=session, data=data, level=level, content_type=content_type, attempt=attempt
    )


def story(
    recipients: int | Sequence[str] = 3,
    *,
    story_id: str = "sale",
    level: Level = "normal",
    options: SmartSend | None = None,
    attempt: int = 1,
    **fields: Any,
) -> Story:
    """A story that was checked already."""
    return Story(
        delivery=delivery(request(story_id), key=story_id, level=level, attempt=attempt),
        story_id=story_id,
        session_id=SESSION,
        content=Text(text="Hello!"),
        recipients=people(recipients) if isinstance(recipients, int) else recipients,
        options=options or SmartSend(),
        **fields,
    )


def batch(
    of: Story | None = None,
    *,
    size: int | None = None,
    role: Role = "batch",
    index: int = 1,
    planned: int | None = None,
    attempt: int = 1,
    places: Sequence[int] | None = None,
) -> Batch:
    """A batch of the first `size` recipients of a story, or of those at `places`."""
    of = of or story(size or 3)
    if places is None:
        places = range(len(of.recipients) if size is None else size)
    recipients = [of.recipients[place] for place in places]
    return Batch(
        story=of,
        role=role,
        index=index,
        recipients=recipients,
        places=places,
        planned=planned or len(recipients),
        forecast=max(1, index),
        attempt=attempt,
        message_id="3EB0ANCHOR",
    )


def result(of: Batch | None = None, outcome: BatchOutcome = "sent", **fields: Any) -> BatchResult:
    """How `of` went: all of it sent, or none of it."""
    of = of or batch()
    where = {"sent": "sent", "timed-out": "unsure"}.get(outcome, "unsent")
    went_through = outcome == "sent" or fields.get("sent")
    ids = [of.message_id or "3EB0ANCHOR"] if went_through else []
    usual: dict[str, Any] = {where: list(of.recipients), "message_ids": ids, "duration": 1.0}
    usual["elapsed"] = fields.get("duration", usual["duration"])
    return BatchResult(batch=of, outcome=outcome, **usual | fields)


# Streams and leaks


class Pipe:
    """Both ends of a stream with room for everything a test puts in."""

    def __init__(self, items: Iterable[Any] = (), *, room: float = math.inf) -> None:
        self.into, self.out = anyio.create_memory_object_stream[Any](room)
        for item in items:
            self.into.send_nowait(item)

    def close(self) -> None:
        """Close both ends."""
        self.into.close()
        self.out.close()


def filled(*items: T) -> MemoryObjectReceiveStream[T]:
    """The receiving end of a stream that holds `items` and ends after them."""
    into, out = anyio.create_memory_object_stream[T](math.inf)
    with into:
        for item in items:
            into.send_nowait(item)
    return out


def taken(pipe: Pipe) -> list[Any]:
    """What is in `pipe` now."""
    found = []
    while pipe.out.statistics().current_buffer_used:
        found.append(pipe.out.receive_nowait())
    return found


def drained(pipe: Pipe) -> list[Any]:
    """Everything that was sent into `pipe`, whose sending end must have been closed; closes the other."""
    with pipe.out:
        found = taken(pipe)
        assert not pipe.out.statistics().open_send_streams, "the actor left its outbox open"
    return found


@contextmanager
def no_leaks() -> Iterator[None]:
    """Fail if something created inside was collected without having been closed."""
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


# Engines


class Hang:
    """The answer of an engine that never answers."""


Answer = EngineFailure | Mapping[str, str] | Hang | Callable[[Sequence[str]], Mapping[str, str]] | None
"""A failure to raise, the recipients to report as failed, a function of the recipients to those, or None: all sent."""


class EngineCall(Struct, frozen=True, kw_only=True):
    """One call as a scripted engine saw it."""

    at: float
    recipients: tuple[str, ...]
    message_id: str | None
    content: Content


class ScriptedEngine:
    """An `Engine` whose first calls get `answers`, one each, and all others get `otherwise`.

    Its `status()` goes through `states` likewise, and stays at the last of them.
    """

    def __init__(
        self,
        *answers: Answer,
        otherwise: Answer = None,
        seconds: float = 0.1,
        states: Sequence[EngineState | EngineFailure | Hang] = ("ready",),
        capabilities: Capabilities = FULL,
    ) -> None:
        self._answers = list(answers)
        self._otherwise = otherwise
        self._seconds = seconds
        self._states = list(states)
        self._capabilities = capabilities
        self.calls: list[EngineCall] = []

    @property
    def capabilities(self) -> Capabilities:
        """What the test said it can do."""
        return self._capabilities

    @property
    def sizes(self) -> list[int]:
        """How many recipients each call named."""
        return [len(call.recipients) for call in self.calls]

    def waits(self) -> list[float]:
        """Seconds from the end of each call to the start of the next."""
        starts = [call.at for call in self.calls]
        return [round(after - before - self._seconds, 6) for before, after in itertools.pairwise(starts)]

    async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
        """The next answer."""
        call = EngineCall(
            at=anyio.current_time(), recipients=tuple(recipients), message_id=message_id, content=content
        )
        self.calls.append(call)
        answer = self._answers.pop(0) if self._answers else self._otherwise
        await (anyio.sleep_forever() if isinstance(answer, Hang) else anyio.sleep(self._seconds))
        if isinstance(answer, EngineFailure):
            raise answer
        failed = answer(recipients) if callable(answer) else answer
        assert not isinstance(failed, Hang)
        return Receipt(message_id=message_id or f"3EB0{len(self.calls):018X}", failed=failed or {})

    async def status(self) -> EngineStatus:
        """The next state."""
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        await (anyio.sleep_forever() if isinstance(state, Hang) else anyio.lowlevel.checkpoint())
        if isinstance(state, EngineFailure):
            raise state
        assert not isinstance(state, Hang)
        return EngineStatus(state=state)

    async def audience(self) -> Sequence[str]:
        """Nobody."""
        raise ContentRefused("it lists no audience")


# A whole lane


@dataclass
class LaneRun:
    """What came out of a lane, in order, and what is to be known of its engine afterwards."""

    engine: Engine
    histories: HistoryStore = field(default_factory=MemoryHistories)
    outgoing: list[Outgoing] = field(default_factory=list)
    lane: Lane | None = None
    ended_at: float = 0.0

    def only(self, kind: type[T]) -> list[T]:
        """The outgoing items of one kind."""
        return [item for item in self.outgoing if isinstance(item, kind)]

    @property
    def reports(self) -> list[Report]:
        """All reports."""
        return [item.report for item in self.only(Reported)]

    @property
    def report(self) -> Report:
        """The report, where there must be exactly one."""
        [report] = self.reports
        return report

    @property
    def events(self) -> list[ProgressEvent]:
        """All progress events."""
        return self.only(ProgressEvent)

    @property
    def scalings(self) -> list[Scaling]:
        """All decisions of the controller."""
        return self.only(Scaling)

    @property
    def alerts(self) -> list[Alert]:
        """All alerts."""
        return self.only(Alert)

    @property
    def refused(self) -> list[Refused]:
        """All refusals."""
        return self.only(Refused)

    @property
    def repeated(self) -> list[Repeated]:
        """All deliveries that were known already."""
        return self.only(Repeated)

    @property
    def postponed(self) -> list[Postponed]:
        """All deliveries that are to come again."""
        return self.only(Postponed)

    @property
    def batches(self) -> list[tuple[int, str]]:
        """Size and outcome of each batch after the anchor."""
        found = [event.batch for event in self.events if event.batch is not None]
        return [(one.size, one.outcome) for one in found if one.index > 0]

    @property
    def ledger(self) -> Ledger:
        """What the recipients of a simulated engine saw."""
        assert isinstance(self.engine, SimulatedEngine)
        return self.engine.ledger

    def audience(self, report: Report | None = None) -> frozenset[str]:
        """Who saw the story of `report`."""
        return self.ledger.audience((report or self.report).message_id or "")


class Started(TaskStatus[Lane]):
    """Passes on what a task says when it has started."""

    def __init__(self, tell: Callable[[Lane], None]) -> None:
        self._tell = tell

    def started(self, value: Lane | None = None) -> None:
        """It runs."""
        assert value is not None
        self._tell(value)


async def run_through(
    deliveries: Sequence[Delivery],
    *,
    engine: Engine | None = None,
    profile: Profile | None = None,
    options: SmartSend | None = None,
    limits: Limits | None = None,
    history: History | None = None,
    histories: HistoryStore | None = None,
    jobs: JobStore | None = None,
    lists: RecipientLists | None = None,
    suppressed: frozenset[str] = frozenset(),
    into: LaneRun | None = None,
    on_start: Callable[[Lane], None] | None = None,
    seed: int = 7,
) -> LaneRun:
    """Run a lane over `deliveries` to its end, and collect all that leaves it.

    With `into` the items are collected there as they come, for a test that cancels the lane. `on_start` gets the
    lane once it runs, for a test that gives orders. `seed` is that of the lane's own random numbers.
    """
    histories = histories or MemoryHistories()
    if history is not None:
        await histories.save(SESSION, history)
    run = into or LaneRun(engine or SimulatedEngine(profile or Profile()), histories)
    outgoing, collected = anyio.create_memory_object_stream[Outgoing](16)

    async def collect() -> None:
        async with collected:
            async for item in collected:
                run.outgoing.append(item)

    ports = Ports(
        engine=run.engine,
        histories=histories,
        jobs=jobs or MemoryJobs(),
        lists=lists or MemoryLists(),
        now=virtual_now,
        random=Random(seed).random,
        suppressed=suppressed,
    )
    # Their own streams first, so that whatever instant a test cancels at, none stays open.
    async with collected, outgoing:
        arriving = filled(list(deliveries))
        async with arriving, anyio.create_task_group() as tasks:
            tasks.start_soon(collect)
            run.lane = await run_lane(
                arriving,
                outgoing,
                ports=ports,
                options=options or SmartSend(),
                limits=limits or Limits(),
                task_status=Started(on_start) if on_start else TASK_STATUS_IGNORED,
            )
            run.ended_at = anyio.current_time()
    return run


def proven(size: int, *, age_hours: float = 0.0, **fields: Any) -> History:
    """The history of a session that has proven `size`."""
    return structs.replace(
        History(proven=size, proven_since=size, at=EPOCH - timedelta(hours=age_hours)), **fields
    )


def most_in_a_window(starts: Iterable[float], *, seconds: float = 1.0) -> int:
    """The largest number of `starts` within any half-open window of `seconds`."""
    ordered = sorted(starts)
    # A millionth of a second is the rounding of the clock, not a call too many.
    return max(
        (sum(start <= other < start + seconds - 1e-6 for other in ordered) for start in ordered), default=0
    )
