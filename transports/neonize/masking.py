"""Phone numbers in foreign texts, made unreadable before such a text goes anywhere."""

from __future__ import annotations

import re
from typing import Final

_NUMBER: Final = re.compile(r"(?<![0-9])([0-9]{3})[0-9]{2,}([0-9]{2})(?![0-9])")
_LONGEST: Final = 300


def masked(text: str) -> str:
    """`text` on one line, cut to a length that suits a log, with every run of seven digits and more as `628...90`."""
    line = " ".join(text.split())
    return _NUMBER.sub(r"\1...\2", line if len(line) <= _LONGEST else f"{line[:_LONGEST]}...")
