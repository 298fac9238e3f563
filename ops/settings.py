"""`storycast settings`: every setting, its value, and where that came from."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ops.exits import SUCCESS
from pipeline.resolution import unknown_variables
from pipeline.settings import Settings


def print_settings(settings: Settings, environ: Mapping[str, str], *, session: str | None, json: bool) -> int:
    """Print them as a table or as JSON; with `session`, the sending options as that session has them."""
    shown = settings if session is None else settings.seen_by(session)
    if json:
        print(msgspec.json.format(msgspec.json.encode(shown.listed())).decode())
        return SUCCESS
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("setting", "value", "from", "what it is"):
        table.add_column(
            heading, overflow="fold", no_wrap=heading == "setting"
        )  # names are searched for and copied
    for setting in shown.listed():
        style = "" if setting.source == "default" else "bold"
        table.add_row(
            Text(setting.env, style=style),
            Text(setting.value, style=style),
            setting.source,
            Text(setting.description),
        )
    console.print(table)
    for name in unknown_variables(environ):
        Console(stderr=True).print(
            f"warning: {name} is in the environment, but is no setting", style="yellow"
        )
    return SUCCESS
