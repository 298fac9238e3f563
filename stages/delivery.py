"""One batch to the engine, until each of its recipients has an answer or wants another attempt.

What happens next follows from the kind of the failure alone:

- refused (`RateLimited`): the same recipients again, after the pacer's wait; size is kept, since WhatsApp counts
  calls and not recipients.
- `Unavailable`: the same again, with backoff. While the engine says that it is not ready this costs no try; a batch
  that fails as often as its policy lets it although the engine is ready is given back, to be tried in smaller ones.
- Either of them for longer than the session's patience: everything stops here, to be sent another time. But a
  single recipient that fails although the engine is ready is given back, for the fault may be with it.
- `OutcomeUnknown`: given back as unsure, and the session pauses, lest a late ack complete the next call.
- `RecipientsRejected`: the named ones fail, or the batch is bisected until the bad ones stand alone; after 500 calls
  what is left of it is given back.
- `TooLarge`: halved, and the ceiling remembered.
- `AccountRestricted`, `SessionLost`: everything stops here, batches that are out at the same time too; no further call.
- `ContentRefused`: the story is over.
- An order to pause, cancel or leave the story: what is not sent is given back, and no attempt.

Repeating is safe because the message id stays the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import anyio
from msgspec import Struct

from stages.control import Control
from stages.engine import Engine, EngineStatus, Receipt
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
from stages.pacing import Pacer
from stages.tally import Halted, Stopped, Tally
from stages.turns import Random, Turn, backoff

STATUS_TIMEOUT = 5.0

OnHeld = Callable[[Held], Awaitable[None]]
Fence = Callable[[], Awaitable[bool]]
"""Returns when a call may be made, because nobody else may make one for the session; whether that took a wait."""


def stopped_by(status: EngineStatus) -> AccountRestricted | SessionLost | None:
    """The failure that a status amounts to, if a person has to act before anything more may be sent."""
    match status.state:
        case "restricted":
            return AccountRestricted(status.reason or "the account is restricted")
        case "lost":
            return SessionLost(status.reason or "the session is not linked")
    return None


IsOpen = Callable[[], bool]
"""Whether the fence lets a call through at this moment: True if it is sure to return at once."""


def never_sure() -> bool:
    """Ask the fence itself."""
    return False


async def unfenced() -> bool:
    """The fence of a session that nobody else can serve."""
    return False


class Limits(Struct, frozen=True, kw_only=True):
    """Deadlines of engine calls, in seconds.

    `call`: one call, after which its outcome is unknown. `patience`: how long refusals or an outage may hold the
    session before it is stopped. `unsure_pause`: the pause after a call whose outcome is unknown.
    """

    call: float = 90.0
    patience: float = 900.0
    unsure_pause: float = 1.0


class Sender:
    """Sends batches over one session's engine, under the session's pacer. A session that was stopped stays so."""

    def __init__(
        self,
        engine: Engine,
        pacer: Pacer,
        *,
        limits: Limits,
        random: Random,
        control: Control | None = None,
        fence: Fence = unfenced,
        is_open: IsOpen = never_sure,
    ) -> None:
        self.engine = engine
        self.pacer = pacer
        self._fence = fence
        self._is_open = is_open
        self._control = control or Control()
        self._limits = limits
        self._random = random
        self._stopped: Stopped | None = None
        self._held_since: float | None = None
        self._under_way = 0
        self._given_back_in_a_row = 0

    async def send(self, batch: Batch, recipients: Sequence[str], on_held: OnHeld) -> BatchResult:
        """Send to `recipients` of `batch`; `on_held` hears of every wait. Raises nothing of the engine's."""
        tally = Tally(batch, divisible=self.engine.capabilities.targets_recipients)
        self.pacer.resume(batch.pace)
        parts = deque([list(recipients)])
        while parts:
            part = parts.popleft()
            try:
                receipt = await self._call(batch, part, tally, on_held)
            except EngineFailure as failure:
                parts.extend(tally.note_failure(part, _alone(failure)))
                if isinstance(failure, OutcomeUnknown):
                    self.pacer.pause(self._limits.unsure_pause)
                if tally.over:
                    tally.leave(parts)
            else:
                tally.note_receipt(part, receipt)
        return tally.result(gap=self.pacer.gap, pace=self.pacer.pace)

    async def _call(self, batch: Batch, part: Sequence[str], tally: Tally, on_held: OnHeld) -> Receipt:
        """One engine call, repeated while it is refused or the engine is away."""
        holding, pause = _Holding(most=batch.tries), batch.story.options.batch_delay / 1000
        while True:
            turn = await self._turn(batch.story.story_id, pause, len(part))
            try:
                return await self._timed(turn, batch, part, tally)
            except (AccountRestricted, SessionLost) as failure:
                raise self._stop(failure) from failure
            except (RateLimited, Unavailable) as failure:
                wait, why = await self._wait_after(failure, turn, holding), _alone(failure)
            if self._is_too_long(wait, pause):
                self._held_since = None
                raise why if holding.alone else self._stop(why)
            await on_held(Held(batch=batch, seconds=wait, reason=str(why)))

    async def _turn(self, story_id: str, pause: float, size: int) -> Turn:
        """Wait until a call may start. Raises what says that none may, in the meantime or at all."""
        if (now := self._turn_now(story_id, pause, size)) is not None:
            return now
        turn, may_call = Turn(0.0), False
        # Another turn if an order that is gone again cut the wait short, or the fence held up more calls than this one.
        while not may_call:
            with self._control.heeded(story_id):
                turn = await self.pacer.turn(pause, size)
                # Last of all, and nothing is awaited between it and the call: what it says may change with time.
                may_call = not await self._fence()
            if self._stopped is not None:
                raise self._stopped  # another batch met the reason while this one waited
            if order := self._control.order_for(story_id):
                raise Halted(f"an order to {order} it")
        return turn

    def _turn_now(self, story_id: str, pause: float, size: int) -> Turn | None:
        """The turn of a call that nothing holds up: without any wait there is nothing that an order could cut short."""
        if self._stopped is not None or self._control.order_for(story_id) or not self._is_open():
            return None
        return self.pacer.turn_now(pause, size)

    async def _wait_after(self, failure: RateLimited | Unavailable, turn: Turn, holding: _Holding) -> float:
        """Seconds to wait before the same call again; raises `failure` if a smaller batch may do better."""
        if isinstance(failure, RateLimited):
            return self.pacer.refused(turn, failure.retry_after)
        holding.outages += 1
        is_ready = await self._is_ready()
        holding.alone = is_ready and turn.size == 1
        holding.tries += is_ready
        # One recipient cannot be made fewer: for it there is nothing better than to wait.
        if holding.tries >= holding.most and not holding.alone:
            self._given_back()
            raise failure
        wait = backoff(holding.outages, self._random)
        self.pacer.pause(wait)
        return wait

    def _given_back(self) -> None:
        """Batches that come back one after the other use up their attempts: the more so, the longer the pause."""
        self._given_back_in_a_row += 1
        if self._given_back_in_a_row > 1:
            self.pacer.pause(backoff(self._given_back_in_a_row - 1, self._random))

    def _is_too_long(self, wait: float, pause: float) -> bool:
        """Whether nothing has gone through for longer than the session's patience, its own pauses not counted."""
        now = anyio.current_time()
        self._held_since = now if self._held_since is None else self._held_since
        return now + wait > self._held_since + self._limits.patience + pause

    def _stop(self, cause: EngineFailure) -> Stopped:
        cause = _alone(cause)
        if self._stopped is None or isinstance(cause, AccountRestricted | SessionLost):
            self._stopped = Stopped(cause)
        self.pacer.stop()
        return self._stopped

    async def _timed(self, turn: Turn, batch: Batch, part: Sequence[str], tally: Tally) -> Receipt:
        began, beside = anyio.current_time(), self._under_way
        self._under_way += 1
        try:
            with anyio.fail_after(self._limits.call):
                receipt = await self.engine.send(batch.story.content, part, batch.message_id)
        except TimeoutError:
            raise OutcomeUnknown(f"no answer within {self._limits.call:g} s") from None
        except (RecipientsRejected, TooLarge, ContentRefused):
            self._held_since = None  # a refusal of this call is a sign of life all the same
            raise
        finally:
            self._under_way -= 1
            self.pacer.ended()
            tally.note_call(began, anyio.current_time(), beside=(beside + self._under_way) / 2)
        self.pacer.succeeded(turn)
        self._held_since = None
        self._given_back_in_a_row = 0
        return receipt

    async def _is_ready(self) -> bool:
        """Raises `Stopped` if the engine says that the account is restricted, or not linked any more."""
        try:
            with anyio.fail_after(STATUS_TIMEOUT):
                status = await self.engine.status()
        except (AccountRestricted, SessionLost) as failure:
            raise self._stop(failure) from failure
        except (EngineFailure, TimeoutError):
            return False
        if (ended := stopped_by(status)) is not None:
            raise self._stop(ended)
        return status.state == "ready"


def _alone(failure: EngineFailure) -> EngineFailure:
    """`failure` without the way it came, which leads back to whoever keeps it: such a cycle keeps a whole story."""
    failure.__traceback__ = failure.__context__ = failure.__cause__ = None
    return failure


class _Holding(Struct):
    """What has held a call up so far."""

    most: int
    """So many tries there are."""
    outages: int = 0
    tries: int = 0
    alone: bool = False
    """It is one recipient only, and the engine says that it is ready: the fault may be with the recipient."""
