"""Profiles of the simulated engine, varied for a benchmark and written to a file that a worker reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import structs

from transports.simulated.profile import Failures, Profile, load_profile

ORIGINAL: Final = "original"
"""The shipped profile that goes by what the original system said of its calls."""
CHEAP: Final = "calm"
"""The shipped profile that has the cost of a batch which its claims for whole stories need: 0.38 s, and 0.15 ms for
each recipient. That is a sixth of what one call is said to cost."""


def seeded(seed: int, name: str = ORIGINAL, *, fails: bool = True) -> Profile:
    """A shipped profile with another seed; without `fails` no call fails, however large it is."""
    profile = structs.replace(load_profile(name), seed=seed)
    return profile if fails else structs.replace(profile, failures=Failures())


def written(profile: Profile, path: Path) -> Path:
    """Write `profile` as TOML; returns `path`."""
    path.write_text(
        "".join(f"{key} = {_toml(value)}\n" for key, value in _given(msgspec.to_builtins(profile)))
    )
    return path


def _given(table: dict[str, Any]) -> list[tuple[str, Any]]:
    """TOML has no null: what is left out has its default."""
    return [(key, value) for key, value in table.items() if value is not None]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(inner)}" for key, inner in _given(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)  # texts, numbers and truth values are written alike in both
