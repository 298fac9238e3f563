"""The machine that something was measured on: every result names it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from msgspec import Struct

from transports.server import binary_version


class Machine(Struct, frozen=True, kw_only=True, rename="camel"):
    """Where it was measured, and what ran there."""

    cpu: str
    """The processor's name, as the system tells it."""
    cores: int
    system: str
    python: str
    nats_server: str


def machine() -> Machine:
    """The machine this runs on. Raises `ServerFailed` if nats-server is not installed."""
    return Machine(
        cpu=_processor(),
        cores=os.cpu_count() or 1,
        system=platform.system(),
        python=platform.python_version(),
        nats_server=binary_version(),
    )


def in_words(where: Machine) -> str:
    """A machine in one line."""
    return (
        f"{where.cpu}, {where.cores} cores, {where.system}, Python {where.python}, "
        f"nats-server {where.nats_server}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown processor")
