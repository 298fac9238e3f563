"""What goes wrong, by script: at which point, how, and how many times."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import trio

Point = Literal["handshake", "login", "privacy", "devices", "prekeys", "media", "upload", "ping", "send"]
"""Where the server may fail: in the Noise handshake, instead of a login's success, at a query, at an
upload, at a message."""


@dataclass(frozen=True)
class Refused:
    """The query or the message is answered with an error. A refused message reaches nobody."""

    code: int
    text: str = ""


@dataclass(frozen=True)
class Silence:
    """No answer, ever. With `delivered`, a message reached its recipients all the same."""

    delivered: bool = True


@dataclass(frozen=True)
class Hangup:
    """The connection breaks off instead of an answer, before or after a message was delivered."""

    delivered: bool = False


@dataclass(frozen=True)
class Slow:
    """The right answer comes when the gate is opened. Other traffic goes on."""

    gate: trio.Event


@dataclass(frozen=True)
class LoginFailure:
    """The login is refused: 402 with `code` and `expire` (seconds) is a ban for a time."""

    reason: int
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Stream:
    """A stream error, then the connection ends: 401 device_removed, replaced, 503 ..."""

    code: str = ""
    conflict: str = ""


Fault = Refused | Silence | Hangup | Slow | LoginFailure | Stream
ALWAYS = math.inf


class Faults:
    """The script. Faults of one point are met in the order in which they were added."""

    def __init__(self) -> None:
        self._script: dict[Point, list[tuple[Fault, float]]] = defaultdict(list)
        self.without_bundle: dict[str, Literal["absent", "error"]] = {}
        self.without_devices: set[str] = set()

    def add(self, point: Point, fault: Fault, times: float = 1) -> None:
        """The next `times` visits of this point meet this fault."""
        self._script[point].append((fault, times))

    def lift(self, point: Point) -> None:
        """Nothing goes wrong at this point any more."""
        self._script[point].clear()

    def meet(self, point: Point) -> Fault | None:
        """What this visit meets."""
        script = self._script[point]
        if not script:
            return None
        fault, times = script.pop(0)
        if times > 1:
            script.insert(0, (fault, times - 1))
        return fault
