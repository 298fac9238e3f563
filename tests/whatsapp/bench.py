"""What anchoring costs: one call to all contacts against anchored batches, over the real library.

    python -m tests.whatsapp.bench [--contacts 100,1000] [--repeats 3]

prints JSON. Each repetition takes every size in turn, and for each size two accounts that know nobody yet: one sends
its first story in one call, the other one anchored. Then both ways are taken by both accounts, one after the other.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import product
from statistics import median, median_low

import msgspec

from ops.bench.whatsapp_figures import Comparison, Cost, Load, Machine, Ratio, Refusal, Size, State, Whatsapp
from ops.exits import SUCCESS, run
from ops.serve import interruptible
from stages.errors import EngineFailure
from tests.whatsapp import cpu
from tests.whatsapp.measuring import Measured, Sample, Stopwatch, Way, calls_of
from tests.whatsapp.rig import open_rig

TIMEOUT = 85.0
BOTH: tuple[Way, Way] = ("traditional", "anchored")


@dataclass
class Found:
    """All samples of one size."""

    contacts: int
    pairs: dict[State, list[dict[Way, Sample]]] = field(default_factory=lambda: defaultdict(list))
    refused: str = ""
    """What the engine said if one call to all cannot be made; then nothing else is tried."""
    ciphertexts: int = 0
    repeated: int = 0


async def bench(contacts: Sequence[int], repeats: int) -> Whatsapp:
    """Measure each number of contacts so many times."""
    began, before = time.monotonic(), os.getloadavg()[0]
    ours, all_work = cpu.used_here(), cpu.used_in_all()
    found = [Found(size) for size in contacts]
    for repeat, one in product(range(repeats), found):
        if one.refused:
            continue
        print(f"repetition {repeat + 1} of {repeats}: {one.contacts:,} contacts", file=sys.stderr, flush=True)
        try:
            await _repeat(one, repeat)
        except EngineFailure as failure:
            one.refused = str(failure)
    seconds = time.monotonic() - began
    others = (cpu.used_in_all() - all_work) - (cpu.used_here() - ours)
    return Whatsapp(
        machine=_machine(),
        load=Load(before=before, after=os.getloadavg()[0], other_cores=max(0.0, others / seconds)),
        repeats=repeats,
        seconds=seconds,
        sizes=[_size(one) for one in found if not one.refused],
        refused=[Refusal(contacts=one.contacts, error=one.refused) for one in found if one.refused],
    )


async def _repeat(found: Found, repeat: int) -> None:
    ways = BOTH if repeat % 2 == 0 else BOTH[::-1]
    new = {way: await _account(found, way, ways, answers=way == ways[0]) for way in ways}
    found.pairs["new"].append(new)


async def _account(found: Found, first: Way, ways: Sequence[Way], *, answers: bool) -> Sample:
    """The first story of an account in one way; later ones, in both, go to `found`."""
    async with _open(found.contacts) as measured:
        new = await measured.story(first)
        found.pairs["standing"].append({way: await measured.story(way) for way in ways})
        if answers:
            await measured.everybody_answers()
            found.pairs["answered"].append({way: await measured.story(way) for way in ways})
        _count(found, measured)
    return new


@asynccontextmanager
async def _open(contacts: int) -> AsyncIterator[Measured]:
    async with open_rig(timeout=TIMEOUT, contacts=contacts) as rig:
        people, stopwatch = rig.people(contacts), Stopwatch()
        rig.whatsapp.world.faults = stopwatch
        for jid in people:  # their keys are made before anything is measured
            rig.whatsapp.world.device(jid)
        async with rig.open() as engine:
            yield Measured(rig, engine, stopwatch, people)


def _count(found: Found, measured: Measured) -> None:
    posts = measured.rig.whatsapp.world.ledger.posts
    contents = [enc.content for post in posts for enc in (*post.to.values(), post.to_all)]
    found.ciphertexts += len(contents)
    found.repeated += len(contents) - len(set(contents))


def _size(found: Found) -> Size:
    anchored = found.pairs["new"][0]["anchored"]
    return Size(
        contacts=found.contacts,
        calls=[len(call) for call in calls_of("anchored", range(found.contacts))],
        states=[
            _comparison(state, found.pairs[state], found.contacts)
            for state in ("new", "standing", "answered")
        ],
        ciphertexts=found.ciphertexts,
        repeated=found.repeated,
        message_ids=len(anchored.message_ids),
    )


def _comparison(state: State, pairs: Sequence[dict[Way, Sample]], contacts: int) -> Comparison:
    return Comparison(
        state=state,
        traditional=_cost([pair["traditional"] for pair in pairs], contacts),
        anchored=_cost([pair["anchored"] for pair in pairs], contacts),
        time=_ratio(pairs, lambda sample: sample.seconds),
        posting=_ratio(pairs, lambda sample: sample.posting.seconds),
        posting_cpu=_ratio(pairs, lambda sample: sample.posting.cpu_seconds),
        client_cpu=_ratio(pairs, lambda sample: sample.client_cpu_seconds),
        size=_ratio(pairs, lambda sample: sum(sample.stanza_bytes)),
    )


def _cost(samples: Sequence[Sample], contacts: int) -> Cost:
    seconds = median(sample.seconds for sample in samples)
    stanzas = [median_low(sizes) for sizes in zip(*(sample.stanza_bytes for sample in samples), strict=True)]
    return Cost(
        samples=len(samples),
        seconds=seconds,
        posting_seconds=median(sample.posting.seconds for sample in samples),
        posting_cpu_seconds=median(sample.posting.cpu_seconds for sample in samples),
        micros_per_recipient=seconds / contacts * 1e6,
        client_cpu_seconds=median(sample.client_cpu_seconds for sample in samples),
        server_cpu_seconds=median(sample.server_cpu_seconds for sample in samples),
        stanza_bytes=stanzas,
        bytes_per_recipient=sum(stanzas) / contacts,
        pkmsg=samples[0].pkmsg,
        msg=samples[0].msg,
    )


def _ratio(pairs: Sequence[dict[Way, Sample]], figure: Callable[[Sample], float]) -> Ratio:
    ratios = [figure(pair["anchored"]) / figure(pair["traditional"]) for pair in pairs]
    return Ratio(median=median(ratios), low=min(ratios), high=max(ratios))


def _machine() -> Machine:
    return Machine(
        cpu=cpu.model(),
        cores=os.cpu_count() or 1,
        system=platform.system(),
        python=platform.python_version(),
        neonize=version("neonize"),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.whatsapp.bench")
    parser.add_argument(
        "--contacts", type=lambda text: [int(part) for part in text.split(",")], default=[100, 1000]
    )
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    logging.getLogger("storycast").addHandler(
        logging.NullHandler()
    )  # what the library prints says nothing here
    return run(partial(_print, sorted(set(given.contacts)), given.repeats))


async def _print(contacts: Sequence[int], repeats: int) -> int:
    async with interruptible():
        found = await bench(contacts, repeats)
    print(msgspec.json.format(msgspec.json.encode(found)).decode())
    return SUCCESS


if __name__ == "__main__":
    sys.exit(main())
