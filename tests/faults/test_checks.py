"""The checks of the other tests find what they look for."""

from __future__ import annotations

from typing import Any

from msgspec import structs

from stages.message_id import message_id_of
from stages.messages import BatchCounts, Report, SessionLearning
from tests.faults.checks import (
    Outcome,
    at_the_same_time,
    counts_differ,
    largest_batch,
    not_seen,
    seen_twice,
    sent_again,
)
from tests.faults.figures import row, table
from tests.support import people
from transports.simulated import Record, RecordedCall

TEN = people(10)
STORY = message_id_of("main", "sale")
REPORT = Report(
    success=True,
    story_id="sale",
    session_id="main",
    message_id=STORY,
    state="completed",
    total_recipients=10,
    sent_successfully=10,
    failed=0,
    skipped=0,
    unknown=0,
    batches=BatchCounts(total=1, successful=1, failed=0, retried=0),
    batch_sequence=[],
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


def call(began: float, ended: float | None, *, pid: int = 1, **fields: Any) -> RecordedCall:
    recipients = fields.pop("recipients", TEN)
    outcome = "sent" if ended is not None else None
    reached = frozenset(recipients) if outcome else frozenset[str]()
    basic = {"session": "main", "message_id": STORY, "outcome": outcome, "reached": reached}
    return RecordedCall(pid=pid, began=began, ended=ended, recipients=recipients, **basic | fields)


def outcome(*calls: RecordedCall) -> Outcome:
    return Outcome(
        seed=0,
        session="main",
        story="sale",
        recipients=TEN,
        faults=1,
        record=Record(calls),
        report=REPORT,
        reports=1,
    )


def test_who_was_in_a_call_that_was_cut_has_not_surely_seen_it() -> None:
    assert not_seen(outcome(call(0, None))) == TEN
    assert not_seen(outcome(call(0, None), call(2, 3))) == []
    assert not_seen(outcome(call(0, 1, recipients=TEN[:4]))) == TEN[4:]


def test_a_second_message_is_seen_even_if_its_call_was_cut() -> None:
    assert seen_twice(Record([call(0, 1), call(2, 3)])) == []
    assert seen_twice(Record([call(0, 1), call(2, None, message_id="other", recipients=TEN[:1])])) == TEN[:1]


def test_what_is_sent_again_is_counted_unless_nobody_got_it() -> None:
    record = Record([call(0, None), call(2, 3, recipients=TEN[:4]), call(4, 5, outcome="unavailable")])
    assert sent_again(record) == 4
    assert largest_batch(record) == 10


def test_two_workers_in_one_session_at_once_are_found() -> None:
    assert at_the_same_time(Record([call(0, 2), call(2, 3, pid=2), call(3, 4)])) == []
    assert len(at_the_same_time(Record([call(0, 2), call(1, 3, pid=2)]))) == 1
    assert len(at_the_same_time(Record([call(0, 9), call(1, 2), call(3, None, pid=2)]))) == 1
    assert at_the_same_time(Record([call(0, 2), call(1, 3, pid=2, session="other")])) == []
    assert at_the_same_time(Record([call(0, 2), call(1, 3)])) == []


def test_a_call_that_was_cut_has_no_end_to_go_by() -> None:
    assert at_the_same_time(Record([call(0, None), call(1, 2, pid=2)])) == []


def test_a_report_that_is_not_the_truth_is_found() -> None:
    good = outcome(call(0, 1))
    assert counts_differ(good) == ""
    for wrong in ({"sent_successfully": 9}, {"sent_successfully": 9, "unknown": 1}, {"total_recipients": 9}):
        assert counts_differ(structs.replace(good, report=structs.replace(REPORT, **wrong)))


def test_the_table_has_a_row_of_figures_for_each_scenario() -> None:
    shown = table([row("kills", [outcome(call(0, None), call(2, 3))])])
    assert shown.splitlines()[2] == "| kills | 1 | 1 | 10 | 0 | 0 | 0 | 0 | 0 | 10 | 10 |"
