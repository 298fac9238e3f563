"""The tally of one batch while it is sent: who got it, who did not, and what ended it.

A batch is divisible where the engine sends to those that it is given: else a part of it would be all of it once more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from stages.cadence import NO_LIMIT, Pace
from stages.engine import Receipt
from stages.errors import ContentRefused, EngineFailure, OutcomeUnknown, RecipientsRejected, TooLarge
from stages.flow import Batch, BatchResult
from stages.messages import BatchOutcome

CALLS = 500
"""So many calls one batch may take."""


class Stopped(EngineFailure):
    """No further call is made for the session, because of `cause`."""

    def __init__(self, cause: EngineFailure) -> None:
        super().__init__(str(cause))
        self.kind = cause.kind


class Halted(EngineFailure):
    """No further call is made for the story, because people want it so."""

    kind = "halted"


class Tally:
    """What a batch has come to so far."""

    def __init__(self, batch: Batch, *, divisible: bool = True) -> None:
        self.batch = batch
        self.message_ids: list[str] = []
        self._divisible = divisible
        self.sent: list[str] = []
        self.failed: dict[str, str] = {}
        self.unsent: list[str] = []
        self.unsure: list[str] = []
        self.calls = self.ceiling = 0
        self.duration = self.elapsed = self.beside = 0.0
        self.began: float | None = None
        self.split = False
        self.failure: EngineFailure | None = None
        self.splitter: EngineFailure | None = None

    @property
    def over(self) -> bool:
        """No further call may be made."""
        return self.calls >= CALLS or isinstance(self.failure, Stopped | Halted | ContentRefused)

    def note_call(self, began: float, ended: float, *, beside: float = 0.0) -> None:
        """A call was made, whatever it brought, with so many others; seconds on the event loop's clock."""
        self.beside = beside
        self.calls += 1
        if self.began is None:
            self.began = began
        self.duration = ended - began
        self.elapsed = ended - self.began

    def note_receipt(self, part: Sequence[str], receipt: Receipt) -> None:
        """A call went through."""
        if receipt.message_id not in self.message_ids:
            self.message_ids.append(receipt.message_id)
        self.sent.extend(jid for jid in part if jid not in receipt.failed)
        self.failed.update((jid, receipt.failed[jid]) for jid in part if jid in receipt.failed)

    def note_failure(self, part: list[str], failure: EngineFailure) -> list[list[str]]:
        """Account for a call that failed; returns the smaller parts to go on with."""
        if isinstance(failure, RecipientsRejected | TooLarge) and not self._divisible:
            self.failed.update(dict.fromkeys(part, failure.kind))
            return []
        if isinstance(failure, RecipientsRejected):
            self.splitter = failure
            return self._without_rejected(part, failure)
        if isinstance(failure, TooLarge) and len(part) > 1:
            self.splitter = failure
            self.ceiling = min(self.ceiling or len(part), len(part) // 2)
            return self._halves(part)
        self.failure = failure
        (self.unsure if isinstance(failure, OutcomeUnknown) else self.unsent).extend(part)
        return []

    def leave(self, parts: deque[list[str]]) -> None:
        """Give back what was not tried."""
        if parts and self.failure is None:
            self.failure = self.splitter
        while parts:
            self.unsent.extend(parts.popleft())

    def result(self, *, gap: float, pace: Pace = NO_LIMIT) -> BatchResult:
        """What it came to."""
        return BatchResult(
            batch=self.batch,
            outcome=self._outcome(),
            sent=self.sent,
            failed=self.failed,
            unsent=self.unsent,
            unsure=self.unsure,
            duration=self.duration,
            elapsed=self.elapsed,
            whole=not self.split,
            beside=self.beside,
            gap=gap,
            pace=pace,
            ceiling=self.ceiling,
            message_ids=self.message_ids,
            failure=self.failure.kind if self.failure else None,
            reason=str(self.failure) if self.failure else None,
        )

    def _outcome(self) -> BatchOutcome:
        match self.failure:
            case None:
                return "sent"
            case Stopped():
                return "parked"
            case Halted():
                return "halted"
            case ContentRefused():
                return "refused"
        return "timed-out" if self.unsure else "failed"

    def _without_rejected(self, part: list[str], failure: RecipientsRejected) -> list[list[str]]:
        named = {jid: failure.rejected[jid] for jid in part if jid in failure.rejected}
        if not named and len(part) == 1:
            named = {part[0]: failure.kind}
        self.failed.update(named)
        rest = [jid for jid in part if jid not in named]
        if named:
            return [rest] if rest else []
        return self._halves(part)

    def _halves(self, part: list[str]) -> list[list[str]]:
        self.split = True
        middle = len(part) // 2
        return [part[:middle], part[middle:]]
