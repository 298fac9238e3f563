"""Messages that are ready to be sent, so that a story's media is uploaded once for all of its batches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import msgspec

from stages.messages import Content

KEPT: Final = 8
IDLE: Final = 3600.0
"""Seconds without use after which one is made anew: what a `url` leads to may be another picture tomorrow."""


class BuiltMessages:
    """The last few, by their content."""

    def __init__(self, build: Callable[[Content], object], clock: Callable[[], float]) -> None:
        self._build = build
        self._clock = clock
        self._ready: OrderedDict[bytes, tuple[object, float]] = OrderedDict()

    def of(self, content: Content) -> object:
        """The message for `content`. Raises what building one raises."""
        key = sha256(msgspec.msgpack.encode(content)).digest()
        message, used = self._ready.pop(key, (None, 0.0))
        if message is None or self._clock() - used > IDLE:
            message = self._build(content)
        self._ready[key] = message, self._clock()
        while len(self._ready) > KEPT:
            self._ready.popitem(last=False)
        return message
