"""The suppression list: who is never sent to, whatever a request says."""

from __future__ import annotations

from pathlib import Path

from pipeline.resolution import SettingsError
from stages.recipients import ALLOWED, canonical


def read_suppressed(path: str) -> frozenset[str]:
    """The recipients in the suppression file, in canonical form; none if `path` is empty.

    Raises `SettingsError` if it cannot be read, or holds a line that is nobody: whoever asked not to be sent to
    must never be lost to a typing error.
    """
    if not path:
        return frozenset()
    try:
        lines = Path(path).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"STORYCAST_SUPPRESSION_FILE: {path}: {error}") from error
    numbered = [(place, line.strip()) for place, line in enumerate(lines, 1)]
    return frozenset(
        _person(path, place, line) for place, line in numbered if line and not line.startswith("#")
    )


def _person(path: str, place: int, line: str) -> str:
    person = canonical(line)
    if person is None:
        raise SettingsError(f"STORYCAST_SUPPRESSION_FILE: {path}, line {place}: allowed: {ALLOWED}")
    return person
