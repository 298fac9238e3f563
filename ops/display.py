"""What a person sees while stories go out: a live view on a terminal, plain lines in a pipe, nothing with --json."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.client import Event
from pipeline.stopping import FOR_A_PERSON
from stages.messages import Alert, ProgressEvent, Rejection, Report, Scaling

SHOWN_BATCHES = 12
_STYLES = {"sent": "green", "failed": "red", "timed-out": "yellow", "refused": "red", "parked": "red"}


class Display(Protocol):
    """Shows events as they come; a context, because a live view has to be ended."""

    def __enter__(self) -> Self:
        """Start showing."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the screen in order."""
        ...

    def show(self, event: Event) -> None:
        """Show one event."""
        ...


def display_for(console: Console, *, silent: bool) -> Display:
    """The display that suits where the output goes."""
    if silent:
        return Silent()
    return LiveView(console) if console.is_terminal else Plain(console)


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: Event) -> None:
        """Nothing."""


class Plain:
    """One line an event."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, event: Event) -> None:
        """Print the line."""
        self._console.print(line(event), markup=False, emoji=False, highlight=False, soft_wrap=True)


class LiveView:
    """A story's progress bar, its last batches and why the size changed, drawn anew with each event."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="visible")
        self._rows: list[tuple[ProgressEvent, str]] = []
        self._latest: ProgressEvent | None = None
        self._notes: list[str] = []

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, event: Event) -> None:
        """Take the event in and draw."""
        match event:
            case ProgressEvent():
                self._take_progress(event)
            case Scaling() if self._rows:
                self._rows[-1] = (self._rows[-1][0], event.reason)
            case Alert() | Rejection():
                self._notes.append(line(event))
        self._live.update(Group(*self._parts()), refresh=True)

    def _take_progress(self, event: ProgressEvent) -> None:
        self._latest = event
        if event.batch is not None:
            self._rows.append((event, event.reason or ""))

    def _parts(self) -> list[Table | Text | ProgressBar]:
        parts: list[Table | Text | ProgressBar] = [self._table()]
        if self._latest is not None:
            parts.append(_bar(self._latest))
        return [*parts, *(Text(note, style="red") for note in self._notes)]

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in ("batch", "size", "took"):
            table.add_column(name, justify="right")
        table.add_column("outcome")
        table.add_column("then", style="dim", overflow="fold")
        for event, then in self._rows[-SHOWN_BATCHES:]:
            batch = event.batch
            if batch is not None:
                outcome = Text(batch.outcome, style=_STYLES[batch.outcome])
                table.add_row(
                    _name(batch.index), f"{batch.size:,}", _seconds(batch.duration_ms), outcome, Text(then)
                )
        return table


def line(event: Event) -> str:
    """The event on one line."""
    match event:
        case ProgressEvent():
            return _progress_line(event)
        case Scaling():
            return f"{event.session_id}: next {event.size:,} a batch: {event.reason}"
        case Alert():
            what = "STOPPED" if event.kind in FOR_A_PERSON else "TROUBLE"
            return f"{event.session_id}: {what} ({event.kind}): {event.reason}"
        case Rejection():
            return f"{event.session_id}: refused: {event.message}"
        case Report():
            return f"{event.session_id}/{event.story_id}: {summary(event)}"


def summary(report: Report) -> str:
    """A report in one sentence."""
    parts = [f"{report.sent_successfully:,} of {report.total_recipients:,} sent"]
    counts = {"failed": report.failed, "skipped": report.skipped, "unknown": report.unknown}
    parts += [f"{count:,} {name}" for name, count in counts.items() if count]
    why = f" ({report.reason})" if report.reason else ""
    return f"{report.state}{why}: {', '.join(parts)} in {_seconds(report.total_duration)}"


def details(report: Report) -> Table:
    """A report as a table for people."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    sizes = ", ".join(f"{size:,}" for size in report.batch_sequence) or "none"
    batches = report.batches
    learning = report.session_learning
    rows = {
        "story": f"{report.story_id}  (session {report.session_id}, message {report.message_id})",
        "result": summary(report),
        "batches": f"{batches.total}: {batches.failed} failed, {batches.retried} retried",
        "sizes": f"1 anchor, then {sizes}" if batches.total > len(report.batch_sequence) else sizes,
        "learned": _learned(learning.max_proven_batch_size, learning.used_historical_data),
    }
    if report.failures:
        rows["failures"] = ", ".join(f"{reason}: {count:,}" for reason, count in report.failures.items())
    for name, value in rows.items():
        table.add_row(name, Text(value))
    return table


def _learned(proven: int, used: bool) -> str:
    start = "started from what the session knew" if used else "started without knowledge"
    return f"{start}; {proven:,} a batch is proven now" if proven else f"{start}; nothing is proven yet"


def _progress_line(event: ProgressEvent) -> str:
    progress, story = event.progress, f"{event.session_id}/{event.story_id}"
    done = f"{progress.recipients_sent:,}/{progress.recipients_total:,} {progress.percentage}%"
    if event.batch is None:
        why = f": {event.reason}" if event.reason else ""
        return f"{story}: {event.state} {done}{why}"
    batch = event.batch
    took = f"{_name(batch.index)} of {batch.size:,} {batch.outcome} in {_seconds(batch.duration_ms)}"
    eta = f", {_seconds(event.eta_ms)} to go" if event.eta_ms else ""
    why = f" ({event.reason})" if event.reason else ""
    return f"{story}: {took}{why}; {done}{eta}"


def _bar(event: ProgressEvent) -> Table:
    progress = event.progress
    grid = Table.grid(padding=(0, 2))
    eta = f"{_seconds(event.eta_ms)} to go" if event.eta_ms else ""
    why = f": {event.reason}" if event.state in {"waiting", "parked", "failed"} and event.reason else ""
    grid.add_row(
        Text(event.state + why, style="bold"),
        ProgressBar(total=max(1, progress.recipients_total), completed=progress.recipients_sent, width=32),
        f"{progress.recipients_sent:,}/{progress.recipients_total:,}",
        f"{progress.percentage}%",
        f"batch {progress.current} of {progress.total}",
        eta,
    )
    return grid


def _name(index: int) -> str:
    return "anchor" if index == 0 else f"batch {index}"


def _seconds(milliseconds: int) -> str:
    if milliseconds < 100:
        return f"{milliseconds} ms"
    return f"{milliseconds / 1000:.1f} s" if milliseconds < 100_000 else f"{milliseconds / 60_000:.1f} min"
