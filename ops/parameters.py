"""Options that commands have in common, and the settings that follow from them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pipeline.resolution import load_settings
from pipeline.settings import Settings

Json = Annotated[bool, Parameter(name="--json", negative="", help="Machine-readable output on stdout.")]
Url = Annotated[str | None, Parameter(name="--url", help="The NATS server; instead of STORYCAST_URL.")]
Config = Annotated[
    Path | None, Parameter(name="--config", help="Settings file; instead of ./storycast.toml.")
]


Grace = Annotated[
    float | None,
    Parameter(
        name="--grace", help="Seconds that calls under way get at the end; instead of STORYCAST_GRACE."
    ),
]
Owner = Annotated[str, Parameter(help="The story's session.")]
StoryName = Annotated[str, Parameter(help="The story's id.")]
Session = Annotated[str, Parameter(name="--session", help="The session (linked account) that sends.")]


def settings_for(config: Path | None, url: str | None, grace: float | None = None) -> Settings:
    """The settings with what the command line says over the environment. Raises `SettingsError`."""
    given = {"STORYCAST_URL": url, "STORYCAST_GRACE": None if grace is None else f"{grace:g}"}
    return load_settings({**os.environ, **{name: value for name, value in given.items() if value}}, config)
