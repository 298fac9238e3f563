"""What is played how often, in the ordinary run and in a soak."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import trio
from msgspec import Struct

from tests.faults.checks import Outcome
from tests.faults.runs import (
    freeze_worker,
    kill_leader,
    kill_nats,
    kill_while_paused,
    kill_workers,
    long_outage,
)

AT_ONCE = 5
"""Scenes at the same time: they wait far more than they work."""


class Play(Struct, frozen=True, eq=False):
    """One scenario with so many seeds, each in a scene of its own."""

    scenario: str
    times: int
    run: Callable[[Path, int], Awaitable[Outcome]]


ORDINARY = {
    "worker": Play("worker killed", 4, kill_workers),
    "nats-server": Play("nats-server killed, back within 5 s", 3, kill_nats),
    "frozen": Play("worker frozen beyond its lease, then thawed", 1, freeze_worker),
    "leader": Play("leader of three nats-servers killed", 1, kill_leader),
    "outage": Play("nats-server away for 12 s", 1, partial(long_outage, seconds=12)),
    "paused": Play("worker killed while its story is paused", 1, kill_while_paused),
}
SOAK = {
    "worker": Play("worker killed", 50, kill_workers),
    "two workers": Play("worker killed, and the next one too", 10, partial(kill_workers, kills=2)),
    "nats-server": Play("nats-server killed, back within 5 s", 20, kill_nats),
    "frozen": Play("worker frozen beyond its lease, then thawed", 20, freeze_worker),
    "leader": Play("leader of three nats-servers killed", 10, kill_leader),
    "outage": Play("nats-server away for 60 s", 5, partial(long_outage, seconds=60)),
    "paused": Play("worker killed while its story is paused", 10, kill_while_paused),
}


def perform(plays: Sequence[Play], home: Path) -> dict[Play, list[Outcome] | Exception]:
    """Play them all, some scenes at the same time; one that fails is no trouble to the others."""
    outcomes: dict[Play, list[Outcome]] = {play: [] for play in plays}
    failures: dict[Play, Exception] = {}
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def one(play: Play, seed: int) -> None:
        async with limiter:
            try:
                outcomes[play].append(await play.run(home / f"{plays.index(play)}-{seed}", seed))
            except Exception as error:  # whoever asks for its outcomes gets it
                error.add_note(f"in: {play.scenario}, seed {seed}")
                failures[play] = error

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for play in plays:
                for seed in range(play.times):
                    nursery.start_soon(one, play, seed)

    trio.run(main)
    return {**outcomes, **failures}
