"""The waiting line: the most urgent first, nobody starved, nobody lost, never longer than its bound."""

from __future__ import annotations

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from stages.flow import Story
from stages.messages import Level
from stages.waiting import PATIENCE, Line, open_line
from tests.support import story

LEVELS = st.sampled_from(["high", "normal", "bulk"])


def waiting(name: str, level: Level = "normal", priority: int = 5) -> Story:
    return story(1, story_id=name, level=level, priority=priority)


def served(line: Line) -> list[str]:
    return [line.pop().story_id for _ in range(len(line))]


def test_high_comes_before_normal_before_bulk() -> None:
    line = Line()
    for level in ("bulk", "normal", "high"):
        line.add(waiting(level, level))
    assert served(line) == ["high", "normal", "bulk"]


def test_within_a_level_the_higher_priority_comes_first_and_the_level_decides_before_it() -> None:
    line = Line()
    for name, level, priority in [
        ("n9", "normal", 9),
        ("h0", "high", 0),
        ("n0", "normal", 0),
        ("h9", "high", 9),
    ]:
        line.add(waiting(name, level, priority))  # type: ignore[arg-type] # a level, written out above
    assert served(line) == ["h9", "h0", "n9", "n0"]


def test_between_equals_the_older_one_comes_first() -> None:
    line = Line()
    for number in range(5):
        line.add(waiting(str(number)))
    assert served(line) == ["0", "1", "2", "3", "4"]


def test_bulk_has_its_turn_while_high_keep_coming() -> None:
    line = Line()
    line.add(waiting("bulk", "bulk"))
    turns = []
    for number in range(PATIENCE + 1):
        line.add(waiting(f"high-{number}", "high"))
        turns.append(line.pop().story_id)
    assert turns == [*(f"high-{number}" for number in range(PATIENCE)), "bulk"]


@given(st.lists(st.tuples(LEVELS, st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=80))
def test_the_head_of_every_class_waits_a_bounded_number_of_turns(
    arrivals: list[tuple[Level, int, int]],
) -> None:
    """However urgent the others are: once first in its class, a story waits for its patience and the other overdue."""
    line = Line()
    classes = len({(level, priority) for level, priority, _ in arrivals})
    ahead: dict[str, int] = {}
    behind: dict[tuple[str, int], list[str]] = {}

    def pop() -> None:
        taken = line.pop()
        queue = behind[taken.delivery.level, taken.priority]
        assert queue.pop(0) == taken.story_id, "a younger one of the same class came first"
        for others in behind.values():
            if others:
                ahead[others[0]] = ahead.get(others[0], 0) + 1
                assert ahead[others[0]] <= PATIENCE + classes
        ahead.pop(taken.story_id, None)

    for number, (level, priority, turns) in enumerate(arrivals):
        line.add(waiting(str(number), level, priority))
        behind.setdefault((level, priority), []).append(str(number))
        for _ in range(min(turns, len(line))):
            pop()
    while len(line):
        pop()
    assert not any(behind.values())


def test_an_empty_line_has_nobody_whose_turn_it_is() -> None:
    with pytest.raises(IndexError, match="no story"):
        Line().pop()


@pytest.mark.anyio
async def test_a_closed_line_is_served_to_its_end_and_then_ends() -> None:
    into, out = open_line(10)
    async with into:
        await into.send(waiting("low", "bulk"))
        await into.send(waiting("urgent", "high"))
    assert [item.story_id async for item in out] == ["urgent", "low"]
    assert (out.statistics().waiting, out.statistics().served) == (0, 2)


@pytest.mark.anyio
async def test_a_full_line_makes_senders_wait_until_one_is_served() -> None:
    into, out = open_line(2)
    sent: list[str] = []

    async def send_three() -> None:
        for name in ("a", "b", "c"):
            await into.send(waiting(name))
            sent.append(name)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send_three)
        await anyio.sleep(3_600)
        assert sent == ["a", "b"]
        assert out.statistics().waiting == 2
        assert (await out.receive()).story_id == "a"
        await anyio.sleep(1)
        assert sent == ["a", "b", "c"]


