"""`storycast bench story`: whole stories in every way of sending them, against one call to all.

The engine is the simulated one with the profile `original`, which takes the original system at its word: what one call
takes, what its batches take, how often large calls fail. What is measured is the time until the client has the report,
through a real nats-server and a worker in a process of its own, with the settings as they come.

**The ways.** *One call*: smart send off, in a session that may put everybody into one call. If the call fails,
storycast makes it again, as it does with everything; what the first call alone brought stands beside it. Then each
strategy; and for those that learn a second story of the same session, which has a history then.

**Cheap batches.** The original system's claims for whole stories do not follow from what it said of single calls: they
need batches that cost a sixth of that for each recipient. So the strategies are measured with such an engine as well
(profile `calm`). Whether a real one is like that is another question, which docs/explanation.md answers.

**The clock runs as it does.** A faster one (`STORYCAST_SPEED`) would have to scale the pauses between calls as well,
and our own time would count many times over. Sessions do not wait for each other, though: a server and a worker for
each seed are at work at the same time, each with a session for every size and way. They start one after the other, so
that no story's list is sorted out while another one's is; later on they do next to nothing but wait.

**The seeds** are those of the engine: what goes wrong differs from one to the next. Ratios compare ways with the same
seed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final, get_args

import trio
from rich.console import Console

from ops.bench.goals import goals_table
from ops.bench.machine import machine
from ops.bench.numbers import numbers_in
from ops.bench.output import Wanted, give
from ops.bench.profiles import CHEAP, ORIGINAL
from ops.bench.story_chart import panels
from ops.bench.story_claims import CLAIMED_ONE_CALL, claims
from ops.bench.story_figures import ONE_CALL, OneCall, Sample, Story, cells, legend, table
from ops.bench.story_sessions import Sent, Setup, planned, samples, send_all
from ops.exits import SUCCESS
from ops.serve import interruptible
from stages.errors import BadRequest
from stages.options import Strategy

MOST_RECIPIENTS: Final = 59_000
"""More do not fit into one call of the profile."""
MOST_SEEDS: Final = 50
KNOWN: Final = [
    strategy for strategy in ("tiered", "progressive", "adaptive") if strategy in get_args(Strategy)
]
_FIRST_SEED: Final = 201


async def story(sizes: Sequence[int], strategies: Sequence[str], seeds: int, wanted: Wanted) -> int:
    """Send stories of all `sizes` in one call and by all `strategies`, for so many seeds, and give what was found."""
    wanted.check()
    began, numbers = time.monotonic(), range(_FIRST_SEED, _FIRST_SEED + seeds)
    with TemporaryDirectory(prefix="storycast-bench-") as folder:
        setups = _setups(sizes, strategies, numbers, Path(folder))
        async with interruptible():
            measured = await _measured(setups, wanted.console())
    ordered = _ordered(measured, strategies)
    summed_up = cells(ordered)
    found = Story(
        machine=machine(),
        seeds=list(numbers),
        cells=summed_up,
        calibration=[_calibration(size, ordered) for size in sizes if size in CLAIMED_ONE_CALL],
        claims=claims(summed_up),
        claims_if_cheap=claims(summed_up, CHEAP),
        seconds=time.monotonic() - began,
    )
    _give(found, wanted)
    return SUCCESS


def sizes_in(text: str) -> list[int]:
    """The sizes in `text`, the smallest first. Raises `BadRequest`."""
    return numbers_in(text, MOST_RECIPIENTS, "--sizes")


def strategies_in(text: str) -> list[str]:
    """The strategies in `text`. Raises `BadRequest`."""
    given = list(dict.fromkeys(part.strip() for part in text.split(",")))
    if strange := [name for name in given if name not in KNOWN]:
        raise BadRequest(
            "out-of-range", field="--strategies", found=repr(strange[0]), allowed=", ".join(KNOWN)
        )
    return given


def _setups(
    sizes: Sequence[int], strategies: Sequence[str], seeds: Sequence[int], folder: Path
) -> list[Setup]:
    """Both engines with all seeds; one call is made with the original one alone."""
    ways = {ORIGINAL: [ONE_CALL, *strategies], CHEAP: strategies}
    return [
        Setup(
            engine=engine,
            seed=seed,
            plans=planned(sizes, ways[engine], place, 2 * len(seeds)),
            folder=folder / f"{engine}-{seed}",
        )
        for place, (engine, seed) in enumerate(product(ways, seeds))
    ]


async def _measured(setups: Sequence[Setup], console: Console) -> list[Sample]:
    sent = list[tuple[Setup, list[Sent]]]()

    async def send(setup: Setup) -> None:
        sent.append((setup, await send_all(setup, console)))

    async with trio.open_nursery() as nursery:
        for setup in setups:
            nursery.start_soon(send, setup)
    return [sample for setup, stories in sent for sample in samples(setup, stories)]


def _give(found: Story, wanted: Wanted) -> None:
    give(
        "story",
        found,
        shown=[
            table(found),
            legend(found),
            goals_table(found.claims),
            f"and with engine {CHEAP}:",
            goals_table(found.claims_if_cheap),
        ],
        panels=panels(found),
        wanted=wanted,
    )


def _calibration(size: int, measured: Sequence[Sample]) -> OneCall:
    low, high = CLAIMED_ONE_CALL[size]
    in_one = [it for it in measured if (it.way, it.recipients) == (ONE_CALL, size)]
    took = [seconds for sample in in_one for seconds in sample.call_seconds]
    return OneCall(recipients=size, said_low=low, said_high=high, measured=median(took) if took else None)


def _ordered(samples: Sequence[Sample], strategies: Sequence[str]) -> list[Sample]:
    engines, ways = [ORIGINAL, CHEAP], [ONE_CALL, *strategies]

    def place(sample: Sample) -> tuple[int, int, int, bool, int]:
        engine, way = engines.index(sample.engine), ways.index(sample.way)
        return sample.recipients, engine, way, sample.again, sample.seed

    return sorted(samples, key=place)
