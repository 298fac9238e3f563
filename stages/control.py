"""What people want of the stories of a lane: pause this one, cancel that one, leave all to another worker.

An order is heeded before the next engine call of its story, and cuts short whatever that call was waiting for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import anyio

Order = Literal["pause", "cancel", "leave"]


class Control:
    """The orders of one lane. Given from outside, looked at by the planner and by whoever sends."""

    def __init__(self) -> None:
        self._orders: dict[str, Order] = {}
        self._leaving = False
        self._waiting: dict[str, set[anyio.CancelScope]] = {}

    def give(self, story_id: str, order: Order) -> None:
        """`order` holds from now on, until it is taken back."""
        self._orders[story_id] = order
        self._wake(story_id)

    def take_back(self, story_id: str) -> None:
        """Nothing is wanted of the story any more."""
        self._orders.pop(story_id, None)

    def leave(self) -> None:
        """All stories are to be left where they stand."""
        self._leaving = True
        for story_id in list(self._waiting):
            self._wake(story_id)

    def order_for(self, story_id: str) -> Order | None:
        """What is wanted of the story; None: that it goes on."""
        return self._orders.get(story_id) or ("leave" if self._leaving else None)

    @contextmanager
    def heeded(self, story_id: str) -> Iterator[None]:
        """A block of waiting that ends early when there is an order for the story. Look afterwards whether there is."""
        with anyio.CancelScope() as scope:
            waiting = self._waiting.setdefault(story_id, set())
            waiting.add(scope)
            if self.order_for(story_id):
                scope.cancel()
            try:
                yield
            finally:
                waiting.discard(scope)
                if not waiting:
                    self._waiting.pop(story_id, None)

    def _wake(self, story_id: str) -> None:
        for scope in self._waiting.get(story_id, ()):
            scope.cancel()
