"""Control: an order holds until it is taken back, and cuts short whatever its story waits for."""

from __future__ import annotations

import anyio
import pytest

from stages.control import Control, Order

pytestmark = pytest.mark.anyio


async def waits(control: Control, story_id: str = "sale", *, seconds: float = 1_000) -> float:
    """Wait `seconds`, heeding orders; how long it took."""
    began = anyio.current_time()
    with control.heeded(story_id):
        await anyio.sleep(seconds)
    return anyio.current_time() - began


@pytest.mark.parametrize("order", ["pause", "cancel", "leave"])
async def test_an_order_holds_for_its_story_until_it_is_taken_back(order: Order) -> None:
    control = Control()
    control.give("sale", order)
    assert (control.order_for("sale"), control.order_for("other")) == (order, None)
    control.take_back("sale")
    control.take_back("a stranger")
    assert control.order_for("sale") is None


async def test_the_last_order_is_the_one_that_holds() -> None:
    control = Control()
    control.give("sale", "pause")
    control.give("sale", "cancel")
    assert control.order_for("sale") == "cancel"


async def test_leaving_is_wanted_of_all_stories_that_have_no_order_of_their_own() -> None:
    control = Control()
    control.give("sale", "cancel")
    control.leave()
    assert (control.order_for("sale"), control.order_for("other")) == ("cancel", "leave")
    control.take_back("sale")
    assert control.order_for("sale") == "leave"


async def test_without_an_order_a_wait_takes_its_time_and_what_is_raised_in_it_comes_out() -> None:
    control = Control()
    assert await waits(control, seconds=60) == pytest.approx(60, abs=0.1)
    with pytest.raises(ValueError, match="as it is"), control.heeded("sale"):
        raise ValueError("as it is")


async def test_an_order_ends_all_waits_of_its_story_at_once_and_no_other() -> None:
    control, took = Control(), dict[int, float]()

    async def wait(number: int, story_id: str) -> None:
        took[number] = await waits(control, story_id)

    async with anyio.create_task_group() as tasks:
        for number, story_id in enumerate(["sale", "sale", "other"]):
            tasks.start_soon(wait, number, story_id)
        await anyio.sleep(5)
        control.give("sale", "pause")
    assert [took[number] for number in range(3)] == pytest.approx([5, 5, 1_000], abs=0.1)


async def test_leaving_ends_the_waits_of_all_stories() -> None:
    control, took = Control(), list[float]()

    async def wait(story_id: str) -> None:
        took.append(await waits(control, story_id))

    async with anyio.create_task_group() as tasks:
        for story_id in ("a", "b"):
            tasks.start_soon(wait, story_id)
        await anyio.sleep(5)
        control.leave()
    assert took == pytest.approx([5, 5], abs=0.1)


@pytest.mark.parametrize("leaving", [True, False])
async def test_a_wait_that_begins_under_an_order_ends_at_once(*, leaving: bool) -> None:
    control = Control()
    if leaving:
        control.leave()
    else:
        control.give("sale", "cancel")
    assert await waits(control) == pytest.approx(0, abs=0.1)


async def test_a_wait_after_an_order_was_taken_back_takes_its_time() -> None:
    control = Control()
    control.give("sale", "pause")
    await waits(control)
    control.take_back("sale")
    assert await waits(control, seconds=60) == pytest.approx(60, abs=0.1)


async def test_a_wait_that_is_cancelled_from_outside_is_cancelled() -> None:
    control = Control()
    with anyio.move_on_after(5) as scope:
        await waits(control)
    assert scope.cancelled_caught


async def test_nothing_is_kept_of_waits_that_are_over() -> None:
    control = Control()
    with control.heeded("sale"):
        await waits(control, seconds=1)
        assert control._waiting
    assert not control._waiting
