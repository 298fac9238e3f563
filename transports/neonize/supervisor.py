"""Keeps a hosting process running for a session, and knows how the session stands."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

import trio

from stages.errors import Unavailable
from transports.neonize.frames import (
    Abilities,
    Begin,
    FrameError,
    Hello,
    Listed,
    Noted,
    Posted,
    Refused,
    Standing,
    Unusable,
    Word,
)
from transports.neonize.link import Link
from transports.neonize.process import END_TIMEOUT, Hosted, open_hosted
from transports.neonize.standings import STARTING

log = logging.getLogger("storycast")

CLOSED: Final = "the engine is closed"
_NOTES: Final = 20
"""So many lines of one process's log are passed on."""


OnDeath = Callable[[str], Awaitable[None]]
"""Hears in words that the process ended though nobody ended it. Must be quick, and raise nothing."""


async def unheard(reason: str) -> None:
    """Nobody wants to hear of it."""


class Supervisor:
    """Starts the process again when it ends, later and later; not where that needs a person, until `wake`."""

    def __init__(
        self, command: Sequence[str], begin: Begin, jitter: Callable[[], float], on_death: OnDeath
    ) -> None:
        self._on_death = on_death
        self._command = command
        self._begin = begin
        self._jitter = jitter
        self._changed = trio.Event()
        self._wanted = trio.Event()
        self._final: Standing | None = None
        self._notes = 0
        self.standing = STARTING
        self.abilities: Abilities | None = None
        self.refused: Unusable | None = None
        self.link: Link | None = None

    async def run(self) -> None:
        """Keep it running, until cancelled."""
        failures = 0
        while True:
            self._wanted, self._final = trio.Event(), None
            self._stand(STARTING)
            was_ready = await self._live()
            failures = 0 if was_ready else failures + 1
            if self._final and self._final.person:
                await self._wanted.wait()
            else:
                await trio.sleep(self._pause(failures))

    def wake(self) -> None:
        """A person may have acted: try again where that was waited for."""
        if self.link is not None:
            return  # what it said last holds until it has ended
        if self.standing.person and not self._wanted.is_set():
            self._wanted.set()
            self._stand(STARTING)

    async def until(self, enough: Callable[[], bool], timeout: float) -> None:
        """Wait until `enough`, or for `timeout` seconds."""
        with trio.move_on_after(timeout):
            while not enough():
                await self._changed.wait()

    async def _live(self) -> bool:
        """One process, from start to end; whether the session was ready meanwhile."""
        self._notes = 0
        ready = False
        try:
            async with open_hosted(self._command, self._begin) as hosted, trio.open_nursery() as nursery:
                link = self.link = Link(hosted)
                nursery.start_soon(link.run)
                try:
                    ready = await self._listen(hosted, link)
                finally:
                    self.link = None
                    link.break_off(self._final.reason if self._final else CLOSED)
                    self._tell()
                nursery.cancel_scope.cancel()
        except Unavailable as failure:
            self._stand(Standing(state="unavailable", reason=str(failure), over=True))
        return ready

    async def _listen(self, hosted: Hosted, link: Link) -> bool:
        ready = False
        last = trio.CancelScope()
        try:
            async with aclosing(hosted.words()) as words:
                with last:
                    async for word in words:
                        self._take(word, link)
                        ready = ready or self.standing.state == "ready"
                        if self._final and math.isinf(last.deadline):
                            # A call under way may still get its answer.
                            last.deadline = trio.current_time() + END_TIMEOUT
            if self._final:
                return ready
        except FrameError as error:
            hosted.kill()
            log.error("client out of step", extra={"session": self._begin.session, "why": str(error)})
        reason = await hosted.obituary()
        log.warning("client ended", extra={"session": self._begin.session, "why": reason})
        self._stand(Standing(state="unavailable", reason=reason, over=True))
        await self._on_death(reason)
        return ready

    def _take(self, word: Word, link: Link) -> None:
        match word:
            case Posted() | Refused() | Listed():
                link.answered(word)
            case Standing():
                self._stand(word)
            case Hello():
                self.abilities, self.refused = word.abilities, None
                self._tell()
            case Unusable():
                self.refused = word
                self._stand(Standing(state="unavailable", reason=word.reason, over=True))
            case Noted():
                self._note(word.text)
            case _:
                pass

    def _note(self, text: str) -> None:
        self._notes += 1
        if self._notes <= _NOTES:
            log.warning("client says", extra={"session": self._begin.session, "said": text})

    def _stand(self, standing: Standing) -> None:
        self.standing = standing
        if standing.over:
            self._final = standing
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def _pause(self, failures: int) -> float:
        options = self._begin.options
        longest = min(options.restart_delay * 2.0 ** max(0, failures - 1), options.restart_delay_max)
        return longest * (0.5 + self._jitter() / 2)
