"""What must hold whatever was killed, as functions that return what broke it: nothing, that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from math import inf

from msgspec import Struct

from stages.message_id import message_id_of
from stages.messages import Report
from transports.simulated import Record, RecordedCall


class Ban(Struct, frozen=True, kw_only=True):
    """From `since` to `until`, by the wall clock, the process `pid`, or any, makes no call for the session."""

    pid: int | None
    since: float
    until: float = inf


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of one story and of all calls for its session."""

    seed: int
    session: str
    story: str
    recipients: Sequence[str]
    faults: int
    record: Record
    report: Report
    reports: int
    what: str = ""
    ban: Ban | None = None
    said: str | None = None
    """What the worker had said on stderr when NATS had been away for long."""

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.what}"


def not_seen(outcome: Outcome) -> list[str]:
    """Recipients that did not surely see the story."""
    seen = outcome.record.seen()
    story = message_id_of(outcome.session, outcome.story)
    return [jid for jid in outcome.recipients if story not in seen.get(jid, ())]


def seen_twice(record: Record) -> list[str]:
    """Recipients that saw, or may have seen, more than one message. For sessions with one story each."""
    return [jid for jid, messages in record.perhaps_seen().items() if len(messages) > 1]


def sent_again(record: Record) -> int:
    """How many sendings were not the first one to their recipient."""
    return sum(times - 1 for times in record.times_sent().values())


def largest_batch(record: Record) -> int:
    """The recipients of the largest call."""
    return max((len(call.recipients) for call in record.calls), default=0)


def counts_differ(outcome: Outcome) -> str:
    """How the report's counts differ from the truth: every recipient was sent."""
    report, total = outcome.report, len(outcome.recipients)
    counts = (report.sent_successfully, report.failed, report.skipped, report.unknown)
    right = sum(counts) == report.total_recipients == total and counts == (total, 0, 0, 0)
    return "" if right else f"{counts} of {report.total_recipients}, should be {total} sent"


def at_the_same_time(record: Record) -> list[tuple[RecordedCall, RecordedCall]]:
    """Pairs of calls by which two workers served one session at once; calls that a kill cut have no end to go by."""
    sessions = Counter(call.session for call in record.calls)
    return [pair for session in sessions for pair in _overlapping(record.of(session).calls)]


def _overlapping(calls: Iterable[RecordedCall]) -> list[tuple[RecordedCall, RecordedCall]]:
    in_order = sorted(calls, key=lambda call: call.began)
    latest: dict[int, RecordedCall] = {}
    found = []
    for call in in_order:
        found += [
            (other, call)
            for pid, other in latest.items()
            if pid != call.pid and other.ended is not None and other.ended > call.began
        ]
        before = latest.get(call.pid)
        if before is None or (call.ended or 0) > (before.ended or 0):
            latest[call.pid] = call
    return found


def banned(outcome: Outcome) -> list[RecordedCall]:
    """Calls that began although they were banned."""
    ban = outcome.ban
    if ban is None:
        return []
    return [
        call
        for call in outcome.record.calls
        if ban.since < call.began < ban.until and ban.pid in {None, call.pid}
    ]
