"""The most memory that a process ever had in RAM, as Linux counts it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

SOURCE = "VmHWM in /proc/<pid>/status"
"""Where the figures come from. It begins anew with each program; a child's `ru_maxrss` begins with its parent's."""

_PEAK = re.compile(r"^VmHWM:\s+([0-9]+) kB$", re.MULTILINE)
_FORGET_PEAK = "5"


def peak_rss(pid: int) -> int | None:
    """The peak of a process that still runs, in bytes; None where the system does not tell."""
    try:
        found = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def forget_peak(pid: int) -> None:
    """Have the peak of a process count from now on. Where that cannot be, it goes on counting from its start."""
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text(_FORGET_PEAK)
