"""The figures of `bench overhead`, for machines as JSON and for people as a table and a chart."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from msgspec import Struct
from rich.table import Table

from ops.bench.charts import Bars, GoalLine, Panel
from ops.bench.goals import Goal, at_most
from ops.bench.machine import in_words
from ops.bench.output import Result

MOST: Final = 1.03
"""What the whole may take, over what the engine and the pacing take."""
GOAL: Final = "wall time over engine calls and pacing"


class Rest(Struct, frozen=True, kw_only=True, rename="camel"):
    """Seconds that neither the engine nor the pacing took, by where they went. All of them together are the rest."""

    sending: float
    """The client: makes the list, puts it into the object store, and stores the request."""
    ingest: float
    """From the stored request to the first checkpoint: pulled, list fetched, checked, deduplicated, planned."""
    starting: float
    """From the first checkpoint to the first engine call."""
    storing: float
    """Between calls: the result through controller and planner into a checkpoint, where that outlasted the pacing."""
    turning: float
    """Between calls: from then on to the next call, beyond the pacing."""
    reporting: float
    """From the end of the last call until the client has the report."""


STAGES: Final = {
    "sending": "client: list into the object store, request stored",
    "ingest": "request stored to first checkpoint",
    "starting": "first checkpoint to first call",
    "storing": "between calls: result to checkpoint, beyond the pacing",
    "turning": "between calls: checkpoint to next call, beyond the pacing",
    "reporting": "last call to report",
}


class Run(Struct, frozen=True, kw_only=True, rename="camel"):
    """One story. `wall` is from the moment the client begins to send until it has the report; all in seconds."""

    wall: float
    calls: float
    """The engine calls by the engine's own record, one after the other."""
    pacing: float
    """What the settings have the worker wait between two calls: that long after the end of the last one, and no
    more calls a second than that."""
    rest: Rest
    call_count: int
    checkpoints: int
    result_to_checkpoint: float
    """From the end of a call to the checkpoint after it, most of it in the shade of the pacing: the median."""
    recipients: int
    sent: int


class Overhead(Result, frozen=True, kw_only=True, rename="camel"):
    """All runs, and the medians over them."""

    recipients: int
    strategy: str
    profile: str
    delay_ms: int
    calls_per_second: float
    runs: Sequence[Run]
    wall: float
    calls: float
    pacing: float
    rest: Rest
    over_calls: float
    """Wall time over engine calls."""
    over_path: float
    """Wall time over engine calls and pacing: the critical path."""
    goals: Sequence[Goal]


def over_calls(run: Run) -> float:
    """Wall time over engine calls alone."""
    return run.wall / run.calls


def over_path(run: Run) -> float:
    """Wall time over engine calls and pacing."""
    return run.wall / (run.calls + run.pacing)


def median_rest(runs: Sequence[Run]) -> Rest:
    """The median of each stage by itself."""
    return Rest(**{name: median(getattr(run.rest, name) for run in runs) for name in STAGES})


def goals(runs: Sequence[Run]) -> list[Goal]:
    """The one goal, judged by the median."""
    return [at_most(GOAL, MOST, median(map(over_path, runs)))]


def median_to_checkpoint(runs: Sequence[Run]) -> float:
    """Seconds from the end of a call to the checkpoint after it: the median of all runs."""
    return median(run.result_to_checkpoint for run in runs)


def spent(found: Overhead) -> dict[str, float]:
    """Where the time of the story went, stage by stage, in seconds."""
    return {
        "engine calls": found.calls,
        "pacing": found.pacing,
        **{what: getattr(found.rest, name) for name, what in STAGES.items()},
        "wall time": found.wall,
    }


def table(found: Overhead) -> Table:
    """Where the time of the story went, stage by stage."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("median of all runs", no_wrap=True)
    shown.add_column("seconds", justify="right", no_wrap=True)
    shown.add_column("of the path", justify="right", no_wrap=True)
    path = found.calls + found.pacing
    for what, seconds in spent(found).items():
        shown.add_row(what, f"{seconds:.4f}", f"{seconds / path:.2%}")
    return shown


def legend(found: Overhead) -> str:
    """What was run, and the ratios of all runs."""
    calls = ", ".join(f"{over_calls(run):.4f}" for run in found.runs)
    path = ", ".join(f"{over_path(run):.4f}" for run in found.runs)
    return (
        f"{len(found.runs)} stories to {found.recipients:,}, {found.strategy}, engine {found.profile}; pacing: "
        f"{found.delay_ms} ms between calls, {found.calls_per_second:g} calls a second at most.\n"
        f"Wall time over engine calls: {found.over_calls:.4f} ({calls});\n"
        f"over engine calls and pacing: {found.over_path:.4f} ({path}).\n({in_words(found.machine)})"
    )


def panels(found: Overhead) -> list[Panel]:
    """The chart: the ratios of each run, and where the rest goes."""
    return [
        Bars(
            title=f"How much longer a story to {found.recipients:,} takes than ...",
            y_label="%",
            groups=[f"run {place + 1}" for place in range(len(found.runs))],
            series={
                "engine calls alone": [_percent(over_calls(run)) for run in found.runs],
                "engine calls and pacing": [_percent(over_path(run)) for run in found.runs],
            },
            goal=GoalLine(value=_percent(MOST), label=f"at most {_percent(MOST):g} %, calls and pacing"),
        ),
        Bars(
            title="Where the rest goes (median)",
            y_label="ms",
            groups=list(STAGES),
            series={"rest": [getattr(found.rest, name) * 1000 for name in STAGES]},
            form="{:.1f}",
        ),
    ]


def _percent(ratio: float) -> float:
    return round((ratio - 1) * 100, 6)
