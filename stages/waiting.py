"""Stories that wait: a memory stream that hands out the most urgent one first, and starves none.

Urgency is the level of the lane a request came in by (high, normal, bulk), then its priority (9 to 0); between
equals the older one. Age is counted in turns, not in seconds: a class that was passed over `patience` times
has the next turn, so that a slow session does not make everything urgent.
"""

from __future__ import annotations

from collections import deque

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from msgspec import Struct

from stages.flow import Story

PATIENCE = 8
MOST_RECIPIENTS = 2_000_000
"""Once the stories in a line have so many recipients together, no further one is let in."""
_LEVELS = {"high": 0, "normal": 1, "bulk": 2}


class WaitingStatistics(Struct, frozen=True):
    """What waits at present."""

    waiting: int
    """Stories in the line."""
    served: int
    """Stories handed out so far."""


class Line:
    """The order of service: pure, no clock. Classes are numbered by urgency, 0 first."""

    def __init__(self, patience: int = PATIENCE) -> None:
        self._patience = patience
        self._classes: dict[int, deque[Story]] = {}
        self._passed_over: dict[int, int] = {}
        self.recipients = 0

    def __len__(self) -> int:
        return sum(map(len, self._classes.values()))

    def add(self, story: Story) -> None:
        """Put `story` behind those of its own urgency."""
        urgency = _LEVELS[story.delivery.level] * 10 + 9 - story.priority
        self._classes.setdefault(urgency, deque()).append(story)
        self._passed_over.setdefault(urgency, 0)
        self.recipients += len(story.recipients)

    def pop(self) -> Story:
        """The story whose turn it is. Raises `IndexError` if none waits."""
        if not self._classes:
            raise IndexError("no story waits")
        turn = self._turn()
        for urgency in self._passed_over:
            self._passed_over[urgency] += urgency > turn
        self._passed_over[turn] = 0
        story = self._classes[turn].popleft()
        self.recipients -= len(story.recipients)
        if not self._classes[turn]:
            del self._classes[turn], self._passed_over[turn]
        return story

    def _turn(self) -> int:
        overdue = [urgency for urgency, turns in self._passed_over.items() if turns >= self._patience]
        if overdue:
            return max(overdue, key=lambda urgency: (self._passed_over[urgency], -urgency))
        return min(self._classes)


class _Shared:
    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.line = Line()
        self.changed = anyio.Event()
        self.served = 0
        self.sender_open = self.receiver_open = True
        self.discarding = False

    @property
    def full(self) -> bool:
        much = len(self.line) >= self.bound or self.line.recipients >= MOST_RECIPIENTS
        return much and self.receiver_open and not self.discarding

    def note_change(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


class StorySender(ObjectSendStream[Story]):
    """The end stories come in by. `send` waits while `bound` stories are in the line."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared

    async def send(self, item: Story) -> None:
        """Put a story into the line. Raises `BrokenResourceError` if nobody takes stories any more."""
        await anyio.lowlevel.checkpoint()
        while self._shared.full:
            await self._shared.changed.wait()
        if not self._shared.sender_open:
            raise anyio.ClosedResourceError
        if self._shared.discarding:
            return
        if not self._shared.receiver_open:
            raise anyio.BrokenResourceError
        self._shared.line.add(item)
        self._shared.note_change()

    async def aclose(self) -> None:
        """No more stories come; those in the line are still served."""
        self._shared.sender_open = False
        self._shared.note_change()


class StoryReceiver(ObjectReceiveStream[Story]):
    """The end stories are taken from, the most urgent first."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared

    async def receive(self) -> Story:
        """The story whose turn it is. Cancelling loses none. Raises `EndOfStream` when all are served."""
        await anyio.lowlevel.checkpoint()
        while not len(self._shared.line):
            if not self._shared.receiver_open:
                raise anyio.ClosedResourceError
            if self._shared.discarding or not self._shared.sender_open:
                raise anyio.EndOfStream
            await self._shared.changed.wait()
        self._shared.served += 1
        story = self._shared.line.pop()
        self._shared.note_change()
        return story

    async def aclose(self) -> None:
        """Take no more; a waiting `send` fails."""
        self._shared.receiver_open = False
        self._shared.note_change()

    def discard(self) -> None:
        """Forget the stories in the line and those still to come: they are for another lane to send."""
        self._shared.line = Line()
        self._shared.discarding = True
        self._shared.note_change()

    def statistics(self) -> WaitingStatistics:
        """What waits at present."""
        return WaitingStatistics(len(self._shared.line), self._shared.served)


def open_line(bound: int) -> tuple[StorySender, StoryReceiver]:
    """A line for at most `bound` stories: where they are put in, where they are taken out."""
    shared = _Shared(bound)
    return StorySender(shared), StoryReceiver(shared)
