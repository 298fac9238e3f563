"""Lists: what is gathered from one is what a request that names everybody itself would give."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

import anyio
import pytest
from anyio.lowlevel import checkpoint

from stages import lists as module
from stages.errors import BadRequest
from stages.lists import AT_ONCE, MemoryLists, gather
from stages.recipients import sort_out
from tests.support import people

pytestmark = pytest.mark.anyio

NOBODY = frozenset[str]()


def kept(*lines: str) -> MemoryLists:
    lists = MemoryLists()
    lists.kept["big"] = lines
    return lists


class InPieces:
    """Gives a list in the pieces it was made with."""

    def __init__(self, *pieces: Sequence[str]) -> None:
        self._pieces = pieces

    async def read(self, name: str) -> AsyncGenerator[Sequence[str], None]:
        for piece in self._pieces:
            await checkpoint()
            yield piece


async def test_a_list_gives_the_roster_that_the_same_recipients_in_a_request_give() -> None:
    written = ["+62 812-0000-0001", *people(3), "nobody", "12345678@lid", people(1)[0]]
    expected = sort_out(written, {people(2)[1]})
    assert await gather(kept(*written), "big", {people(2)[1]}) == expected
    for size in (1, 2, 3):
        pieces = [written[start : start + size] for start in range(0, len(written), size)]
        assert await gather(InPieces(*pieces, []), "big", {people(2)[1]}) == expected


async def test_empty_lines_do_not_count() -> None:
    roster = await gather(kept("", *people(2), " \t", ""), "big", NOBODY)
    assert roster.recipients == people(2)
    assert roster.skipped == []


@pytest.mark.parametrize("first", [1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 5 * AT_ONCE])
async def test_a_group_is_refused_with_the_number_of_its_line(first: int) -> None:
    lines = [*people(first - 1), "1203630@g.us", *people(1)]
    for lists in (kept(*lines), InPieces([""] * (first - 1), lines[first - 1 :])):
        with pytest.raises(BadRequest) as caught:
            await gather(lists, "big", NOBODY)
        why = caught.value
        assert (why.code, why.field, why.found) == (
            "target-not-allowed",
            f"recipientsRef:{first}",
            "a group",
        )


async def test_a_list_that_is_not_there_is_named_in_the_refusal() -> None:
    with pytest.raises(BadRequest) as caught:
        await gather(kept(), "small", NOBODY)
    assert (caught.value.code, caught.value.field, caught.value.found) == (
        "list-missing",
        "recipientsRef",
        "small",
    )


async def test_a_list_of_too_many_lines_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LINES", 10)
    assert len((await gather(InPieces(people(4), people(6)), "big", NOBODY)).recipients) == 6
    with pytest.raises(BadRequest) as caught:
        await gather(InPieces(people(4), people(6), [""]), "big", NOBODY)
    assert (caught.value.code, caught.value.found) == ("list-broken", "more than 10 lines")


async def test_others_get_their_turn_while_a_long_list_is_sorted_out() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        await gather(kept(*people(20 * AT_ONCE)), "big", NOBODY)
        tasks.cancel_scope.cancel()
    assert turns >= 15


async def test_gathering_can_be_cancelled_anywhere() -> None:
    lists = kept(*people(5 * AT_ONCE))
    for turns in range(1, 6):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(gather, lists, "big", NOBODY)
                for _ in range(turns):
                    await checkpoint()
                scope.cancel()
        assert scope.cancelled_caught
