"""What must not be read by whoever reads a log, an alert or an error: phone numbers, and the passwords in addresses."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(?<![0-9])([0-9]{3})[0-9]{4,}([0-9]{2})(?![0-9])")
_USER = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@", re.DOTALL)
_BETWEEN = re.compile(r",(?=\s*[A-Za-z][A-Za-z0-9+.-]*://)")


def masked(text: str) -> str:
    """`text` with phone numbers, which is every run of nine digits and more, as `628...90`."""
    return _NUMBER.sub(r"\1...\2", text)


def without_user(url: str) -> str:
    """`url`, or several with commas between, without user, password or token: `nats://...@host`."""
    return ",".join(_USER.sub(r"\1...@", one) for one in _BETWEEN.split(url))
