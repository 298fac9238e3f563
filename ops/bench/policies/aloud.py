"""One story under the adaptive policy with each of its decisions in words, for docs/adaptive.md."""

from __future__ import annotations

from ops.bench.markdown import table
from ops.bench.policies.worlds import drawn
from stages.policies import Adaptive
from transports.simulated.instant import Played, play
from transports.simulated.world import World

FAMILY, SEED, RECIPIENTS = "congestion", 2, 60_000


def aloud() -> str:
    """The batches of that story in order, in Markdown."""
    ending = play(RECIPIENTS, Adaptive(), World(drawn(FAMILY, SEED).profile), keep=True)
    return table(("at", "batch", "and then"), [_row(one) for one in ending.batches])


def _row(one: Played) -> tuple[str, ...]:
    return f"{one.began:.0f} s", f"{one.size:,}", one.then
