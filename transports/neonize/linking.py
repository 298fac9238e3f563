"""Linking a session to an account, as the program sees it that shows the code."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from stages.errors import Unavailable
from transports.neonize.frames import Begin, Cleared, FrameError, Linked, NotLinked, Scan, TypeIn, Unusable
from transports.neonize.missing import refused_to_host
from transports.neonize.options import Neonize
from transports.neonize.process import COMMAND, Hosted, open_hosted

Step = Scan | TypeIn | Linked | Cleared | NotLinked
"""What to show (the last `Scan` or `TypeIn` is the one that counts), or how it ended."""


@asynccontextmanager
async def open_linking(
    options: Neonize, session: str, *, phone: str | None = None, command: Sequence[str] = COMMAND
) -> AsyncIterator[AsyncIterator[Step]]:
    """Start to link `session`, with a code to scan, or one to type in on the phone with the number `phone` (digits).

    The steps end with `Linked` or `NotLinked`, or with `Cleared` where one should start once more. They have no
    deadline of their own. They raise `NeonizeMissing`, `InUse` where another process hosts the session, and
    `Unavailable` where the process cannot go on.
    """
    begin = Begin(session=session, options=options, pair=True, phone=phone)
    async with open_hosted(command, begin) as hosted, aclosing(_steps(hosted)) as steps:
        yield steps


async def _steps(hosted: Hosted) -> AsyncGenerator[Step, None]:
    try:
        async with aclosing(hosted.words()) as words:
            async for word in words:
                if isinstance(word, Unusable):
                    raise refused_to_host(word)
                if isinstance(word, Scan | TypeIn | Linked | Cleared | NotLinked):
                    yield word
                if isinstance(word, Linked | Cleared | NotLinked):
                    return
    except FrameError as error:
        raise Unavailable(f"the client's process is out of step: {error}") from error
    raise Unavailable(await hosted.obituary())
