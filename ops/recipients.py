"""Recipients for the command line: from arguments, a file or stdin, one by one, however many they are."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO

from stages.errors import BadRequest

IN_MEMORY = 1 << 20
"""Bytes from a pipe that are kept in memory; what is longer goes to a temporary file."""


def read_recipients(given: Sequence[str], file: Path | None) -> Iterator[str]:
    """Recipients from the arguments and from `file`, one a line; `-`, or no other source, is stdin.

    Lines are read when they are asked for. Raises `BadRequest` at once if there is no recipient at all or the file
    cannot be read, and later at the line that is no text.
    """
    recipients = iter(given)
    if file is not None and str(file) != "-":
        recipients = chain(given, _begun(_lines(_opened(file), str(file))))
    elif file is not None or (not given and not sys.stdin.isatty()):
        recipients = chain(given, _begun(_lines(_standard_input(), "stdin")))
    first = next(recipients, None)
    if first is None:
        raise BadRequest(
            "no-recipients",
            field="recipients",
            found="none",
            allowed="arguments, --recipients FILE, or stdin",
        )
    return chain([first], recipients)


def _begun(lines: Iterator[str]) -> Iterator[str]:
    # What is wrong with the beginning of a file is said before anything is sent.
    return chain([first for first in [next(lines, None)] if first is not None], lines)


def _lines(source: IO[str], name: str) -> Iterator[str]:
    with source:
        try:
            for line in source:
                entry = line.strip()
                if entry and not entry.startswith("#"):
                    yield entry
        except UnicodeError as error:
            raise _no_text(name) from error


def _opened(path: Path) -> IO[str]:
    try:
        if path.is_file():
            return path.open(encoding="utf-8-sig")
        with path.open(encoding="utf-8-sig") as pipe:
            return _copied(pipe, str(path))
    except OSError as error:
        raise BadRequest(
            "file", field=str(path), found=error.strerror or str(error), allowed="a readable file"
        ) from error


def _standard_input() -> IO[str]:
    return _copied(sys.stdin, "stdin")


def _copied(pipe: IO[str], name: str) -> IO[str]:
    # A pipe that pauses would hold up the connection too, and Ctrl-C: so it is read to its end before.
    copy = SpooledTemporaryFile(IN_MEMORY, mode="w+", encoding="utf-8")  # noqa: SIM115 - `_lines` closes it
    try:
        shutil.copyfileobj(pipe, copy)
        copy.seek(0)
    except BaseException as error:
        copy.close()
        if isinstance(error, UnicodeError):
            raise _no_text(name) from error
        raise
    return copy


def _no_text(name: str) -> BadRequest:
    return BadRequest("file", field=name, found="no UTF-8 text", allowed="one recipient a line")