@pytest.mark.anyio
async def test_many_senders_never_pass_the_bound() -> None:
    into, out = open_line(3)
    longest = 0
    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(into.send, waiting(str(number)))
        for _ in range(12):
            await checkpoint()
            longest = max(longest, out.statistics().waiting)
            await out.receive()
    assert longest == 3
    assert out.statistics().served == 12


@pytest.mark.anyio
async def test_cancelling_receive_at_any_step_loses_no_story() -> None:
    for steps in range(8):
        into, out = open_line(10)
        received: list[str] = []

        async def receive(out: object = out, received: list[str] = received) -> None:
            received.append((await out.receive()).story_id)  # type: ignore[attr-defined] # bound early, for the loop

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            for step in range(steps):
                if step == 2:
                    await into.send(waiting("only"))
                await checkpoint()
            tasks.cancel_scope.cancel()
        if steps > 2:
            assert len(received) + out.statistics().waiting == 1, f"lost after {steps} steps"


@pytest.mark.anyio
async def test_a_cancelled_send_puts_nothing_into_the_line() -> None:
    into, out = open_line(1)
    await into.send(waiting("first"))
    with anyio.move_on_after(5):
        await into.send(waiting("second"))
    await into.aclose()
    assert [item.story_id async for item in out] == ["first"]


@pytest.mark.anyio
async def test_the_wait_for_a_story_ends_when_one_comes() -> None:
    into, out = open_line(1)

    async def send_later() -> None:
        await anyio.sleep(60)
        await into.send(waiting("late"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send_later)
        assert (await out.receive()).story_id == "late"


@pytest.mark.anyio
async def test_closing_the_receiving_end_fails_a_waiting_sender() -> None:
    into, out = open_line(1)
    await into.send(waiting("first"))

    async def close_later() -> None:
        await anyio.sleep(1)
        await out.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(close_later)
        with pytest.raises(anyio.BrokenResourceError):
            await into.send(waiting("second"))
    with pytest.raises(anyio.BrokenResourceError):
        await into.send(waiting("third"))


@pytest.mark.anyio
async def test_a_closed_sender_can_not_send() -> None:
    into, _ = open_line(1)
    await into.aclose()
    with pytest.raises(anyio.ClosedResourceError):
        await into.send(waiting("late"))


@pytest.mark.anyio
async def test_a_discarded_line_is_empty_and_ends() -> None:
    into, out = open_line(5)
    for name in ("a", "b"):
        await into.send(waiting(name))
    out.discard()
    assert (out.statistics().waiting, out.statistics().served) == (0, 0)
    with anyio.fail_after(60), pytest.raises(anyio.EndOfStream):
        await out.receive()


@pytest.mark.anyio
async def test_what_is_sent_into_a_discarded_line_is_dropped_however_much_it_is() -> None:
    into, out = open_line(2)
    out.discard()
    with anyio.fail_after(1):
        for number in range(5):
            await into.send(waiting(str(number)))
    assert out.statistics().waiting == 0
    with anyio.fail_after(60), pytest.raises(anyio.EndOfStream):
        await out.receive()


@pytest.mark.anyio
async def test_who_waits_for_a_story_when_the_line_is_discarded_is_told_that_none_comes() -> None:
    into, out = open_line(2)
    received: list[Story] = []

    async def receive() -> None:
        received.extend([item async for item in out])

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            await anyio.sleep(1)
            out.discard()
            await into.send(waiting("late"))
    assert received == []


@pytest.mark.anyio
async def test_a_story_that_waits_for_room_when_the_line_is_discarded_is_dropped_too() -> None:
    into, out = open_line(1)
    await into.send(waiting("first"))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(into.send, waiting("second"))
        await anyio.sleep(1)
        out.discard()
    assert out.statistics().waiting == 0
    with anyio.fail_after(60), pytest.raises(anyio.EndOfStream):
        await out.receive()


@pytest.mark.anyio
async def test_a_discarded_line_drops_what_comes_even_when_nobody_takes_any_more() -> None:
    into, out = open_line(5)
    out.discard()
    await out.aclose()
    await into.send(waiting("late"))
    assert out.statistics().waiting == 0
