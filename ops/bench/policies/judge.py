"""One story under one policy in one drawn world, beside the oracle's in the same world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct, structs

from ops.bench.policies.oracle import Oracle
from ops.bench.policies.peers import Aimd, Gradient, OneCall, OriginalLadder, StartsHigh, ladder, tiered
from ops.bench.policies.worlds import Setting, dead_places
from stages.cadence import NO_LIMIT
from stages.history import History
from stages.policies.adaptive import Adaptive
from stages.policy import Policy
from transports.simulated.instant import Clock, Ending, Rules, play
from transports.simulated.world import World

DELIVERED: Final = 0.99
"""A run that reaches a smaller share of the healthy recipients counts as not delivered."""
PAST: Final = 20_000
"""Recipients of the story that a session with a past has sent before."""

ORACLE: Final = "oracle"
ONE_CALL: Final = "one call"
TIERS: Final = "tiers"
LADDER: Final = "ladder"
ADAPTIVE: Final = "adaptive"

POLICIES: Final[Mapping[str, Callable[[], Policy]]] = {
    ONE_CALL: OneCall,
    TIERS: tiered,
    LADDER: lambda: OriginalLadder(ladder()),
    "ladder, hardened": ladder,
    "ladder, hardened, from 5,000": lambda: StartsHigh(ladder()),
    "AIMD": Aimd,
    "Gradient2": Gradient,
    ADAPTIVE: Adaptive,
}
_WHOLE: Final = 2_000_000
"""One call may hold as many."""


class Run(Struct, frozen=True, kw_only=True):
    """What one story came to; `delivered` is the share of the healthy recipients, `resent` that of all."""

    seconds: float
    delivered: float
    resent: float
    calls: int
    refusals: int

    @property
    def time(self) -> float:
        """Seconds until it was delivered: without end if it never was."""
        return self.seconds if self.delivered >= DELIVERED else float("inf")


def judged(name: str, setting: Setting, total: int, *, width: int) -> Run:
    """A story to `total` recipients under the policy `name`, or the oracle, with `width` calls under way at most."""
    rules, dead = rules_of(name, width), dead_places(setting, total)
    if name == ORACLE:
        ending = _foreseen(setting, total, rules, dead)
    else:
        history = _past(name, setting, rules)
        ending = play(
            total,
            policy_named(name, width),
            World(setting.profile),
            rules=rules,
            history=history,
            pace=history.belief.pace if history.belief else NO_LIMIT,  # as a worker goes on with it
            dead=dead,
        )
    return run_of(ending, total, len(dead))


def run_of(ending: Ending, total: int, dead: int) -> Run:
    """The figures of a story that was played to `total` recipients, `dead` of whom cannot be reached."""
    return Run(
        seconds=ending.seconds,
        delivered=ending.sent / max(1, total - dead),
        resent=ending.resent / total,
        calls=ending.calls,
        refusals=ending.refusals,
    )


def policy_named(name: str, width: int) -> Policy:
    """The policy `name`, for at most `width` calls under way."""
    policy = POLICIES[name]()
    return structs.replace(policy, width=width) if isinstance(policy, Adaptive) else policy


def rules_of(name: str, width: int) -> Rules:
    """What holds for a story under the policy `name`, with `width` calls under way at most."""
    return Rules(width=1, largest=_WHOLE, tries=1) if name == ONE_CALL else Rules(width=width, tries=1)


def _past(name: str, setting: Setting, rules: Rules) -> History:
    """What the policy remembers of the session's last story."""
    if setting.past is None:
        return History()
    return play(PAST, policy_named(name, rules.width), World(setting.past), rules=rules).history


def _foreseen(setting: Setting, total: int, rules: Rules, dead: list[int]) -> Ending:
    """The oracle's story: it waits for limits that others have to run into."""
    clock = Clock()
    oracle = Oracle(setting.profile, clock, rules.largest, rules.width, 1 / rules.rate, setting.dead_share)
    rules = structs.replace(rules, foresight=True)
    return play(total, oracle, World(setting.profile), rules=rules, dead=dead, clock=clock)
