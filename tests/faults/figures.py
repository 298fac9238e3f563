"""The figures of a soak: one row for each scenario, as a table in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct, structs

from tests.faults.checks import Outcome, at_the_same_time, largest_batch, not_seen, seen_twice, sent_again


class Row(Struct, frozen=True, kw_only=True):
    """What became of a scenario; all but the first three should be 0, or at most one batch for each fault."""

    scenario: str
    faults: int
    stories: int
    recipients: int
    not_seen: int
    seen_twice: int
    reports_missing: int
    reports_too_many: int
    served_twice: int
    """Pairs of calls by two workers for one session at the same time."""
    sent_again_per_fault: int
    """Recipients to whom a message was sent once more, the most for any fault."""
    batch: int


HEADS = ("scenario", "faults", "stories", "recipients", "not seen", "seen twice", "reports missing",
         "reports too many", "served by two", "sent again, most for a fault", "largest batch")  # fmt: skip


def row(scenario: str, outcomes: Sequence[Outcome]) -> Row:
    """The figures of stories with a scene of their own each."""
    return Row(
        scenario=scenario,
        faults=sum(one.faults for one in outcomes),
        stories=len(outcomes),
        recipients=sum(len(one.recipients) for one in outcomes),
        not_seen=sum(len(not_seen(one)) for one in outcomes),
        seen_twice=sum(len(seen_twice(one.record)) for one in outcomes),
        reports_missing=sum(one.reports < 1 for one in outcomes),
        reports_too_many=sum(max(0, one.reports - 1) for one in outcomes),
        served_twice=sum(len(at_the_same_time(one.record)) for one in outcomes),
        sent_again_per_fault=max(sent_again(one.record) // max(one.faults, 1) for one in outcomes),
        batch=max(largest_batch(one.record) for one in outcomes),
    )


def table(rows: Iterable[Row]) -> str:
    """The rows in Markdown."""
    cells = [HEADS, ["---"] * len(HEADS)]
    cells += [
        [f"{value:,}" if isinstance(value, int) else value for value in structs.astuple(one)] for one in rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
