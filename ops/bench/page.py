"""The measured parts of the pages: every figure there is written by this, from the results that `make bench` leaves.

To add a part: a result with its `goals`, a function that writes it in Markdown, and a row in `_PARTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import exp
from pathlib import Path
from typing import Any, Final

from ops.bench import overhead_figures, story_figures
from ops.bench.goals import Goal, allowed, found, verdict
from ops.bench.latency import Latency
from ops.bench.machine import in_words
from ops.bench.markdown import chart, goal_cells, goals_table, table
from ops.bench.output import Result, read
from ops.bench.overhead_figures import Overhead
from ops.bench.policies import shown as policies_shown
from ops.bench.policies.figures import Policies
from ops.bench.policies.grid import WIDTHS
from ops.bench.profiles import CHEAP, ORIGINAL
from ops.bench.scale_figures import Scale, megabytes
from ops.bench.story_claims import CLAIMED_ONE_CALL
from ops.bench.story_figures import Story
from ops.bench.throughput import Throughput
from transports.simulated import Profile, load_profile


def parts(folder: Path) -> dict[str, str]:
    """The measured parts of docs/benchmarks.md by their names, of the results that are in `folder`."""
    return {name: "\n\n".join(written(result)) for name, (result, written) in _results(folder).items()}


def goals_part(folder: Path) -> str:
    """All goals of all parts, in one table."""
    rows = [
        (name, *goal_cells(goal))
        for name, (result, _) in _results(folder).items()
        for goal in getattr(result, "goals", ())
    ]
    return table(("`storycast bench`", "goal", "asked", "measured", ""), rows)


def scale_table(result: Scale) -> str:
    """What stories of all sizes cost."""
    return table(_SCALE_HEADS, _scale_rows(result), numbers=True)


def _scale(result: Scale) -> Iterator[str]:
    yield _measured_on(result)
    yield scale_table(result)
    yield goals_table(result.goals)
    yield chart(
        "scale", "Time per recipient, peak memory, checkpoints and time in all, over the number of recipients"
    )


_SCALE_HEADS: Final = (
    "recipients",
    "sending",
    "until the report",
    "of that, engine calls",
    "for one recipient",
    "worker's peak",
    "sender's peak",
    "checkpoints",
    "the largest",
)


def _scale_rows(result: Scale) -> Iterator[Sequence[str]]:
    for cost in result.costs:
        yield (
            f"{cost.recipients:,}",
            f"{cost.sending_seconds:.2f} s",
            f"{cost.seconds:.2f} s",
            f"{cost.engine_seconds:.2f} s",
            f"{cost.micros_per_recipient:.1f} µs",
            megabytes(cost.worker_peak),
            megabytes(cost.sender_peak),
            f"{cost.checkpoints:,}",
            f"{cost.largest_checkpoint:,} B",
        )


def _overhead(result: Overhead) -> Iterator[str]:
    ratios = [overhead_figures.over_path(run) for run in result.runs]
    alone = [overhead_figures.over_calls(run) for run in result.runs]
    hidden = overhead_figures.median_to_checkpoint(result.runs)
    yield _measured_on(result)
    yield (
        f"{len(result.runs)} stories to {result.recipients:,} recipients, strategy `{result.strategy}`, "
        f"{result.runs[0].call_count} calls in the first of them. The settings have the worker wait "
        f"{result.delay_ms} ms between two calls, and make {result.calls_per_second:g} calls a second at most."
    )
    yield goals_table(result.goals)
    yield (
        f"- Over engine calls and pacing the wall time is {result.over_path:.4f} times as long (lowest "
        f"{min(ratios):.4f}, highest {max(ratios):.4f});\n"
        f"- over engine calls alone {result.over_calls:.4f} times (lowest {min(alone):.4f}, highest {max(alone):.4f})."
    )
    yield table(
        ("median of all runs", "time", "share of calls and pacing"), _overhead_rows(result), numbers=True
    )
    yield (
        f"From the end of a call to the checkpoint after it, {hidden * 1000:.1f} ms pass (median). As long as that is "
        "less than the pacing has the worker wait anyway, it costs nothing."
    )
    yield chart("overhead", "How much longer a story takes than its engine calls, and where the rest goes")


def _overhead_rows(result: Overhead) -> Iterator[Sequence[str]]:
    path = result.calls + result.pacing
    for what, seconds in overhead_figures.spent(result).items():
        yield what, f"{seconds * 1000:,.1f} ms", f"{seconds / path:.2%}"


def _throughput(result: Throughput) -> Iterator[str]:
    yield (
        f"{_measured_on(result)} {result.stories:,} stories of one recipient over {result.sessions:,} sessions; "
        f"medians of {len(result.rounds) // len(result.rates)} rounds, in which all take turns."
    )
    yield table(("", "stories per second", "storycast's, in multiples of it"), _rates(result), numbers=True)
    yield goals_table(result.goals)
    yield chart("throughput", "Stories per second of storycast and of those beside it")


def _rates(result: Throughput) -> Iterator[Sequence[str]]:
    for name, rate in result.rates.items():
        yield name, f"{rate:,.0f}", f"{result.ratios[name]:.2f}" if name in result.ratios else ""


def _latency(result: Latency) -> Iterator[str]:
    yield (
        f"{_measured_on(result)} A round trip, the median of plain requests with nats-py, took "
        f"{result.round_trip_seconds * 1e6:.0f} µs; {result.waiting:,} stories waited in the backlog."
    )
    yield table(("", "p50", "p99", "p50 in round trips", "p99 in round trips"), _delays(result), numbers=True)
    yield goals_table(result.goals)
    yield chart("latency", "From a request's publish to the engine call for its anchor")


def _delays(result: Latency) -> Iterator[Sequence[str]]:
    for each in result.situations:
        yield (
            each.situation,
            f"{each.p50_seconds * 1000:.2f} ms",
            f"{each.p99_seconds * 1000:.2f} ms",
            f"{each.p50_round_trips:.1f}",
            f"{each.p99_round_trips:.1f}",
        )


def _story(result: Story) -> Iterator[str]:
    yield f"{_measured_on(result)} {len(result.seeds)} seeds; times are medians."
    yield _engines()
    yield table(("", "said", "here, if it goes through"), _calibration(result))
    yield table(("it was said", f"engine `{ORIGINAL}`", "", f"engine `{CHEAP}`", ""), _claims(result))
    yield table(story_figures.heads(), [story_figures.cells_of(cell) for cell in result.cells])
    yield chart(
        "story",
        "Time until the report for each size and way of sending, and how many times as fast as one call",
    )


def _policies(result: Policies) -> Iterator[str]:
    yield " ".join([_measured_on(result), *policies_shown.worlds(result)])
    yield goals_table(result.goals)
    for width in WIDTHS:
        yield f"All policies, {policies_shown.under_way(width)}:"
        heads = [head.replace("\n", " ").strip() for head in policies_shown.BY_POLICY_HEADS]
        yield table(heads, policies_shown.by_policy(result, width), numbers=True)
    for width in WIDTHS:
        yield f"The adaptive policy, {policies_shown.under_way(width)}:"
        yield table(policies_shown.BY_FAMILY_HEADS, policies_shown.by_family(result, width), numbers=True)
    yield "\n".join(f"- {said}" for said in policies_shown.informed(result))
    yield chart("policies", "Median and 95th percentile of every policy's time over the oracle's")


def _engines() -> str:
    original, cheap = load_profile(ORIGINAL), load_profile(CHEAP).latency
    points = original.latency.points
    batches = [
        f"{size:,} in {took:g} s" for size, took in points if size not in CLAIMED_ONE_CALL and size > 1
    ]
    risks = [f"{_risk(original, size):.1%} of those to {size:,}" for size in CLAIMED_ONE_CALL]
    return (
        f"- Engine `{ORIGINAL}`: one call as said, and batches as said: {', '.join(batches)}. Calls that fail: "
        f"{', '.join(risks)}. {original.numbers.dead_share:.1%} of the recipients are not on WhatsApp.\n"
        f"- Engine `{CHEAP}`: {cheap.a:g} s for a call, and {cheap.b * 1000:g} ms for each recipient. No call fails."
    )


def _risk(profile: Profile, size: int) -> float:
    return 1 - exp(-(profile.failures.base + (size / profile.failures.scale) ** 2))


def _calibration(result: Story) -> Iterator[Sequence[str]]:
    for one in result.calibration:
        here = "none did" if one.measured is None else f"{one.measured:.1f} s"
        yield f"one call to {one.recipients:,}", f"{one.said_low:g} to {one.said_high:g} s", here


def _claims(result: Story) -> Iterator[Sequence[str]]:
    for goal, cheap in zip(result.claims, result.claims_if_cheap, strict=True):
        yield f"{goal.name}: {allowed(goal)}", *_judged(goal), *_judged(cheap)


def _judged(goal: Goal) -> tuple[str, str]:
    return found(goal), f"**{verdict(goal)}**"


def _measured_on(result: Result) -> str:
    return f"Measured on {in_words(result.machine)}."


_PARTS: Final[dict[str, tuple[type[Result], Callable[[Any], Iterator[str]]]]] = {
    "scale": (Scale, _scale),
    "overhead": (Overhead, _overhead),
    "throughput": (Throughput, _throughput),
    "latency": (Latency, _latency),
    "story": (Story, _story),
    "policies": (Policies, _policies),
}


def _results(folder: Path) -> dict[str, tuple[Result, Callable[[Any], Iterator[str]]]]:
    return {
        name: (read(path, kind), written)
        for name, (kind, written) in _PARTS.items()
        if (path := folder / f"{name}.json").exists()
    }
