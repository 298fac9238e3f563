"""Lines over time in the terminal, in characters: in colours where there are any, else by letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.text import Text

WIDEST: Final = 80
NARROWEST: Final = 30
"""Columns: below that nothing can be read from a chart."""
HIGH: Final = 16
"""Rows."""
_TICKS: Final = 4
_LONG: Final = 100
"""Seconds, from which on nobody asks for tenths."""
_MOST_POINTS: Final = 500

Points = Sequence[tuple[float, float]]


def plotted(series: Mapping[str, Points], console: Console, *, title: str) -> Text | None:
    """A chart of `series` by their names, as wide as `console` allows; None if that is too narrow.

    Points are `(seconds, count)` in rising order, and counts stay as they are until the next one.
    """
    width = min(WIDEST, console.width)
    if width < NARROWEST:
        return None
    in_colour = console.is_terminal and not console.no_color
    drawn = _drawn(series, width, title, in_colour=in_colour)
    return Text.from_ansi("\n".join(line.rstrip() for line in drawn.splitlines()), no_wrap=True)


def _drawn(series: Mapping[str, Points], width: int, title: str, *, in_colour: bool) -> str:
    # Here and nowhere else: commands that draw nothing start without it.
    import plotext

    plotext.clear_figure()
    plotext.theme("pro" if in_colour else "clear")
    plotext.limit_size(False, False)  # how much room there is `console` knows
    plotext.plot_size(width, HIGH)
    plotext.title(title)
    plotext.xlabel("seconds")
    for name, points in series.items():
        steps = _steps(_thinned(points))
        marker = "braille" if in_colour else name[0]
        plotext.plot([x for x, _ in steps], [y for _, y in steps], label=name, marker=marker)
    longest = max((x for points in series.values() for x, _ in points), default=0)
    most = max((y for points in series.values() for _, y in points), default=0)
    form = "{:,.0f}" if longest >= _LONG else "{:.1f}"
    plotext.xticks(_ticks(longest), [form.format(tick) for tick in _ticks(longest)])
    plotext.yticks(_ticks(most), [f"{tick:,.0f}" for tick in _ticks(most)])
    plotext.ylim(0, most or 1)
    built: str = plotext.build()
    return built if in_colour else plotext.uncolorize(built)


def _ticks(most: float) -> Sequence[float]:
    return [most * place / _TICKS for place in range(_TICKS + 1)]


def _steps(points: Points) -> Points:
    """The points with the corners of the steps between them."""
    steps, before = [(0.0, 0.0)], 0.0
    for x, y in points:
        steps += [(x, before), (x, y)]
        before = y
    return steps


def _thinned(points: Points) -> Points:
    """No more points than can be told apart, the last one among them."""
    every = -(-len(points) // _MOST_POINTS) if points else 1
    return [*points[:-1:every], *points[-1:]]
