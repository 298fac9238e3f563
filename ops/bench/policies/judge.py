"""One story under one policy in one drawn world, beside the oracle's in the same world."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, structs

from ops.bench.policies.oracle import Oracle
from ops.bench.policies.peers import Aimd, Gradient, OneCall, OriginalLadder, StartsHigh, ladder, tiered
from ops.bench.policies.worlds import Setting, dead_places, drawn
from stages.history import History
from stages.policies.adaptive import Adaptive
from stages.policy import Policy
from transports.simulated.instant import Clock, Ending, Rules, play
from transports.simulated.world import World

DELIVERED = 0.99
"""A run that reaches a smaller share of the healthy recipients counts as not delivered."""
PAST = 20_000
"""Recipients of the story that a session with a past has sent before."""

POLICIES: dict[str, Callable[[], Policy]] = {
    "one call": OneCall,
    "tiers": tiered,
    "ladder": lambda: OriginalLadder(ladder()),
    "ladder, hardened": ladder,
    "ladder, hardened, from 5,000": lambda: StartsHigh(ladder()),
    "AIMD": Aimd,
    "Gradient2": Gradient,
    "adaptive": Adaptive,
}


class Run(Struct, frozen=True, kw_only=True):
    """What one story came to; `delivered` is the share of the healthy recipients, `resent` that of all."""

    seconds: float
    delivered: float
    resent: float
    calls: int
    refusals: int


def judged(name: str, family: str, total: int, seed: int, *, width: int) -> Run:
    """One run of the policy `name`."""
    setting = drawn(family, seed)
    rules = _rules(name, width)
    history = _past(name, setting, rules)
    dead = dead_places(setting, total)
    if name == "oracle":
        ending = oracle_plays(setting, total, rules, dead)
    else:
        world = World(setting.profile)
        ending = play(total, _policy(name, width), world, rules=rules, history=history, dead=dead)
    return Run(
        seconds=ending.seconds,
        delivered=ending.sent / max(1, total - len(dead)),
        resent=ending.resent / total,
        calls=ending.calls,
        refusals=ending.refusals,
    )


def _rules(name: str, width: int) -> Rules:
    largest = 2_000_000 if name == "one call" else 10_000
    return Rules(width=1 if name == "one call" else width, largest=largest, tries=1)


def _policy(name: str, width: int) -> Policy:
    policy = POLICIES[name]()
    if isinstance(policy, Adaptive):
        return structs.replace(policy, width=width)
    return policy


def _past(name: str, setting: Setting, rules: Rules) -> History:
    """What the policy remembers of the session's last story."""
    if setting.past is None or name == "oracle":
        return History()
    ending = play(PAST, _policy(name, rules.width), World(setting.past), rules=rules)
    return ending.history


def oracle_plays(setting: Setting, total: int, rules: Rules, dead: list[int]) -> Ending:
    """The oracle's story: it waits for limits that others have to run into."""
    clock = Clock()
    oracle = Oracle(setting.profile, clock, rules.largest, rules.width, 1 / rules.rate, setting.dead_share)
    rules = structs.replace(rules, foresight=True)
    return play(total, oracle, World(setting.profile), rules=rules, dead=dead, clock=clock)
