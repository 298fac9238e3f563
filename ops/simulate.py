"""`storycast simulate`: the same story under several strategies, on one screen and in no time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final, get_args

import msgspec
from msgspec import Struct, structs
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ops.exits import SUCCESS, fail
from ops.plot import Points, plotted
from ops.whatif import PLAIN, Outcome, beyond, is_smart, outcomes
from stages.options import SmartSend, Strategy
from transports.simulated import Profile, load_profile
from transports.simulated.instant import PATIENCE

STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)
MOST: Final = 10_000_000
MOST_STORIES: Final = 100
SHOWN: Final = 12
"""So many decisions are shown of a strategy that is asked for alone."""
_UNBOUND: Final = 1_000
_HEADS: Final = ("strategy", "story", "time", "sent", "failed", "batches", "refusals", "largest")


class Asked(Struct, frozen=True, kw_only=True):
    """What is to be played. Without a `seed` it is the profile's own."""

    profile: str
    recipients: int = 5_000
    strategies: Sequence[Strategy] = STRATEGIES
    stories: int = 2
    seed: int | None = None
    json: bool = False


class Simulation(Struct, frozen=True, kw_only=True, rename="camel"):
    """All that was played. The same profile, seed and settings give the same."""

    profile: str
    seed: int
    recipients: int
    stories: Sequence[Outcome]


async def simulate(asked: Asked, options: SmartSend) -> int:
    """Play it and show what came of it. Raises `ProfileError`."""
    if wrong := _out_of_range(asked):
        return fail(wrong)
    profile = load_profile(asked.profile)
    if wrong := beyond(profile):
        return fail(f"profile {asked.profile!r}: {wrong}; storycast demo plays it with a worker")
    if asked.seed is not None:
        profile = structs.replace(profile, seed=asked.seed)
    found = Simulation(
        profile=asked.profile,
        seed=profile.seed,
        recipients=asked.recipients,
        stories=_all_outcomes(asked, options, profile),
    )
    if asked.json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        _show(found, Console(highlight=False))
    return SUCCESS


def _out_of_range(asked: Asked) -> str:
    for name, value, most in (
        ("--recipients", asked.recipients, MOST),
        ("--stories", asked.stories, MOST_STORIES),
    ):
        if not 1 <= value <= most:
            return f"{name}: found {value}, allowed: 1 to {most:,}"
    return ""


def _all_outcomes(asked: Asked, options: SmartSend, profile: Profile) -> list[Outcome]:
    # Without batches all strategies are one.
    smart = is_smart(options, asked.recipients)
    strategies = tuple(dict.fromkeys(asked.strategies)) if smart else asked.strategies[:1]
    return [
        one
        for strategy in strategies
        for one in outcomes(strategy, asked.recipients, asked.stories, options, profile)
    ]


def _show(found: Simulation, console: Console) -> None:
    by_strategy = {
        strategy: list(ones) for strategy, ones in groupby(found.stories, key=lambda one: one.strategy)
    }
    console.print(_heading(found), style="dim")
    console.print(_figures(found.stories, console))
    for strategy, ones in by_strategy.items():
        console.print(Text.assemble((strategy, "bold"), f": {_last_words(ones[-1])}"))
    in_all = "the stories one after the other" if found.stories[-1].story > 1 else "the story"
    sent = {strategy: _sent(ones) for strategy, ones in by_strategy.items()}
    if chart := plotted(sent, console, title=f"recipients sent: {in_all}"):
        console.print(chart)
    if len(by_strategy) == 1 and PLAIN not in by_strategy:
        console.print(_decisions(found.stories[0]))


def _last_words(story: Outcome) -> str:
    if story.left:
        return f"nothing went through for {PATIENCE / 60:.0f} minutes, and {story.left:,} were left"
    if story.strategy == PLAIN:
        return "everybody at once: too few recipients for batches, or they are switched off"
    return f"at its end: {story.reason}" if story.reason else "it gives no reasons"


def _heading(found: Simulation) -> Text:
    return Text(f"{found.recipients:,} recipients, profile {found.profile}, seed {found.seed}")


def _figures(stories: Sequence[Outcome], console: Console) -> RenderableType:
    """A table, or a line for each story where that is too wide."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for head in _HEADS:
        shown.add_column(head, justify="left" if head == "strategy" else "right", no_wrap=True)
    for one in stories:
        shown.add_row(*_cells(one), style="" if one.left == 0 else "yellow")
    unbound = console.options.update(max_width=_UNBOUND)
    if console.measure(shown, options=unbound).maximum <= console.width:
        return shown
    return Text("\n".join(map(_line, stories)))


def _line(one: Outcome) -> str:
    name, story, *figures = _cells(one)
    told = (f"{head} {figure}" for head, figure in zip(_HEADS[2:], figures, strict=True))
    return f"{name} {story}: {', '.join(told)}"


def _cells(one: Outcome) -> Sequence[str]:
    return (
        one.strategy,
        f"{one.story}",
        f"{one.seconds:,.1f} s",
        f"{one.sent:,}",
        f"{one.failed + one.left:,}",
        f"{len(one.batches):,}",
        f"{one.refusals:,}",
        f"{one.largest_batch:,}",
    )


def _sent(stories: Sequence[Outcome]) -> Points:
    """How many had been sent when, the stories one after the other."""
    points, began, count = list[tuple[float, float]](), 0.0, 0
    for story in stories:
        went = sorted((one.began + one.seconds, one.size) for one in story.batches if one.outcome == "sent")
        for ended, size in went:
            count += size
            points.append((began + ended, count))
        began += story.seconds
        points.append((began, count))
    return points


def _decisions(story: Outcome) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="bold", title=_title(story), title_justify="left")
    for head in ("at", "size", "took", "outcome"):
        shown.add_column(head, justify="left" if head == "outcome" else "right", no_wrap=True)
    shown.add_column("then", style="dim", overflow="fold")
    for one in story.batches[:SHOWN]:
        shown.add_row(
            f"{one.began:,.1f} s", f"{one.size:,}", f"{one.seconds:.1f} s", one.outcome, Text(one.then)
        )
    return shown


def _title(story: Outcome) -> str:
    return f"the first {min(SHOWN, len(story.batches))} of {len(story.batches):,} batches of story 1"
