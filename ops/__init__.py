"""What people run: the command line, and what stands behind each command."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["main"]

INTERRUPTED = 130


def main() -> None:
    """The `storycast` command; its exit codes are those of `ops.exits`."""
    try:
        with _quick_to_leave():
            # Imported here, for loading takes a moment in which Ctrl-C must not show a traceback either.
            from ops.cli import app

        code = app.meta()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python's own flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


@contextmanager
def _quick_to_leave() -> Iterator[None]:
    # A KeyboardInterrupt raised inside Python's own import machinery leaves its files open and says so; while
    # modules load there is nothing of ours to clean up, so the process just ends.
    usual = signal.getsignal(signal.SIGINT)
    if usual is not signal.default_int_handler:  # started in the background: Ctrl-C is not for us
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
