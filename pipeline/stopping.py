"""What stops a session until a person has acted: found out at the opening of its engine, or in what ended its lane."""

from __future__ import annotations

from collections.abc import Iterator

import trio

from stages.delivery import STATUS_TIMEOUT, stopped_by
from stages.engine import Engine
from stages.errors import AccountRestricted, SessionLost, Unavailable

_GRAVE = (AccountRestricted, SessionLost)
FOR_A_PERSON = frozenset(failure.kind for failure in _GRAVE)
"""What a session is stopped by until a person has acted; after anything else it is tried again."""


async def check_account(engine: Engine) -> None:
    """Raise what the engine knows already to be the end of all sending. What it cannot say now its calls will show."""
    try:
        with trio.fail_after(STATUS_TIMEOUT):
            status = await engine.status()
    except (Unavailable, trio.TooSlowError):
        return
    if (failure := stopped_by(status)) is not None:
        raise failure


def gravest(error: BaseException) -> BaseException:
    """Of all that failed at once what a person must see to, or else the first."""
    found = list(_leaves(error))
    return next((each for kind in _GRAVE for each in found if isinstance(each, kind)), found[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
