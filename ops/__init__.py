"""What people run: the command line, and what stands behind each command."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """The `storycast` command; its exit codes are those of `ops.exits`."""
    try:
        # Imported here, for loading takes a moment in which Ctrl-C must not show a traceback either.
        from ops.cli import app

        code = app.meta()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python's own flush at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
