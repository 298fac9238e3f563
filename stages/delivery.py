"""One batch to the engine, until each of its recipients has an answer or wants another attempt.

What happens next follows from the kind of the failure alone:

- refused (`RateLimited`): the same recipients again, after the pacer's wait; size is kept, since WhatsApp counts
  calls and not recipients.
- `Unavailable`: the same again, with backoff. While the engine says that it is not ready this costs no try; a call
  that fails three times although the engine is ready gives the batch back.
- `OutcomeUnknown`: given back as unsure, and the session pauses, lest a late ack complete the next call.
- `RecipientsRejected`: the named ones fail, or the batch is bisected until the bad ones stand alone.
- `TooLarge`: halved, and the ceiling remembered.
- `AccountRestricted`, `SessionLost`: everything stops here, batches that are out at the same time too; no further call.
- `ContentRefused`: the story is over.

Repeating is safe because the message id stays the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import anyio
from msgspec import Struct

from stages.engine import Engine, Receipt
from stages.errors import (
    AccountRestricted,
    ContentRefused,
    EngineFailure,
    OutcomeUnknown,
    RateLimited,
    RecipientsRejected,
    SessionLost,
    TooLarge,
    Unavailable,
)
from stages.flow import Batch, BatchResult, Held
from stages.messages import BatchOutcome, Content
from stages.pacing import Pacer, Random, backoff

TRIES = 3
STATUS_TIMEOUT = 5.0

OnHeld = Callable[[Held], Awaitable[None]]


class Limits(Struct, frozen=True, kw_only=True):
    """Deadlines of engine calls, in seconds.

    `call`: one call, after which its outcome is unknown. `patience`: how long a batch is held by refusals or an outage
    before that counts as a failed attempt. `unsure_pause`: the pause after a call whose outcome is unknown.
    """

    call: float = 90.0
    patience: float = 900.0
    unsure_pause: float = 1.0


class Sender:
    """Sends batches over one session's engine, under the session's pacer. A session that was stopped stays so."""

    def __init__(self, engine: Engine, pacer: Pacer, *, limits: Limits, random: Random) -> None:
        self.engine = engine
        self.pacer = pacer
        self._limits = limits
        self._random = random
        self._stopped: AccountRestricted | SessionLost | None = None

    async def send(self, batch: Batch, recipients: Sequence[str], on_held: OnHeld) -> BatchResult:
        """Send to `recipients` of `batch`; `on_held` hears of every wait. Raises nothing of the engine's."""
        tally = _Tally(batch, message_id=batch.message_id)
        parts = deque([list(recipients)])
        while parts:
            part = parts.popleft()
            try:
                receipt = await self._call(batch, part, tally, on_held)
            except EngineFailure as failure:
                parts.extend(tally.note_failure(part, failure))
                if isinstance(failure, OutcomeUnknown):
                    self.pacer.pause(self._limits.unsure_pause)
                if tally.over:
                    tally.leave(parts)
            else:
                tally.note_receipt(part, receipt)
        return tally.result(gap=self.pacer.gap)

    async def _call(self, batch: Batch, part: Sequence[str], tally: _Tally, on_held: OnHeld) -> Receipt:
        """One engine call, repeated while it is refused or the engine is away."""
        give_up_at = anyio.current_time() + self._limits.patience
        tries = outage = 0
        why: EngineFailure
        while True:
            await self.pacer.turn(batch.story.options.batch_delay / 1000)
            if self._stopped is not None:
                raise self._stopped  # another batch met it while this one waited
            try:
                return await self._timed(batch.story.content, part, batch.message_id, tally)
            except RateLimited as failure:
                tally.refusals += 1
                wait, why = self.pacer.refused(failure.retry_after), failure
            except Unavailable as failure:
                outage += 1
                tries += await self._is_ready()
                if tries >= TRIES:
                    raise
                wait, why = backoff(outage, self._random), failure
                self.pacer.pause(wait)
            if anyio.current_time() + wait > give_up_at:
                raise why
            await on_held(Held(batch=batch, seconds=wait, reason=str(why)))

    async def _timed(
        self, content: Content, part: Sequence[str], message_id: str | None, tally: _Tally
    ) -> Receipt:
        began = anyio.current_time()
        try:
            with anyio.fail_after(self._limits.call):
                receipt = await self.engine.send(content, part, message_id)
        except TimeoutError:
            raise OutcomeUnknown(f"no answer within {self._limits.call:g} s") from None
        except (AccountRestricted, SessionLost) as stopped:
            self._stopped = stopped
            raise
        finally:
            self.pacer.ended()
            tally.note_time(began, anyio.current_time())
        self.pacer.succeeded()
        return receipt

    async def _is_ready(self) -> bool:
        try:
            with anyio.fail_after(STATUS_TIMEOUT):
                return (await self.engine.status()).state == "ready"
        except (EngineFailure, TimeoutError):
            return False


class _Tally:
    """What a batch has come to so far."""

    def __init__(self, batch: Batch, *, message_id: str | None) -> None:
        self.batch = batch
        self.message_id = message_id
        self.sent: list[str] = []
        self.failed: dict[str, str] = {}
        self.unsent: list[str] = []
        self.unsure: list[str] = []
        self.refusals = self.ceiling = 0
        self.duration = self.elapsed = 0.0
        self.began: float | None = None
        self.split = False
        self.failure: EngineFailure | None = None

    @property
    def over(self) -> bool:
        """No further call may be made."""
        return isinstance(self.failure, AccountRestricted | SessionLost | ContentRefused)

    def note_time(self, began: float, ended: float) -> None:
        if self.began is None:
            self.began = began
        self.duration = ended - began
        self.elapsed = ended - self.began

    def note_receipt(self, part: Sequence[str], receipt: Receipt) -> None:
        self.message_id = receipt.message_id
        self.sent.extend(jid for jid in part if jid not in receipt.failed)
        self.failed.update((jid, receipt.failed[jid]) for jid in part if jid in receipt.failed)

    def note_failure(self, part: list[str], failure: EngineFailure) -> list[list[str]]:
        """Account for a call that failed; returns the smaller parts to go on with."""
        if isinstance(failure, RecipientsRejected):
            return self._without_rejected(part, failure)
        if isinstance(failure, TooLarge) and len(part) > 1:
            self.ceiling = min(self.ceiling or len(part), len(part) // 2)
            return self._halves(part)
        self.failure = failure
        (self.unsure if isinstance(failure, OutcomeUnknown) else self.unsent).extend(part)
        return []

    def leave(self, parts: deque[list[str]]) -> None:
        """Give back what was not tried."""
        while parts:
            self.unsent.extend(parts.popleft())

    def result(self, *, gap: float) -> BatchResult:
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
            refusals=self.refusals,
            gap=gap,
            ceiling=self.ceiling,
            message_id=self.message_id,
            failure=self.failure.kind if self.failure else None,
            reason=str(self.failure) if self.failure else None,
        )

    def _outcome(self) -> BatchOutcome:
        match self.failure:
            case None:
                return "sent"
            case AccountRestricted() | SessionLost():
                return "parked"
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
