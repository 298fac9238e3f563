"""The crowd accounts as the roll of a real story does, place by place."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Struct

from stages.flow import BatchResult
from stages.messages import BatchOutcome
from stages.roll import Roll
from tests.support import batch, result, story
from transports.simulated.crowd import Crowd, Segment, size_of

MOST = 120
EVERYBODY = story(MOST)
OUTCOMES: dict[str, BatchOutcome] = {"s": "sent", "f": "failed", "t": "timed-out"}


class Out(Struct, frozen=True):
    """A batch that is out, as both see it."""

    places: Sequence[int]
    segments: list[Segment]


class Both:
    """A story in two books."""

    def __init__(self, total: int, retries: int) -> None:
        self.total = total
        self.roll = Roll(total, retries=retries)
        self.crowd = Crowd(total, retries=retries)
        self.out: list[Out] = []
        self.resent = 0

    def take(self, size: int) -> None:
        out = Out(self.roll.take(size), self.crowd.take(size))
        assert places_of(out.segments) == list(out.places)
        if out.places:
            assert self.roll.attempt_of(out.places) == 1 + max(one.tried for one in out.segments)
            self.out.append(out)

    def settle(self, which: int, outcome: BatchOutcome) -> None:
        out = self.out.pop(which % len(self.out))
        before = self.roll.waiting
        self.roll.settle(self._result(out.places, outcome))
        self.resent += self.roll.waiting - before
        if outcome == "sent":
            self.crowd.arrived(out.segments)
        else:
            self.crowd.not_arrived(out.segments, unsure=outcome == "timed-out")

    def check(self) -> None:
        crowd, roll = self.crowd, self.roll
        assert crowd.waiting == roll.waiting
        assert crowd.sent == len(roll.sent)
        # Who may have got it is unknown to a real story; the crowd calls it failed.
        assert crowd.failed == roll.failures + len(roll.unknown)
        assert crowd.resent == self.resent
        on_their_way = sum(len(out.places) for out in self.out)
        assert crowd.waiting + crowd.sent + crowd.failed + on_their_way == self.total

    def _result(self, places: Sequence[int], outcome: BatchOutcome) -> BatchResult:
        return result(batch(EVERYBODY, places=places, attempt=self.roll.attempt_of(places)), outcome)


def places_of(segments: Sequence[Segment]) -> list[int]:
    return [place for one in segments for place in range(one.start, one.stop)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 60)),
        st.tuples(st.sampled_from("sfft"), st.integers(0, 5)),
    ),
    max_size=60,
)


@given(st.integers(1, MOST), st.integers(0, 4), STEPS)
@example(40, 3, [("take", 40), ("f", 0), ("take", 40), ("f", 0), *[("take", 3), ("f", 0)] * 20])
def test_the_crowd_counts_and_parts_as_the_roll_does_whatever_happens(
    total: int, retries: int, steps: list[tuple[str, int]]
) -> None:
    both = Both(total, retries)
    both.check()
    for what, number in steps:
        if what == "take":
            both.take(number)
        elif both.out:
            both.settle(number, OUTCOMES[what])
        both.check()


@given(st.integers(1, MOST), st.integers(0, 3), st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_nobody_gets_more_attempts_than_there_are(total: int, retries: int, sizes: list[int]) -> None:
    both, taken = Both(total, retries), [0] * total
    step = 0
    while both.crowd.waiting:
        both.take(sizes[step % len(sizes)])
        for place in both.out[0].places:
            taken[place] += 1
        both.settle(0, "failed" if step % 3 else "timed-out")
        both.check()
        step += 1
    assert set(taken) == {1 + retries}
    assert both.crowd.failed == total


@given(st.sets(st.integers(0, 99), max_size=5), st.integers(1, 100))
def test_a_batch_is_dead_if_one_of_its_places_is(dead: set[int], size: int) -> None:
    crowd = Crowd(100, retries=0, dead=sorted(dead))
    while crowd.waiting:
        segments = crowd.take(size)
        assert crowd.is_dead(segments) == bool(dead.intersection(places_of(segments)))
        assert size_of(segments) <= size
