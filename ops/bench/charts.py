"""Charts of what was measured, as SVG: the same figures always give the same bytes.

A chart is described by plain data (`Bars`, `Lines`). Only drawing it needs matplotlib, which is imported then.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import cycle
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from ops.exits import NotInstalled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INSTALL: Final = "pip install 'storycast[bench]'"
COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999")
"""Those of Okabe and Ito: told apart by the colour-blind too."""
_GOAL_COLOUR: Final = "#b00020"
_WIDE: Final = 6.4
_HIGH: Final = 3.9
"""Inches of one panel."""
_ROOM: Final = 1.35
"""Above the highest value: for what is written there, and for the legend."""
_PLAIN: Final = {"Date": None, "Creator": None}


class GoalLine(Struct, frozen=True, kw_only=True):
    """A line across a panel: what the values are to stay below, or above, as `label` says."""

    value: float
    label: str


class Bars(Struct, frozen=True, kw_only=True):
    """Grouped bars with their values above them; None is a bar that is not there.

    `series` are the bars of each group by their names, with a value for each of `groups`. `form` is how a value
    is written, in the language of `str.format`.
    """

    title: str
    y_label: str
    groups: Sequence[str]
    series: Mapping[str, Sequence[float | None]]
    form: str = "{:.2f}"
    goal: GoalLine | None = None


class Lines(Struct, frozen=True, kw_only=True):
    """Lines over a logarithmic x axis; `series` are points `(x, y)` by the names of the lines."""

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, Sequence[tuple[float, float]]]
    log_y: bool = False
    goal: GoalLine | None = None


Panel = Bars | Lines


def require() -> None:
    """Raise `NotInstalled`, which says how to install it, if there is no matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        raise NotInstalled(f"charts need matplotlib, which is not installed: {INSTALL}")


def svg(panels: Sequence[Panel], *, title: str, note: str = "") -> bytes:
    """The panels, two in a row, under a title and above a note. Raises `NotInstalled`."""
    require()
    # Here and nowhere else: whoever draws nothing needs no matplotlib.
    from matplotlib.figure import Figure

    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    written = io.BytesIO()
    with _style():
        figure = Figure(figsize=(_WIDE * columns, _HIGH * rows + 0.5), layout="constrained")
        figure.suptitle(title, fontweight="bold")
        for place, panel in enumerate(panels):
            _draw(figure.add_subplot(rows, columns, place + 1), panel)
        if note:
            figure.supxlabel(note, fontsize=7, color="#555555")
        figure.savefig(written, format="svg", metadata=_PLAIN)
    return written.getvalue()


def _style() -> AbstractContextManager[None]:
    from matplotlib import rc_context

    return rc_context(
        {
            "svg.hashsalt": "storycast",  # ids of elements are random otherwise
            "font.size": 9,
            "axes.titlesize": 10,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "axes.axisbelow": True,
            "grid.color": "#dddddd",
        }
    )


def _draw(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title)
    axes.set_ylabel(panel.y_label)
    if isinstance(panel, Bars):
        _bars(axes, panel)
    else:
        _lines(axes, panel)
    if panel.goal:
        axes.axhline(
            panel.goal.value, color=_GOAL_COLOUR, linestyle="--", linewidth=1.2, label=panel.goal.label
        )
    if len(panel.series) > 1 or panel.goal:
        axes.legend(fontsize=8, framealpha=0.9)


def _bars(axes: Axes, panel: Bars) -> None:
    width = 0.8 / len(panel.series)
    for place, (name, values) in enumerate(panel.series.items()):
        left = (place - (len(panel.series) - 1) / 2) * width
        present = [(group + left, value) for group, value in enumerate(values) if value is not None]
        drawn = axes.bar(
            [x for x, _ in present],
            [y for _, y in present],
            width * 0.94,
            label=name,
            color=COLOURS[place % len(COLOURS)],
        )
        axes.bar_label(drawn, labels=[panel.form.format(y) for _, y in present], fontsize=7, padding=1.5)
    axes.set_xticks(range(len(panel.groups)), panel.groups)
    axes.set_xlim(-0.5, len(panel.groups) - 0.5)  # groups whose bars are all missing keep their room
    heights = [value for values in panel.series.values() for value in values if value is not None]
    top = max([*heights, panel.goal.value if panel.goal else 0.0])
    axes.set_ylim(0, top * _ROOM)


def _lines(axes: Axes, panel: Lines) -> None:
    for (name, points), colour in zip(panel.series.items(), cycle(COLOURS), strict=False):
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=name, color=colour)
    axes.set_xscale("log")
    axes.set_xlabel(panel.x_label)
    axes.xaxis.set_major_formatter(_written)
    if panel.log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_written)
        axes.yaxis.set_minor_formatter("")
        return
    top = max(
        [y for points in panel.series.values() for _, y in points] + [panel.goal.value if panel.goal else 0]
    )
    axes.set_ylim(0, top * _ROOM)


def _written(value: float, _place: float | None = None) -> str:
    """A tick of a logarithmic axis without powers of ten."""
    return f"{value:,.12g}"
