"""The figures of `bench scale`, for machines as JSON and for people as a table."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

from msgspec import Struct
from rich.table import Table


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


class Scale(Struct, frozen=True, kw_only=True, rename="camel"):
    """All sizes, the smallest first; `growth` is the time per recipient of the largest over that of the smallest."""

    costs: Sequence[Cost]
    growth: float
    memory_from: str
    machine: str


def machine() -> str:
    """The machine in few words."""
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def growth(costs: Sequence[Cost]) -> float:
    """How many times as much time a recipient takes in the longest list as in the shortest one."""
    return costs[-1].micros_per_recipient / costs[0].micros_per_recipient


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
        f"({found.machine})"
    )


def _cells(cost: Cost) -> tuple[str, ...]:
    return (
        f"{cost.recipients:,}",
        f"{cost.sending_seconds:.2f} s",
        f"{cost.seconds:.2f} s",
        f"{cost.engine_seconds:.2f} s",
        f"{cost.micros_per_recipient:.1f} µs",
        _megabytes(cost.worker_peak),
        _megabytes(cost.sender_peak),
        f"{cost.checkpoints:,}, {cost.largest_checkpoint:,} B",
    )


def _megabytes(size: int | None) -> str:
    return "n/a" if size is None else f"{size / 1e6:.0f} MB"
