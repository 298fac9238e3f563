"""How every part of `storycast bench` gives its result: a table for people, JSON for machines, and files.

A part is measured into one frozen Struct. In its command:

    wanted.check()                 # before anything is measured
    say = wanted.console()         # for progress
    ...
    give("scale", result, shown=[table(result), legend(result)], panels=panels(result), wanted=wanted)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import Struct
from rich.console import Console, RenderableType

from ops.bench import charts
from ops.bench.charts import Panel
from ops.bench.machine import Machine, in_words
from stages.errors import StorycastError

R = TypeVar("R")
_WIDE: Final = 140
"""Columns."""


class Unwritable(StorycastError):
    """A file with a result cannot be written."""


class Result(Struct, frozen=True, kw_only=True, rename="camel"):
    """What the result of every part has."""

    machine: Machine


class Wanted(Struct, frozen=True, kw_only=True):
    """What the result is to come as: JSON on stdout instead of a table, and files in a folder besides."""

    json: bool = False
    out: Path | None = None

    def check(self) -> None:
        """Raise what would keep the result from being written: `NotInstalled`, `Unwritable`.

        To be called first: nobody wants to hear it after minutes of measuring.
        """
        if self.out is not None:
            charts.require()
            _made(self.out)

    def console(self) -> Console:
        """Where people see what is going on; with JSON on stdout that is stderr."""
        console = Console(stderr=self.json, highlight=False, soft_wrap=True)
        if not console.is_terminal:  # a file or a pipe has no width that tables must keep to
            console.width = max(console.width, _WIDE)
        return console


def give(
    part: str, result: Result, *, shown: Sequence[RenderableType], panels: Sequence[Panel], wanted: Wanted
) -> None:
    """Print what `wanted` says, and write the files. Texts in `shown` are the small print beside tables."""
    if wanted.json:
        print(encoded(result).decode(), end="")
    else:
        for each in shown:
            wanted.console().print(each, style="dim" if isinstance(each, str) else None)
    if wanted.out is not None:
        write(part, result, panels, wanted.out)


def write(part: str, result: Result, panels: Sequence[Panel], folder: Path) -> None:
    """`<part>.json` with the result and `<part>.svg` with the chart, in `folder`, which is made if missing.

    Raises `NotInstalled` without matplotlib, before anything is written, and `Unwritable`.
    """
    drawn = charts.svg(panels, title=f"storycast bench {part}", note=in_words(result.machine))
    _made(folder)
    try:
        (folder / f"{part}.json").write_bytes(encoded(result))
        (folder / f"{part}.svg").write_bytes(drawn)
    except OSError as error:
        raise Unwritable(f"{error.filename}: {error.strerror}") from error


def encoded(result: Result) -> bytes:
    """A result as JSON that people can read too."""
    return msgspec.json.format(msgspec.json.encode(result)) + b"\n"


def read(path: Path, kind: type[R]) -> R:
    """The result that `write` put there."""
    return msgspec.json.decode(path.read_bytes(), type=kind)


def _made(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unwritable(f"{folder}: {error.strerror}") from error
