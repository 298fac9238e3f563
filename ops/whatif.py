"""What would happen: the same stories under several strategies, played in virtual time by a profile's rules.

What a worker does with the same settings, without one: batch policy, anchor, pacing, retries and what a session learns
from one story to the next. A story begins when the engine is opened, so a profile's conditions come in each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from msgspec import Struct, structs

from stages.cadence import NO_LIMIT
from stages.history import History
from stages.options import SmartSend, Strategy
from stages.policies import Fixed, policy_for
from stages.policy import Policy
from transports.simulated import Profile
from transports.simulated.instant import Ending, Played, Rules, play
from transports.simulated.world import World

PLAIN = "plain"
"""Instead of a strategy's name: too few recipients for batches, or they are switched off."""


class Outcome(Struct, frozen=True, kw_only=True, rename="camel"):
    """What one story came to. `left` were not sent to when the session was stopped; `calls` counts refused ones too."""

    strategy: str
    story: int
    seconds: float
    sent: int
    failed: int
    left: int
    calls: int
    refusals: int
    largest_batch: int
    reason: str
    """What the strategy says at its end."""
    batches: Sequence[Played]


def outcomes(
    strategy: Strategy, total: int, stories: int, options: SmartSend, profile: Profile
) -> Iterator[Outcome]:
    """Stories to `total` recipients, one after the other in one session; chance differs from one to the next."""
    options = structs.replace(options, strategy=strategy)
    name = strategy if is_smart(options, total) else PLAIN
    dead, history = _dead(profile, total), History()
    for place in range(stories):
        ending = _played(total, options, structs.replace(profile, seed=profile.seed + place), history, dead)
        # Where the receipt names them their batch is sent all the same.
        unreached = round(len(dead) * ending.sent / total) if _are_reported(profile) else 0
        yield _outcome(name, place + 1, total, ending, unreached)
        history = ending.history if options.enable_learning else history


def beyond(profile: Profile) -> str:
    """What of `profile` cannot be played here, as field, what was found and what is allowed; empty if nothing."""
    numbers = profile.numbers
    if numbers.dead_share and numbers.answer in {"named", "unnamed"}:
        return f"numbers.answer: found {numbers.answer!r}, allowed here: 'reported', 'failure'"
    if profile.restricted_after_calls is not None:
        return f"restricted_after_calls: found {profile.restricted_after_calls}, allowed here: none"
    if not profile.abilities.targets_recipients:
        return "abilities.targets_recipients: found false, allowed here: true"
    return ""


def is_smart(options: SmartSend, total: int) -> bool:
    """Whether a story to `total` recipients is anchored and sent in batches."""
    return options.enabled and total >= options.min_recipients


def rules_for(options: SmartSend, profile: Profile, total: int) -> Rules:
    """What holds for a story whatever its strategy."""
    smart = is_smart(options, total)
    return Rules(
        largest=min(options.max_batch_size, profile.frame_limit),
        rate=options.max_batches_per_second,
        pause=options.batch_delay / 1000,
        width=options.max_concurrent if smart else 1,
        retries=options.max_retries,
        anchored=smart,
    )


def _played(
    total: int, options: SmartSend, profile: Profile, history: History, dead: Sequence[int]
) -> Ending:
    rules = rules_for(options, profile, total)
    return play(
        total,
        _policy(options, rules, total),
        World(profile),
        rules=rules,
        history=history,
        pace=history.belief.pace if history.belief else NO_LIMIT,
        dead=() if _are_reported(profile) else dead,
        keep=True,
    )


def _are_reported(profile: Profile) -> bool:
    return profile.numbers.answer == "reported"


def _policy(options: SmartSend, rules: Rules, total: int) -> Policy:
    if not is_smart(options, total):
        return Fixed(rules.largest)
    return policy_for(options, largest=rules.largest)


def _dead(profile: Profile, total: int) -> list[int]:
    """The places of recipients that are not on WhatsApp: the same for each story, for it goes to the same people."""
    share, random = profile.numbers.dead_share, Random(f"dead/{profile.seed}").random
    return [place for place in range(total) if random() < share] if share else []


def _outcome(strategy: str, story: int, total: int, ending: Ending, unreached: int) -> Outcome:
    return Outcome(
        strategy=strategy,
        story=story,
        seconds=ending.seconds,
        sent=ending.sent - unreached,
        failed=ending.failed + unreached,
        left=total - ending.sent - ending.failed,
        calls=ending.calls,
        refusals=ending.refusals,
        largest_batch=max((batch.size for batch in ending.batches if batch.outcome == "sent"), default=0),
        reason=next((batch.then for batch in reversed(ending.batches) if batch.then), ""),
        batches=ending.batches,
    )
