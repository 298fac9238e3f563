"""What people read of an event, of a report, and on a terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import structs
from rich.console import Console

from ops.display import LiveView, Plain, Silent, details, display_for, line, summary
from stages.messages import (
    Alert,
    BatchCounts,
    BatchEvent,
    Progress,
    ProgressEvent,
    Rejection,
    Report,
    Scaling,
    SessionLearning,
)

AT = datetime(2026, 11, 21, 9, tzinfo=UTC)
PROGRESS = Progress(current=2, total=4, percentage=36, recipients_sent=1101, recipients_total=3000)
REPORT = Report(
    success=True,
    story_id="sale",
    session_id="main",
    message_id="3EB0AB",
    state="completed",
    total_recipients=3000,
    sent_successfully=3000,
    failed=0,
    skipped=0,
    unknown=0,
    batches=BatchCounts(total=4, successful=4, failed=0, retried=0),
    batch_sequence=[100, 1000, 1899],
    total_duration=4200,
    failed_recipients=[],
    failure_reasons={},
    failures={},
    skips={},
    skipped_recipients=[],
    unknown_recipients=[],
    session_learning=SessionLearning(
        max_proven_batch_size=1000, used_historical_data=False, will_skip_ramping_next_time=True
    ),
)


def event(**fields: Any) -> ProgressEvent:
    basic: dict[str, Any] = {
        "session_id": "main",
        "story_id": "sale",
        "state": "sending",
        "at": AT,
        "progress": PROGRESS,
    }
    return ProgressEvent(**basic | fields)


def batch(**fields: Any) -> BatchEvent:
    basic: dict[str, Any] = {"index": 2, "size": 1000, "duration_ms": 1500, "attempt": 1, "outcome": "sent"}
    return BatchEvent(**basic | fields)


def scaling(reason: str = "1,000 in 1.5 s: fast") -> Scaling:
    return Scaling(session_id="main", story_id="sale", size=4000, gap_ms=0, reason=reason, at=AT)


def alert(reason: str = "server returned error 463") -> Alert:
    return Alert(session_id="main", kind="account-restricted", reason=reason, at=AT)


def shown(display: LiveView, console: Console) -> str:
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


# One line an event


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            event(batch=batch(), eta_ms=5200),
            "main/sale: batch 2 of 1,000 sent in 1.5 s; 1,101/3,000 36%, 5.2 s to go",
        ),
        (event(batch=batch(index=0, size=1)), "main/sale: anchor of 1 sent in 1.5 s; 1,101/3,000 36%"),
        (
            event(batch=batch(outcome="timed-out", duration_ms=150_000), reason="no answer", eta_ms=240_000),
            "main/sale: batch 2 of 1,000 timed-out in 2.5 min (no answer); 1,101/3,000 36%, 4.0 min to go",
        ),
        (event(state="anchoring"), "main/sale: anchoring 1,101/3,000 36%"),
        (event(state="waiting", reason="not connected"), "main/sale: waiting 1,101/3,000 36%: not connected"),
        (scaling(), "main: next 4,000 a batch: 1,000 in 1.5 s: fast"),
        (alert(), "main: STOPPED (account-restricted): server returned error 463"),
        (
            structs.replace(alert("nobody serves it"), kind="unavailable"),
            "main: TROUBLE (unavailable): nobody serves it",
        ),
        (
            Rejection(
                code="c",
                field="f",
                found="x",
                allowed="y",
                message="f: c: found x, allowed: y",
                session_id="main",
                at=AT,
            ),
            "main: refused: f: c: found x, allowed: y",
        ),
        (REPORT, "main/sale: completed: 3,000 of 3,000 sent in 4.2 s"),
    ],
)
def test_every_event_has_a_line_that_says_whose_it_is_and_what_happened(given: Any, said: str) -> None:
    assert line(given) == said


def test_a_summary_names_what_was_not_sent_and_why_it_ended() -> None:
    report = structs.replace(
        REPORT, state="failed", reason="no-anchor", sent_successfully=0, failed=2990, skipped=7, unknown=3
    )
    said = "failed (no-anchor): 0 of 3,000 sent, 2,990 failed, 7 skipped, 3 unknown in 4.2 s"
    assert summary(report) == said


def test_details_of_a_report_say_what_happened_to_whom_and_what_was_learned() -> None:
    report = structs.replace(
        REPORT,
        failed=15,
        sent_successfully=2985,
        failures={"not-on-whatsapp": 15},
        batches=BatchCounts(total=4, successful=3, failed=1, retried=1),
    )
    console = Console(file=io.StringIO(), width=100)
    console.print(details(report))
    assert isinstance(console.file, io.StringIO)
    rows = dict(row.split("  ", 1) for row in console.file.getvalue().splitlines())
    assert {name: value.strip() for name, value in rows.items()} == {
        "story": "sale  (session main, message 3EB0AB)",
        "result": "completed: 2,985 of 3,000 sent, 15 failed in 4.2 s",
        "batches": "4: 1 failed, 1 retried",
        "sizes": "1 anchor, then 100, 1,000, 1,899",
        "learned": "started without knowledge; 1,000 a batch is proven now",
        "failures": "not-on-whatsapp: 15",
    }


# Which display


def test_a_terminal_gets_the_live_view_a_pipe_gets_lines_and_json_gets_silence() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True)
    pipe = Console(file=io.StringIO())
    assert isinstance(display_for(terminal, silent=False), LiveView)
    assert isinstance(display_for(pipe, silent=False), Plain)
    assert isinstance(display_for(terminal, silent=True), Silent)


def test_a_line_is_never_broken_however_narrow_the_pipe_and_markup_is_only_text() -> None:
    console = Console(file=io.StringIO(), width=20)
    with Plain(console) as plain:
        plain.show(event(state="waiting", reason="[bold]:smile: not connected[/] at all"))
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert said == "main/sale: waiting 1,101/3,000 36%: [bold]:smile: not connected[/] at all\n"


def test_the_live_view_shows_batches_the_reasons_between_them_how_far_it_is_and_alerts() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with LiveView(console) as view:
        view.show(event(state="anchoring", progress=structs.replace(PROGRESS, percentage=0)))
        view.show(scaling("a decision before any batch"))
        view.show(event(batch=batch(index=0, size=1, duration_ms=150)))
        view.show(event(batch=batch(), eta_ms=5200))
        view.show(scaling("[red]fast[/]: up to 4,000"))
        view.show(alert())
    assert isinstance(console.file, io.StringIO)
    last = console.file.getvalue().rpartition("batch  ")[2]
    assert "anchor" in last
    assert "1,000  1.5 s  sent" in last
    assert "[red]fast[/]: up to 4,000" in last
    assert "1,101/3,000" in last
    assert "36%" in last
    assert "batch 2 of 4" in last
    assert "5.2 s to go" in last
    assert "main: STOPPED (account-restricted)" in last
    assert "a decision before any batch" not in last


def test_the_live_view_of_a_long_story_keeps_to_the_last_batches() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with LiveView(console) as view:
        for index in range(1, 41):
            view.show(event(batch=batch(index=index)))
    assert isinstance(console.file, io.StringIO)
    last = console.file.getvalue().rpartition("batch  ")[2]
    assert "batch 40  " in last
    assert "batch 29  " in last
    assert "batch 28  " not in last
