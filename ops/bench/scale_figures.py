"""The figures of `bench scale`, for machines as JSON and for people as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct
from rich.table import Table

from ops.bench.charts import GoalLine, Lines, Panel
from ops.bench.goals import Goal, at_most
from ops.bench.machine import in_words
from ops.bench.output import Result

SHORT: Final = 10_000
LONG: Final = 1_000_000
"""Between these sizes time per recipient must not grow, and at the latter memory is limited."""
MOST_GROWTH: Final = 1.1
MOST_MEGABYTES: Final = 250.0


class Cost(Struct, frozen=True, kw_only=True, rename="camel"):
    """What one story cost. Seconds are real ones, memory and checkpoints are in bytes."""

    recipients: int
    sending_seconds: float
    """Until the request was stored, its list made and put into the object store included."""
    seconds: float
    """From then on until the report."""
    engine_seconds: float
    """Of those: the time that engine calls took."""
    micros_per_recipient: float
    """`seconds`, for one recipient."""
    batches: int
    """The anchor included."""
    worker_peak: int | None
    sender_peak: int | None
    largest_checkpoint: int
    checkpoints: int


class Scale(Result, frozen=True, kw_only=True, rename="camel"):
    """All sizes, the smallest first; `growth` is the time per recipient of the largest over that of the smallest."""

    costs: Sequence[Cost]
    growth: float
    goals: Sequence[Goal]
    """Those that the sizes allow to judge."""
    memory_from: str


def growth(costs: Sequence[Cost]) -> float:
    """How many times as much time a recipient takes in the longest list as in the shortest one."""
    return costs[-1].micros_per_recipient / costs[0].micros_per_recipient


def goals(costs: Sequence[Cost]) -> list[Goal]:
    """What is asked of the sizes that goals are about, as far as they were measured."""
    by_size = {cost.recipients: cost for cost in costs}
    short, long = by_size.get(SHORT), by_size.get(LONG)
    found = []
    if short and long:
        ratio = growth([short, long])
        found.append(at_most(f"time per recipient at {LONG:,}, over that at {SHORT:,}", MOST_GROWTH, ratio))
    if long and long.worker_peak is not None:
        peak = long.worker_peak / 1e6
        found.append(at_most(f"the worker's peak memory at {LONG:,}", MOST_MEGABYTES, peak, "MB"))
    return found


def panels(found: Scale) -> list[Panel]:
    """The chart: what a recipient takes, how much memory, and how large checkpoints are."""
    by_size = {cost.recipients: cost for cost in found.costs}
    short = by_size.get(SHORT, found.costs[0])
    growing = GoalLine(
        value=short.micros_per_recipient * MOST_GROWTH,
        label=f"{MOST_GROWTH:g} times that at {short.recipients:,}",
    )
    return [
        _over_size(found, "Time per recipient", "µs", "until the report", _micros, goal=growing),
        _memory(found),
        _over_size(found, "Largest checkpoint", "bytes", "largest", lambda cost: cost.largest_checkpoint),
        _over_size(found, "Time in all", "s", "until the report", lambda cost: cost.seconds, log_y=True),
    ]


def table(costs: Sequence[Cost]) -> Table:
    """One row for each size."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("recipients", "sending", "report", "engine", "each", "worker", "sender", "checkpoints"):
        shown.add_column(head, justify="right", no_wrap=True)
    for cost in costs:
        shown.add_row(*_cells(cost))
    return shown


def legend(found: Scale) -> str:
    """What the columns of the table are, and how time per recipient grows."""
    first, last = found.costs[0], found.costs[-1]
    return (
        "sending: until the request was stored; report: from then on until the report; engine: of that, the calls;\n"
        "each: the same for one recipient; worker, sender: the most memory, as in "
        f"{found.memory_from};\n"
        "checkpoints: how many, and the largest.\n"
        f"Time per recipient at {last.recipients:,} is {found.growth:.2f} times that at {first.recipients:,}. "
        f"({in_words(found.machine)})"
    )


def _memory(found: Scale) -> Lines:
    peaks = {
        "worker": [(cost.recipients, cost.worker_peak / 1e6) for cost in found.costs if cost.worker_peak],
        "sender": [(cost.recipients, cost.sender_peak / 1e6) for cost in found.costs if cost.sender_peak],
    }
    return Lines(
        title="Peak memory",
        x_label="recipients",
        y_label="MB",
        series=peaks,
        goal=GoalLine(value=MOST_MEGABYTES, label=f"at most {MOST_MEGABYTES:g} MB, worker"),
    )


def _over_size(
    found: Scale,
    title: str,
    unit: str,
    name: str,
    figure: Callable[[Cost], float],
    *,
    log_y: bool = False,
    goal: GoalLine | None = None,
) -> Lines:
    points = [(cost.recipients, figure(cost)) for cost in found.costs]
    return Lines(
        title=title, x_label="recipients", y_label=unit, series={name: points}, log_y=log_y, goal=goal
    )


def _micros(cost: Cost) -> float:
    return cost.micros_per_recipient


def _cells(cost: Cost) -> tuple[str, ...]:
    return (
        f"{cost.recipients:,}",
        f"{cost.sending_seconds:.2f} s",
        f"{cost.seconds:.2f} s",
        f"{cost.engine_seconds:.2f} s",
        f"{cost.micros_per_recipient:.1f} µs",
        megabytes(cost.worker_peak),
        megabytes(cost.sender_peak),
        f"{cost.checkpoints:,}, {cost.largest_checkpoint:,} B",
    )


def megabytes(size: int | None) -> str:
    """A peak of memory, if the system tells it."""
    return "n/a" if size is None else f"{size / 1e6:.0f} MB"
