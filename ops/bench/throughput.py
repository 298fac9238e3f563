"""`storycast bench throughput`: stories per second, beside programs that do the same on NATS without storycast.

The contestants take turns in every round, each on a fresh server of the same kind: what else the machine does meets all
of them alike, and the ratio of the medians says more than any of the rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Final

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from ops.bench.contest import Contestant, Round, contestants, round_of
from ops.bench.figures import machine
from ops.exits import SUCCESS
from ops.serve import interruptible

MOST_STORIES: Final = 1_000_000
MOST_SESSIONS: Final = 1_000
"""So many a worker serves at the same time."""
MOST_ROUNDS: Final = 100
GOALS: Final[dict[Contestant, float]] = {"nats-py": 0.8, "faststream": 1.5}
"""How many times as many stories a second as theirs storycast is to serve."""


class Throughput(Struct, frozen=True, kw_only=True, rename="camel"):
    """All rounds, the median stories per second of each contestant, and storycast's in multiples of the others'."""

    stories: int
    sessions: int
    rounds: Sequence[Round]
    rates: dict[Contestant, float]
    ratios: dict[Contestant, float]
    goals: dict[Contestant, float]
    machine: str


async def throughput(stories: int, sessions: int, rounds: int, *, json: bool) -> int:
    """Let all contestants that can run here serve `stories` stories, `rounds` times, and print what was found."""
    console = Console(stderr=json, highlight=False, soft_wrap=True)
    found = []
    async with interruptible():
        for number in range(1, rounds + 1):
            for contestant in contestants():
                console.print(f"round {number}: {contestant}", style="dim")
                found.append(await round_of(contestant, stories=stories, sessions=sessions))
    figures = summary(found, sessions=sessions)
    if json:
        print(msgspec.json.format(msgspec.json.encode(figures)).decode())
    else:
        console.print(table(figures))
        console.print(legend(figures), style="dim")
    return SUCCESS


def summary(rounds: Sequence[Round], *, sessions: int) -> Throughput:
    """What `rounds` amount to; each contestant has one at least."""
    rate_of = partial(_median_rate, rounds)
    rates = {name: rate_of(name) for name in dict.fromkeys(each.contestant for each in rounds)}
    return Throughput(
        stories=rounds[0].stories,
        sessions=sessions,
        rounds=rounds,
        rates=rates,
        ratios={name: rates["storycast"] / rate for name, rate in rates.items() if name != "storycast"},
        goals=GOALS,
        machine=machine(),
    )


def _median_rate(rounds: Sequence[Round], contestant: Contestant) -> float:
    return median(each.rate for each in rounds if each.contestant == contestant)


def table(found: Throughput) -> Table:
    """One row for each contestant."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("who", "stories/s", "of each round", "storycast is", "goal"):
        shown.add_column(head, justify="left" if head == "who" else "right", no_wrap=True)
    for name, rate in found.rates.items():
        each = " ".join(f"{one.rate:,.0f}" for one in found.rounds if one.contestant == name)
        ratio = f"{found.ratios[name]:.2f} x" if name in found.ratios else ""
        goal = f">= {found.goals[name]:g} x" if name in found.goals else ""
        shown.add_row(name, f"{rate:,.0f}", each, ratio, goal)
    return shown


def legend(found: Throughput) -> str:
    """What was done, and who was not there."""
    absent = ", ".join(name for name in found.goals if name not in found.rates)
    missing = f"\nNot installed here: {absent} (pip install 'storycast[bench]')." if absent else ""
    return (
        f"{found.stories:,} stories of one recipient over {found.sessions:,} sessions, an engine that takes no time;\n"
        "from the first claim of a session to the last acknowledgement. The others make the same reads and writes.\n"
        f"({found.machine}){missing}"
    )
