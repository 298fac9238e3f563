"""The commands of `storycast bench`. Each only reads its options; the work is in the module named after it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from ops.bench.latency import MOST_SAMPLES, MOST_WAITING, latency
from ops.bench.output import Wanted
from ops.bench.overhead import MOST_RECIPIENTS, MOST_RUNS, overhead
from ops.bench.policies.command import MOST_SEEDS as MOST_POLICY_SEEDS
from ops.bench.policies.command import QUICK_SEEDS, SEEDS, families_in, policies
from ops.bench.policies.command import sizes_in as policy_sizes_in
from ops.bench.policies.grid import Grid
from ops.bench.policies.worlds import SIZES
from ops.bench.scale import scale, sizes_in
from ops.bench.story import KNOWN, MOST_SEEDS, story, strategies_in
from ops.bench.story import sizes_in as story_sizes_in
from ops.bench.throughput import MOST_ROUNDS, MOST_SESSIONS, MOST_STORIES, throughput
from ops.bench.whatsapp import MOST_REPEATS, contacts_in, whatsapp
from ops.exits import run
from ops.parameters import Json

Out = Annotated[
    Path | None,
    Parameter(name="--out", help="A folder for the result as <part>.json, and its chart as <part>.svg."),
]

app = App(name="bench", help="Measure storycast on this machine, with servers of its own.")


@app.command(name="scale")
def scale_command(
    *,
    sizes: Annotated[str, Parameter(help="Numbers of recipients, comma-separated.")] = "10000,100000,1000000",
    json: Json = False,
    out: Out = None,
) -> int:
    """Send a story to longer and longer lists: what each recipient costs in time and memory."""
    return run(partial(scale, sizes_in(sizes), Wanted(json=json, out=out)))


@app.command(name="overhead")
def overhead_command(
    *,
    recipients: Annotated[
        int, Parameter(validator=Number(gte=100, lte=MOST_RECIPIENTS), help="How many the story goes to.")
    ] = 50_000,
    runs: Annotated[
        int, Parameter(validator=Number(gte=1, lte=MOST_RUNS), help="How many stories; medians are shown.")
    ] = 5,
    json: Json = False,
    out: Out = None,
) -> int:
    """Send a story as it comes: how much longer it takes than its engine calls and its pacing."""
    return run(partial(overhead, recipients, runs, Wanted(json=json, out=out)))


@app.command(name="story")
def story_command(
    *,
    sizes: Annotated[str, Parameter(help="Numbers of recipients, comma-separated.")] = "3000,10000,50000",
    strategies: Annotated[str, Parameter(help="Strategies, comma-separated.")] = ",".join(KNOWN),
    seeds: Annotated[
        int, Parameter(validator=Number(gte=1, lte=MOST_SEEDS), help="How many seeds of the engine.")
    ] = 9,
    json: Json = False,
    out: Out = None,
) -> int:
    """Send whole stories in one call and in batches, to an engine by the figures of the original system."""
    wanted = Wanted(json=json, out=out)
    return run(partial(story, story_sizes_in(sizes), strategies_in(strategies), seeds, wanted))


@app.command(name="policies")
def policies_command(
    *,
    seeds: Annotated[
        int | None,
        Parameter(
            validator=Number(gte=1, lte=MOST_POLICY_SEEDS),
            help=f"Worlds of each family and size; {SEEDS} without it, with --quick {QUICK_SEEDS}.",
        ),
    ] = None,
    quick: Annotated[bool, Parameter(negative="", help="Few worlds: less than a minute.")] = False,
    sizes: Annotated[str, Parameter(help="Numbers of recipients, comma-separated.")] = ",".join(
        map(str, SIZES)
    ),
    family: Annotated[
        list[str] | None, Parameter(help="Only worlds of this family; may be given several times.")
    ] = None,
    json: Json = False,
    out: Out = None,
) -> int:
    """Play stories under every batch policy in worlds drawn by seed: how near each comes to an oracle."""
    grid = Grid(
        families=families_in(family or ()),
        sizes=policy_sizes_in(sizes),
        seeds=seeds or (QUICK_SEEDS if quick else SEEDS),
    )
    return run(partial(policies, grid, Wanted(json=json, out=out)))


@app.command(name="whatsapp")
def whatsapp_command(
    *,
    contacts: Annotated[
        str, Parameter(help="Numbers of contacts, comma-separated.")
    ] = "100,1000,3000,10000,50000",
    repeats: Annotated[
        int, Parameter(validator=Number(gte=1, lte=MOST_REPEATS), help="How many times; medians are shown.")
    ] = 3,
    json: Json = False,
) -> int:
    """Send stories with the real client library to a WhatsApp on loopback: one call to all against anchored batches.

    It runs in a checkout that has the test extra installed.
    """
    return run(partial(whatsapp, contacts_in(contacts), repeats, json=json))


@app.command(name="throughput")
def throughput_command(
    *,
    stories: Annotated[
        int,
        Parameter(validator=Number(gte=1, lte=MOST_STORIES), help="Stories of one recipient in each round."),
    ] = 10_000,
    sessions: Annotated[
        int, Parameter(validator=Number(gte=1, lte=MOST_SESSIONS), help="Sessions that they are spread over.")
    ] = 1_000,
    rounds: Annotated[
        int, Parameter(validator=Number(gte=1, lte=MOST_ROUNDS), help="How many times; medians are compared.")
    ] = 5,
    json: Json = False,
    out: Out = None,
) -> int:
    """Count stories per second beside plain nats-py, and a FastStream app, that do the same on NATS.

    FastStream takes part where it is installed: `pip install storycast[peers]`.
    """
    return run(partial(throughput, stories, sessions, rounds, Wanted(json=json, out=out)))


@app.command(name="latency")
def latency_command(
    *,
    samples: Annotated[
        int, Parameter(validator=Number(gte=1, lte=MOST_SAMPLES), help="Stories measured in each situation.")
    ] = 300,
    waiting: Annotated[
        int, Parameter(validator=Number(gte=10, lte=MOST_WAITING), help="Bulk stories that wait meanwhile.")
    ] = 8_000,
    json: Json = False,
    out: Out = None,
) -> int:
    """Time stories from publish to the engine call for their anchor, in NATS round trips: idle, and with a backlog."""
    return run(partial(latency, samples, waiting, Wanted(json=json, out=out)))
