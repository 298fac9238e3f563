"""Profiles of the simulated engine: how its WhatsApp behaves, written in TOML.

Every table and key is optional; what is left out behaves well. See the shipped profiles beside this
module for examples.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from transports.errors import ProfileError

Share = Annotated[float, Meta(ge=0, le=1)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]
Positive = Annotated[float, Meta(gt=0, le=1e9)]


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every table of a profile has in common."""


class Latency(Part, frozen=True, kw_only=True):
    """Seconds that a call to n recipients takes: a + b n + c n^2, or by `points`, with noise and stalls.

    `points` are `[n, seconds]` in rising order, joined by straight lines, the last one prolonged if it rises.
    `noise` is the sigma of a lognormal factor with mean 1; a `stall_share` of the calls takes `stall_factor` times as
    long, or between that and `stall_factor_most` times. A call to more than `hangs_above` recipients is never answered.
    """

    a: Seconds = 0.15
    b: Seconds = 0.0008
    c: Seconds = 0.0
    points: Annotated[tuple[tuple[int, Positive], ...], Meta(max_length=1000)] = ()
    noise: Annotated[float, Meta(ge=0, le=3)] = 0.0
    stall_share: Share = 0.0
    stall_factor: Annotated[float, Meta(ge=1, le=100)] = 4.0
    stall_factor_most: Annotated[float, Meta(ge=1, le=100)] = 1.0
    hangs_above: Annotated[int, Meta(ge=1)] | None = None
    concurrency_cost: Annotated[float, Meta(ge=0, le=10)] = 0.0
    """With k calls in flight each is 1 + this x (k - 1) times as slow."""


class Timeout(Part, frozen=True, kw_only=True):
    """A call that would take longer ends after `seconds` with an unknown outcome.

    With probability `delivers` it was sent all the same.
    """

    seconds: Positive = 15.0
    delivers: Share = 0.5


class FarLimits(Part, frozen=True, kw_only=True):
    """What the far side allows: two token buckets. 0 a second is no limit."""

    calls_per_second: Seconds = 0.0
    calls_burst: Annotated[float, Meta(ge=1)] = 4.0
    recipients_per_second: Seconds = 0.0
    recipients_burst: Annotated[float, Meta(ge=1)] = 10_000.0
    refusal_seconds: Seconds = 0.12
    tells_retry_after: bool = False


class Failures(Part, frozen=True, kw_only=True):
    """A call to n recipients fails with probability 1 - exp(-(base + (n / scale)^2)); scale 0: size is no risk."""

    base: Annotated[float, Meta(ge=0, le=10)] = 0.0
    scale: Annotated[float, Meta(ge=0)] = 0.0


class Numbers(Part, frozen=True, kw_only=True):
    """Recipients that are not on WhatsApp: those listed in `dead`, and a `dead_share` of all others.

    `answer` is what a call with one of them gets: `reported` (the others are sent, the receipt names the dead ones),
    `named` (nobody is sent, the refusal names them), `unnamed` (nobody is sent, and it names none) or `failure` (it
    fails as by chance, whoever is in it).
    """

    dead: tuple[str, ...] = ()
    dead_share: Share = 0.0
    answer: Literal["reported", "named", "unnamed", "failure"] = "reported"


class Abilities(Part, frozen=True, kw_only=True):
    """What the engine can do, where it is to be less than everything.

    `contacts` is the size of the account's own audience: the numbers from +628120000001 on, of which the first is one.
    """

    reuses_message_id: bool = True
    targets_recipients: bool = True
    contacts: Annotated[int, Meta(ge=0, le=1_000_000)] = 0


class Window(Part, frozen=True, kw_only=True):
    """From `start` to `end`, in seconds since the engine was opened, and again `every` so many seconds; 0: once."""

    start: Seconds
    end: Seconds
    every: Seconds = 0.0


class Condition(Window, frozen=True, kw_only=True):
    """A time in which calls take `slower` times as long, and are `riskier` times as likely to fail."""

    slower: Positive = 1.0
    riskier: Positive = 1.0


class Profile(Part, frozen=True, kw_only=True):
    """How the simulated WhatsApp behaves. The same seed and the same calls give the same answers."""

    description: str = ""
    seed: int = 0
    latency: Latency = Latency()
    timeout: Timeout = Timeout()
    limits: FarLimits = FarLimits()
    failures: Failures = Failures()
    numbers: Numbers = Numbers()
    abilities: Abilities = Abilities()
    conditions: tuple[Condition, ...] = ()
    outages: tuple[Window, ...] = ()
    frame_limit: Annotated[int, Meta(ge=1, description="Recipients that fit in one frame.")] = 49_000
    restricted_after_calls: Annotated[int, Meta(ge=0)] | None = None
    """The account is restricted from the call after so many on."""


_SHIPPED = resources.files("transports.simulated") / "profiles"


def shipped_profiles() -> list[str]:
    """The names of the profiles that come with storycast."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in _SHIPPED.iterdir() if entry.name.endswith(".toml")
    )


def load_profile(name: str) -> Profile:
    """A shipped profile by name, or one of your own by the path of its file.

    Raises `ProfileError` that names what is wrong.
    """
    shipped = _SHIPPED / f"{name}.toml"
    try:
        text = shipped.read_text() if name in shipped_profiles() else Path(name).read_text()
        profile = msgspec.toml.decode(text, type=Profile)
    except OSError as error:
        known = ", ".join(shipped_profiles())
        raise ProfileError(f"profile {name!r}: {error.strerror}; give a file, or one of: {known}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProfileError(f"profile {name!r}: {error}") from error
    _check(profile, name)
    return profile


def _check(profile: Profile, name: str) -> None:
    sizes = [size for size, _ in profile.latency.points]
    if sizes != sorted(set(sizes)) or (sizes and sizes[0] < 1):
        raise ProfileError(f"profile {name!r}: latency.points: sizes must rise from 1 on, found {sizes}")
    for window in (*profile.conditions, *profile.outages):
        if window.end <= window.start:
            raise ProfileError(
                f"profile {name!r}: a window ends at {window.end:g}, before its start {window.start:g}"
            )
        if window.every and window.every < window.end - window.start:
            raise ProfileError(
                f"profile {name!r}: a window of {window.end - window.start:g} s cannot come every {window.every:g} s"
            )
