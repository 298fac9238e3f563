"""Many tasks ask at once, and each gets its own answer, its own error and its own end; on Trio and on asyncio."""

from __future__ import annotations

import anyio
import pytest

from tests.transports.test_runner import url
from transports import asking
from transports.bus import WRONG_LAST_SEQUENCE, Bus, Outbound, Stored, open_bus
from transports.errors import NotStored, PublishRefused, TransportError, Unreachable
from transports.subjects import STREAM_EVENTS, progress_subject

__all__ = ["url"]

pytestmark = pytest.mark.anyio
AT_MOST = 15.0


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Real time: there is a real server at the other end."""
    return str(request.param)


async def test_a_thousand_tasks_store_at_once_and_each_hears_of_its_own(url: str) -> None:
    found: dict[int, int] = {}

    async def store(bus: Bus, number: int) -> None:
        found[number] = (
            await bus.store(Outbound(progress_subject("many", str(number)), b"%d" % number))
        ).sequence

    async with open_bus(url) as bus:
        async with anyio.create_task_group() as group:
            for number in range(1_000):
                group.start_soon(store, bus, number)
        assert len(set(found.values())) == 1_000
        for number in (0, 499, 999):
            kept = await bus.stored_last(STREAM_EVENTS, progress_subject("many", str(number)))
            assert (kept.seq, kept.data) == (found[number], b"%d" % number)


async def test_of_many_stored_in_one_go_each_has_its_own_outcome_in_order(url: str) -> None:
    async with open_bus(url) as bus:
        good, taken = progress_subject("go", "good"), progress_subject("go", "taken")
        await bus.store(Outbound(taken))
        refused = Outbound(taken, b"", {"Nats-Expected-Last-Subject-Sequence": "0"})
        large, nowhere = Outbound(good, b"x" * (bus.max_payload + 1)), Outbound("nobody.takes.this")
        found = await bus.store_all([Outbound(good, b"1"), refused, large, nowhere, Outbound(good, b"2")])
        assert [type(each) for each in found] == [Stored, PublishRefused, PublishRefused, Unreachable, Stored]
        assert isinstance(found[1], PublishRefused)
        assert found[1].code == WRONG_LAST_SEQUENCE
        assert isinstance(found[0], Stored)
        assert isinstance(found[4], Stored)
        assert found[4].sequence == found[0].sequence + 1
        assert await bus.store_all([]) == []


async def test_what_is_stored_nowhere_is_not_found_and_a_store_without_a_stream_says_so(url: str) -> None:
    async with open_bus(url) as bus:
        with pytest.raises(NotStored, match="no message found"):
            await bus.stored_last(STREAM_EVENTS, progress_subject("no", "such"))
        with pytest.raises(Unreachable, match="no stream takes this subject"):
            await bus.store(Outbound("nobody.takes.this"))


async def test_a_cancelled_asker_leaves_the_others_their_answers(url: str) -> None:
    found: list[Stored] = []

    async def store(bus: Bus) -> None:
        found.append(await bus.store(Outbound(progress_subject("cancelled", "one"))))

    async with open_bus(url) as bus:
        async with anyio.create_task_group() as group:
            group.start_soon(store, bus)
            with anyio.CancelScope() as scope:
                scope.cancel()
                await bus.store(Outbound(progress_subject("cancelled", "other")))
            assert scope.cancelled_caught
        assert len(found) == 1
        assert bus.asker.waiting == 0


async def test_what_one_task_publishes_and_stores_arrives_in_its_order(url: str) -> None:
    async with open_bus(url) as bus, bus.subscribe(progress_subject("order", "*")) as mailbox:
        for number in range(0, 50, 2):
            await bus.publish([Outbound(progress_subject("order", "one"), b"%d" % number)])
            await bus.store(Outbound(progress_subject("order", "one"), b"%d" % (number + 1)))
        said: list[int] = []
        with anyio.fail_after(AT_MOST):
            while len(said) < 50:
                said += [int(message.data) for message in await mailbox.receive()]
    assert said == list(range(50))


async def test_without_an_answer_it_is_given_up_after_its_time(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "LOOK_EVERY", 0.01)
    async with open_bus(url) as bus, bus.subscribe("silent"):
        monkeypatch.setattr(bus.asker, "_timeout", 0.05)
        with anyio.fail_after(AT_MOST), pytest.raises(Unreachable, match="did not answer in time"):
            await bus.asker.ask("silent", b"")
        [lost] = await bus.asker.ask_all([Outbound("silent")])
        assert isinstance(lost, Unreachable)
        assert bus.asker.waiting == 0


async def test_whoever_still_waits_when_the_bus_is_left_is_told(url: str) -> None:
    ended: list[str] = []

    async def wait(bus: Bus) -> None:
        with pytest.raises(TransportError, match="is being left"):
            await bus.asker.ask("silent", b"")
        ended.append("asker")

    async with anyio.create_task_group() as outliving, open_bus(url) as bus, bus.subscribe("silent"):
        outliving.start_soon(wait, bus)
        await anyio.wait_all_tasks_blocked()
    assert ended == ["asker"]
    with pytest.raises(TransportError, match="is being left"):
        await bus.store(Outbound("silent"))
