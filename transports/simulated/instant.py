"""A story in no time: a batch policy and the simulated WhatsApp, in virtual time and without any task.

The other face of the simulated engine: the same world, the same turns, retries and rules of what a failure means as in
the pipeline, so that a policy is seen in hours of sending within milliseconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from random import Random

from msgspec import Struct

from stages.cadence import NO_LIMIT, Pace
from stages.errors import OutcomeUnknown, RateLimited
from stages.history import History
from stages.messages import BatchOutcome
from stages.policy import Decision, Policy, Sample
from stages.turns import Turn, Turns, backoff
from transports.simulated.crowd import Crowd, Segment, size_of
from transports.simulated.world import Fate, World

UNSURE_PAUSE = 1.0
"""Seconds of pause after a call whose outcome is unknown."""
PATIENCE = 900.0
"""Seconds that refusals or an outage may hold a session before it is stopped."""


class Rules(Struct, frozen=True, kw_only=True):
    """What holds for a story whatever the policy: `smart_send` settings by their names, `pause` in seconds.

    `anchored`: one recipient is sent to first. `tries`: how often a call may fail before its batch comes back; None: as
    the policy has it. `foresight`: calls wait until the far side will not refuse them, as only an oracle can.
    """

    largest: int = 10_000
    rate: float = 2.0
    pause: float = 0.0
    width: int = 1
    retries: int = 3
    anchored: bool = False
    foresight: bool = False
    tries: int | None = None


class Clock(Struct):
    """Seconds since a played story began. Policies have no clock of their own; an oracle is shown this one."""

    now: float = 0.0


USUAL = Rules()
NOTHING = History()


class Played(Struct, frozen=True, kw_only=True):
    """One batch of a played story: what went out, how it went, and what the policy decided then. Times in seconds."""

    began: float
    seconds: float
    size: int
    outcome: BatchOutcome
    then: str


class Ending(Struct, frozen=True, kw_only=True):
    """What a played story came to. `resent` counts recipients that went out once more, `calls` refused ones too."""

    seconds: float
    sent: int
    failed: int
    resent: int
    calls: int
    refusals: int
    history: History
    batches: Sequence[Played] = ()


def play(
    total: int,
    policy: Policy,
    world: World,
    *,
    rules: Rules = USUAL,
    history: History = NOTHING,
    pace: Pace = NO_LIMIT,
    dead: Sequence[int] = (),
    keep: bool = False,
    clock: Clock | None = None,
) -> Ending:
    """Send a story to `total` recipients; with `keep` its batches are told one by one.

    `dead` are the sorted places of recipients that are not on WhatsApp. `clock` is set to the story's time whenever the
    policy decides. What follows depends on nothing but the arguments. It ends early if the session's patience does.
    """
    return _Play(total, policy, world, rules, history, pace, dead, keep, clock or Clock()).run()


class _Out(Struct):
    """A batch on its way."""

    segments: list[Segment]
    size: int
    planned: int
    attempt: int
    waiting: int
    tries: int
    wakes: float = 0.0
    """Until then its turn is waited for, as the pacer does: it asks anew only when it wakes."""
    turn: Turn = Turn(0.0)
    beside: int = 0
    outages: int = 0
    failures: int = 0
    """Those while the engine was ready."""


class _Play:
    def __init__(
        self,
        total: int,
        policy: Policy,
        world: World,
        rules: Rules,
        history: History,
        pace: Pace,
        dead: Sequence[int],
        keep: bool,
        clock: Clock,
    ) -> None:
        self._crowd = Crowd(total, retries=rules.retries, dead=dead)
        self._policy, self._world, self._rules = policy, world, rules
        random = Random(world.profile.seed)
        self._random = random.random
        self._turns = Turns(rules.rate, random=random.random)
        self._turns.resume(pace)
        self._total = total
        self._decision = Decision(size=1, reason="", history=history, width=1)
        self._decided = not rules.anchored
        self._now = 0.0
        self._held_since: float | None = None
        self._stopped = False
        self._clock = clock
        self._starting: deque[_Out] = deque()
        self._ends: list[tuple[float, int, _Out, Fate]] = []
        self._calls = 0
        self._given_back_in_a_row = 0
        self._batches: list[Played] | None = [] if keep else None

    def run(self) -> Ending:
        if self._decided:
            self._decide_first()
        while self._issue() and not self._stopped:
            self._step()
        crowd = self._crowd
        return Ending(
            seconds=self._now,
            sent=crowd.sent,
            failed=crowd.failed,
            resent=crowd.resent,
            calls=self._calls,
            refusals=self._turns.refusals,
            history=self._decision.history,
            batches=self._batches or (),
        )

    def _decide_first(self) -> None:
        self._decision = self._policy.first(self._total, self._decision.history)
        self._decided = True

    def _issue(self) -> bool:
        """Let out as many batches as may be out; False if there is nothing more to do."""
        width = min(self._rules.width, self._decision.width or self._rules.width)
        while len(self._starting) + len(self._ends) < width and self._crowd.waiting:
            segments = self._crowd.take(min(self._decision.size, self._rules.largest))
            self._starting.append(
                _Out(
                    segments=segments,
                    size=size_of(segments),
                    planned=self._decision.size,
                    attempt=1 + max(one.tried for one in segments),
                    waiting=self._crowd.waiting,
                    tries=self._rules.tries or self._decision.tries,
                )
            )
        return bool(self._starting or self._ends)

    def _step(self) -> None:
        """On to the next instant: a call starts, or one ends."""
        if self._starting:
            out = self._starting[0]
            if out.wakes <= self._now:
                out.wakes = self._ready_at(out.size)
            if not self._ends or out.wakes <= self._ends[0][0]:
                self._now = out.wakes
                if self._ready_at(out.size) <= self._now:
                    self._start(self._starting.popleft())
                return
        self._now, _, out, fate = heappop(self._ends)
        self._clock.now = self._now
        self._end(out, fate)

    def _ready_at(self, size: int) -> float:
        ready = max(self._now, self._turns.ready_at(self._now, self._rules.pause, size))
        return max(ready, self._world.allows_at(size, ready)) if self._rules.foresight else ready

    def _start(self, out: _Out) -> None:
        out.turn = self._turns.take(self._now, out.size)
        out.beside = len(self._ends)
        self._calls += 1
        is_dead = self._crowd.is_dead(out.segments)
        fate = self._world.fate_of(out.size, self._now, in_flight=len(self._ends), is_dead=is_dead)
        heappush(self._ends, (self._now + fate.seconds, self._calls, out, fate))

    def _end(self, out: _Out, fate: Fate) -> None:
        self._turns.ended(self._now)
        match fate.failure:
            case None:
                self._turns.succeeded(out.turn)
                self._held_since = None
                self._given_back_in_a_row = 0
                self._crowd.arrived(out.segments)
                self._settle(out, "sent")
            case RateLimited(retry_after=asked):
                wait = self._turns.refused(out.turn, self._now, asked)
                self._stopped = self._is_too_long(wait)
                self._starting.append(out)
            case OutcomeUnknown():
                self._turns.hold(self._now, UNSURE_PAUSE)
                self._crowd.not_arrived(out.segments, unsure=True)
                self._settle(out, "timed-out")
            case _:
                self._failed(out)

    def _failed(self, out: _Out) -> None:
        """As `stages.delivery` has it: the same again, or given back to be tried in smaller ones."""
        is_ready = not self._world.out(self._now)
        out.outages += 1
        out.failures += is_ready
        is_alone = is_ready and out.size == 1
        if out.failures >= out.tries and not is_alone:
            self._pause_if_in_a_row()
            self._give_back(out)
            return
        wait = backoff(out.outages, self._random)
        self._turns.hold(self._now, wait)
        if not self._is_too_long(wait):
            self._starting.append(out)
        elif is_alone:
            self._held_since = None
            self._give_back(out)
        else:
            self._stopped = True

    def _pause_if_in_a_row(self) -> None:
        self._given_back_in_a_row += 1
        if self._given_back_in_a_row > 1:
            self._turns.hold(self._now, backoff(self._given_back_in_a_row - 1, self._random))

    def _is_too_long(self, wait: float) -> bool:
        self._held_since = self._now if self._held_since is None else self._held_since
        return self._now + wait > self._held_since + PATIENCE + self._rules.pause

    def _give_back(self, out: _Out) -> None:
        self._crowd.not_arrived(out.segments, unsure=False)
        self._settle(out, "failed")

    def _settle(self, out: _Out, outcome: BatchOutcome) -> None:
        """The policy hears how it went."""
        duration = self._now - out.turn.at
        if not self._decided and outcome == "sent":
            self._decide_first()
        elif self._decided:
            back = 0 if outcome == "sent" else out.size
            sample = Sample(
                outcome=outcome,
                size=out.size,
                share=float(outcome == "sent"),
                duration=duration,
                attempt=out.attempt,
                waiting=out.waiting + back,
                beside=(out.beside + len(self._ends)) / 2,
                pace=self._turns.pace,
            )
            self._decision = self._policy.next(out.planned, sample, self._decision.history)
        if self._batches is not None:
            self._batches.append(
                Played(
                    began=out.turn.at,
                    seconds=duration,
                    size=out.size,
                    outcome=outcome,
                    then=self._decision.reason,
                )
            )
