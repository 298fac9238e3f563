"""How long the adaptive policy takes for a decision: told as information, for it is another time on each machine.

It is processor time: a decision waits for nothing, and what else runs on the machine is not to be counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import thread_time

from msgspec import Struct

from ops.bench.policies.judge import ADAPTIVE, policy_named, rules_of
from ops.bench.policies.worlds import dead_places, drawn
from stages.history import History
from stages.policy import Decision, Policy, Sample
from transports.simulated.instant import play
from transports.simulated.world import World


class Watched(Struct):
    """A policy beside a stopwatch: `took` has the processor's seconds for each of its decisions."""

    policy: Policy
    took: list[float]

    def first(self, total: int, history: History) -> Decision:
        """As the policy."""
        return self._timed(lambda: self.policy.first(total, history))

    def next(self, size: int, sample: Sample, history: History) -> Decision:
        """As the policy."""
        return self._timed(lambda: self.policy.next(size, sample, history))

    def _timed(self, decide: Callable[[], Decision]) -> Decision:
        began = thread_time()
        decision = decide()
        self.took.append(thread_time() - began)
        return decision


def decision_times(family: str, total: int, seed: int, *, width: int) -> Sequence[float]:
    """Processor seconds of each decision of the adaptive policy in one story."""
    setting, watched = drawn(family, seed), Watched(policy_named(ADAPTIVE, width), [])
    play(
        total,
        watched,
        World(setting.profile),
        rules=rules_of(ADAPTIVE, width),
        dead=dead_places(setting, total),
    )
    return watched.took
