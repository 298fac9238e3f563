"""Who used the processors: this process, its child, and everybody else."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

_SCHEDULED = 2
"""Linux: the clock of what a process ran on all its threads together."""


def used_by(pid: int) -> float:
    """CPU seconds of a process so far, to the nanosecond; `/proc/<pid>/stat` counts in hundredths."""
    return time.clock_gettime((~pid << 3) | _SCHEDULED)


def only_child() -> int:
    """The process that this one has started."""
    [pid] = (
        pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
    )
    return int(pid)


def used_here() -> float:
    """CPU seconds of this process and of its children that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def used_in_all() -> float:
    """CPU seconds that the machine has spent on anything."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _waiting, interrupt, soft = map(int, fields[:7])
    return (user + nice + system + interrupt + soft) / os.sysconf("SC_CLK_TCK")


def model() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown processor")
