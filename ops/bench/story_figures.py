"""The figures of `bench story`, for machines as JSON and for people as a table and a chart."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from msgspec import Struct
from rich.table import Table

from ops.bench.goals import Goal
from ops.bench.machine import in_words
from ops.bench.output import Result
from ops.bench.profiles import CHEAP, ORIGINAL

ONE_CALL: Final = "one call"
"""The way that all others are compared with."""


class Sample(Struct, frozen=True, kw_only=True, rename="camel"):
    """One story. Seconds are from the moment the client begins to send until it has the report."""

    engine: str
    """The profile."""
    way: str
    again: bool
    """It is the second story of its session, which has a history by then."""
    recipients: int
    seed: int
    seconds: float
    delivered: int
    """So many were sent to, by the report."""
    calls: int
    failed_calls: int
    by_first_call: int
    """So many had it after the first call, which nobody would have made again by hand."""
    call_seconds: Sequence[float]
    """What calls to all of them took that went through: of one call there is one such, of batches none."""


class Cell(Struct, frozen=True, kw_only=True, rename="camel"):
    """All samples of one way to so many recipients."""

    engine: str
    way: str
    again: bool
    recipients: int
    stories: int
    seconds: float
    """The median, and the shortest and the longest."""
    shortest: float
    longest: float
    times_as_fast: float
    """One call, to the engine by the original figures, over this way, in time, seed by seed: the median."""
    delivered: float
    """Share of the recipients, in all stories together."""
    delivered_least: float
    """Share of the recipients in the story that went worst."""
    calls: float
    """The median."""
    failed_calls: int
    """In all stories together."""
    by_first_call: float
    """Share that the first call delivered, in all stories together."""


class OneCall(Struct, frozen=True, kw_only=True, rename="camel"):
    """What one call to so many takes that goes through: said, and by the engine's record. Seconds."""

    recipients: int
    said_low: float
    said_high: float
    measured: float | None
    """The median, None if none went through."""


class Story(Result, frozen=True, kw_only=True, rename="camel"):
    """All ways, to all numbers of recipients."""

    seeds: Sequence[int]
    cells: Sequence[Cell]
    calibration: Sequence[OneCall]
    claims: Sequence[Goal]
    """What the original system said, and whether the quickest way does it."""
    claims_if_cheap: Sequence[Goal]
    """The same with an engine whose batches are as cheap as the claims need."""
    seconds: float
    """That measuring took."""


def named(cell: Cell | Sample) -> str:
    """The way in words."""
    return f"{cell.way}, with history" if cell.again else cell.way


def cells(samples: Sequence[Sample]) -> list[Cell]:
    """The samples, summed up by engine, size and way in the order in which they come."""
    groups = dict[tuple[object, ...], list[Sample]]()
    for sample in samples:
        groups.setdefault((sample.engine, sample.recipients, sample.way, sample.again), []).append(sample)
    return [_cell(group, samples) for group in groups.values()]


def table(found: Story) -> Table:
    """One row for each size and way."""
    shown = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
    for head in _HEADS:
        shown.add_column(head, justify="left" if head in {"engine", "way"} else "right", no_wrap=True)
    for cell in found.cells:
        shown.add_row(*cells_of(cell))
    return shown


_HEADS: Final = (
    "engine",
    "recipients",
    "way",
    "time",
    "shortest, longest",
    "as fast as one call",
    "delivered",
    "by the first call",
    "calls",
    "failed",
)


def heads() -> Sequence[str]:
    """The heads of the table's columns."""
    return _HEADS


def cells_of(cell: Cell) -> tuple[str, ...]:
    """A row of the table."""
    return (
        cell.engine,
        f"{cell.recipients:,}",
        named(cell),
        f"{cell.seconds:.1f} s",
        f"{cell.shortest:.1f}, {cell.longest:.1f} s",
        "" if cell.way == ONE_CALL else f"{cell.times_as_fast:.2f} times",
        f"{cell.delivered:.2%}",
        f"{cell.by_first_call:.2%}" if cell.way == ONE_CALL else "",
        f"{cell.calls:g}",
        f"{cell.failed_calls} in {cell.stories} stories",
    )


def legend(found: Story) -> str:
    """What the columns are, and what was run."""
    calls = "".join(
        f"\nOne call to {one.recipients:,}: {one.said_low:g} to {one.said_high:g} s was said; here "
        + (
            "none went through."
            if one.measured is None
            else f"it takes {one.measured:.1f} s when it goes through."
        )
        for one in found.calibration
    )
    return (
        "time: from sending until the report, medians; as fast as one call: with the same seed; calls: the anchor's "
        f"too.\nThe engine {ORIGINAL} goes by the figures of the original system; {CHEAP} has batches that are as "
        f"cheap as its claims need.{calls}\n"
        f"{len(found.seeds)} seeds, in {found.seconds:.0f} s. ({in_words(found.machine)})"
    )


def _cell(samples: Sequence[Sample], everything: Sequence[Sample]) -> Cell:
    first, seconds = samples[0], [sample.seconds for sample in samples]
    one_call = {
        it.seed: it.seconds for it in everything if (it.way, it.recipients) == (ONE_CALL, first.recipients)
    }
    total = first.recipients * len(samples)
    return Cell(
        engine=first.engine,
        way=first.way,
        again=first.again,
        recipients=first.recipients,
        stories=len(samples),
        seconds=median(seconds),
        shortest=min(seconds),
        longest=max(seconds),
        times_as_fast=median(one_call[sample.seed] / sample.seconds for sample in samples),
        delivered=sum(sample.delivered for sample in samples) / total,
        delivered_least=min(sample.delivered for sample in samples) / first.recipients,
        calls=median(sample.calls for sample in samples),
        failed_calls=sum(sample.failed_calls for sample in samples),
        by_first_call=sum(sample.by_first_call for sample in samples) / total,
    )
