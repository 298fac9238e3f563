"""An honest check of the oracle: the best fixed size there was, which is known only afterwards, in the same world."""

from __future__ import annotations

from typing import Final

from ops.bench.policies.judge import run_of
from ops.bench.policies.worlds import Setting, dead_places
from stages.policies import Fixed
from transports.simulated.instant import Rules, play
from transports.simulated.world import World

SIZES: Final = (250, 500, 750, 1_000, 1_500, 2_000, 3_000, 4_000, 5_000, 6_500, 8_000, 10_000)


def best_fixed(setting: Setting, total: int, *, width: int) -> float:
    """Seconds of the story to `total` with the fixed size that does best; infinite if none delivers."""
    dead = dead_places(setting, total)
    rules = Rules(width=width, tries=1)

    def seconds(size: int) -> float:
        ending = play(total, Fixed(size), World(setting.profile), rules=rules, dead=dead)
        return run_of(ending, total, len(dead)).time

    return min(seconds(size) for size in SIZES)
