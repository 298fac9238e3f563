"""How a command ends: exit codes that a script can use, and errors as one clear line.

0 success, 1 a story failed, 2 usage or bad input, 3 NATS or a stream out of reach, 130 interrupted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import trio
from rich.console import Console

from pipeline.resolution import SettingsError
from stages.errors import BadRequest, StorycastError
from transports.errors import ProfileError, TransportError, Unreachable
from transports.remote import AlreadyServed

SUCCESS = 0
FAILED = 1
USAGE = 2
UNREACHABLE = 3
INTERRUPTED = 130

_HINT = "Is a server running? `storycast up` starts one; `storycast doctor` says what is wrong."


class Interrupted(StorycastError):
    """Ctrl-C, or SIGTERM, where there was nothing to finish."""


class NotInstalled(StorycastError):
    """What was asked for needs an extra of storycast that is not installed; the message says how to install it."""


def run(main: Callable[[], Awaitable[int]]) -> int:
    """Run `main` on Trio and return the exit code; errors of ours become a line on stderr."""
    try:
        return trio.run(main)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as error:  # sorted out below: ours are explained, others are bugs and shown as such
        ours = list(_leaves(error))
        if any(_is_broken_pipe(each) for each in ours):
            raise BrokenPipeError from error
        if not all(isinstance(each, StorycastError | KeyboardInterrupt) for each in ours):
            raise
        return _explain(ours)


def fail(message: str, code: int = USAGE, *, hint: str = "") -> int:
    """Say what is wrong on stderr, and return the exit code."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"storycast: {message}", style="red", markup=False, emoji=False)
    if hint:
        console.print(hint, style="dim")
    return code


def _explain(errors: list[BaseException]) -> int:
    if any(isinstance(error, Interrupted | KeyboardInterrupt) for error in errors):
        return INTERRUPTED
    # Of several errors at once the first is the cause: the others are what it tore down.
    first = errors[0]
    return fail(str(first), _code(first), hint=_HINT if isinstance(first, Unreachable) else "")


def _code(error: BaseException) -> int:
    if isinstance(error, SettingsError | BadRequest | ProfileError | AlreadyServed | NotInstalled):
        return USAGE
    return UNREACHABLE if isinstance(error, TransportError) else FAILED


def _is_broken_pipe(error: BaseException) -> bool:
    # rich makes a SystemExit of it.
    return isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
