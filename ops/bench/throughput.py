"""`storycast bench throughput`: stories per second, beside programs that do the same on NATS without storycast.

The contestants take turns in every round, each on a fresh server of the same kind: what else the machine does meets all
of them alike, and the ratio of the medians says more than any of the rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Final

from rich.console import RenderableType
from rich.table import Table

from ops.bench.charts import Bars, Panel
from ops.bench.contest import Contestant, Round, contestants, round_of
from ops.bench.goals import Goal, at_least, goals_table
from ops.bench.machine import in_words, machine
from ops.bench.output import Result, Wanted, give
from ops.exits import SUCCESS
from ops.serve import interruptible

MOST_STORIES: Final = 1_000_000
MOST_SESSIONS: Final = 1_000
"""So many a worker serves at the same time."""
MOST_ROUNDS: Final = 100
GOALS: Final[dict[Contestant, float]] = {"nats-py": 0.8, "faststream": 1.5}
"""How many times as many stories a second as theirs storycast is to serve."""


class Throughput(Result, frozen=True, kw_only=True, rename="camel"):
    """All rounds, the median stories per second of each contestant, and storycast's in multiples of the others'."""

    stories: int
    sessions: int
    rounds: Sequence[Round]
    rates: dict[Contestant, float]
    ratios: dict[Contestant, float]
    goals: Sequence[Goal]


async def throughput(stories: int, sessions: int, rounds: int, wanted: Wanted) -> int:
    """Let all contestants that can run here serve `stories` stories, `rounds` times, and give what was found."""
    wanted.check()
    console = wanted.console()
    found = []
    async with interruptible():
        for number in range(1, rounds + 1):
            for contestant in contestants():
                console.print(f"round {number}: {contestant}", style="dim")
                found.append(await round_of(contestant, stories=stories, sessions=sessions))
    figures = summary(found, sessions=sessions)
    shown: list[RenderableType] = [table(figures), legend(figures), goals_table(figures.goals)]
    give("throughput", figures, shown=shown, panels=panels(figures), wanted=wanted)
    return SUCCESS


def summary(rounds: Sequence[Round], *, sessions: int) -> Throughput:
    """What `rounds` amount to; each contestant has one at least."""
    rate_of = partial(_median_rate, rounds)
    rates = {name: rate_of(name) for name in dict.fromkeys(each.contestant for each in rounds)}
    ratios: dict[Contestant, float] = {
        name: rates["storycast"] / rate for name, rate in rates.items() if name != "storycast"
    }
    return Throughput(
        stories=rounds[0].stories,
        sessions=sessions,
        rounds=rounds,
        rates=rates,
        ratios=ratios,
        goals=[
            at_least(f"stories per second, over those of {name}", GOALS[name], ratio)
            for name, ratio in ratios.items()
        ],
        machine=machine(),
    )


def _median_rate(rounds: Sequence[Round], contestant: Contestant) -> float:
    return median(each.rate for each in rounds if each.contestant == contestant)


def panels(found: Throughput) -> list[Panel]:
    """The chart: stories per second of each contestant."""
    rates = Bars(
        title=f"{found.stories:,} stories over {found.sessions:,} sessions",
        y_label="stories per second",
        groups=list(found.rates),
        series={"median": list(found.rates.values())},
        form="{:,.0f}",
    )
    return [rates]


def table(found: Throughput) -> Table:
    """One row for each contestant."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("who", "stories/s", "of each round", "storycast is"):
        shown.add_column(head, justify="left" if head == "who" else "right", no_wrap=True)
    for name, rate in found.rates.items():
        each = " ".join(f"{one.rate:,.0f}" for one in found.rounds if one.contestant == name)
        ratio = f"{found.ratios[name]:.2f} x" if name in found.ratios else ""
        shown.add_row(name, f"{rate:,.0f}", each, ratio)
    return shown


def legend(found: Throughput) -> str:
    """What was done, and who was not there."""
    absent = ", ".join(name for name in GOALS if name not in found.rates)
    missing = f"\nNot installed here: {absent} (pip install 'storycast[peers]')." if absent else ""
    return (
        f"{found.stories:,} stories of one recipient over {found.sessions:,} sessions, an engine that takes no time;\n"
        "from the first claim of a session to the last acknowledgement. The others make the same reads and writes.\n"
        f"({in_words(found.machine)}){missing}"
    )
