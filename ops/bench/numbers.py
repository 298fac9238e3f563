"""Numbers that a command of `bench` is given, comma-separated."""

from __future__ import annotations

from stages.errors import BadRequest


def numbers_in(text: str, most: int, field: str) -> list[int]:
    """The numbers in `text`, from 1 to `most`, the smallest first. Raises `BadRequest`, which names `field`."""
    return sorted({_number(part.strip(), most, field) for part in text.split(",")})


def _number(text: str, most: int, field: str) -> int:
    # `isdecimal` also has other scripts' digits, all of which int() reads; longer ones it may refuse.
    if not (text.isdecimal() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
        raise BadRequest(
            "out-of-range",
            field=field,
            found=repr(text),
            allowed=f"numbers from 1 to {most:,}, comma-separated",
        )
    return int(text)
