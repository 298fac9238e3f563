"""The bridge runs asyncio code for Trio tasks: results, cancellation, clocks, failures, fairness."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

import nats
import pytest
import trio
import trio.testing
from nats.aio.msg import Msg

from transports import bridge as bridge_module
from transports.alarm import alarm_for, thread_alarm, trio_alarm
from transports.bridge import Bridge, open_bridge
from transports.errors import TransportError
from transports.mailbox import Mailbox
from transports.server import open_server

Main = Callable[[], Awaitable[Any]]


class Boom(Exception):
    """What the tests let asyncio code raise."""


async def boom() -> NoReturn:
    raise Boom("on the asyncio side")


async def forever(log: list[str]) -> None:
    """Run until cancelled, and take a few iterations to end."""
    log.append("begun")
    try:
        await asyncio.sleep(3600)  # its timer keeps the task alive: the loop itself refers to tasks weakly
    finally:
        for _ in range(20):
            await asyncio.sleep(0)
        log.append("ended")


# Results and errors


@pytest.mark.trio
async def test_a_call_takes_arguments_and_returns_the_result() -> None:
    async def add(a: int, *, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    async with open_bridge() as bridge:
        assert await bridge.call(add, 2, b=3) == 5


@pytest.mark.trio
async def test_an_exception_comes_through_with_its_traceback() -> None:
    async with open_bridge() as bridge:
        with pytest.raises(Boom) as caught:
            await bridge.call(boom)
    assert "boom" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


@pytest.mark.trio
async def test_a_hundred_calls_run_at_once_and_each_gets_its_own_result() -> None:
    gate = asyncio.Event()
    results: dict[int, int] = {}

    async def square(n: int) -> int:
        await gate.wait()
        return n * n

    async def one(bridge: Bridge, n: int) -> None:
        results[n] = await bridge.call(square, n)

    async with open_bridge() as bridge:
        async with trio.open_nursery() as nursery:
            for n in range(100):
                nursery.start_soon(one, bridge, n)
            await trio.testing.wait_all_tasks_blocked()
            assert bridge.statistics().pending == 100
            gate.set()
            bridge.wake()
        assert bridge.statistics().pending == 0
        assert bridge.statistics().calls == 100
    assert results == {n: n * n for n in range(100)}


@pytest.mark.trio
async def test_two_bridges_run_side_by_side() -> None:
    async with open_bridge() as one, open_bridge() as two:
        loops = [await bridge.call(_loop_of) for bridge in (one, two, one)]
    assert loops[0] is loops[2]
    assert loops[0] is not loops[1]


async def _loop_of() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


@pytest.mark.trio
async def test_a_call_from_asyncio_code_is_refused() -> None:
    async with open_bridge() as bridge:

        async def nested() -> None:
            await bridge.call(boom)

        with pytest.raises(RuntimeError, match="asyncio code awaits the coroutine itself"):
            await bridge.call(nested)


@pytest.mark.trio
async def test_a_call_after_the_block_is_refused() -> None:
    async with open_bridge() as bridge:
        pass
    with pytest.raises(TransportError, match="the bridge is closed"):
        await bridge.call(boom)


# Cancellation


@pytest.mark.trio
async def test_cancelling_a_call_cancels_its_asyncio_task_and_waits_until_that_has_ended() -> None:
    log: list[str] = []
    async with open_bridge() as bridge, trio.open_nursery() as nursery:
        nursery.start_soon(bridge.call, forever, log)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert log == ["begun", "ended"]


@pytest.mark.trio
async def test_a_call_in_a_cancelled_scope_never_begins() -> None:
    log: list[str] = []
    async with open_bridge() as bridge:
        with trio.CancelScope() as scope:
            scope.cancel()
            await bridge.call(forever, log)
    assert scope.cancelled_caught
    assert log == []


@pytest.mark.trio
async def test_a_result_that_comes_in_spite_of_cancellation_is_not_lost() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            return "the last word"
        return "never"

    got: list[str] = []
    async with open_bridge() as bridge:

        async def caller() -> None:
            got.append(await bridge.call(stubborn))
            await trio.lowlevel.checkpoint()
            got.append("went on after the next checkpoint")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert got == ["the last word"]


@pytest.mark.trio
async def test_a_result_that_was_there_when_cancellation_came_is_not_lost() -> None:
    scope = trio.CancelScope()

    async def finish() -> int:
        # Runs when this task is done, and before its caller has heard of it.
        asyncio.get_running_loop().call_soon(scope.cancel)
        return 8

    async with open_bridge() as bridge:
        with scope:
            assert await bridge.call(finish) == 8
    assert scope.cancel_called
    assert not scope.cancelled_caught


@pytest.mark.trio
async def test_an_error_during_cancellation_reaches_the_caller() -> None:
    async def fails_to_clean_up() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise Boom

    async with open_bridge() as bridge:
        with pytest.RaisesGroup(Boom):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bridge.call, fails_to_clean_up)
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_cancellation_trio_did_not_ask_for_is_a_clear_error() -> None:
    async def cancelled_by_somebody() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async with open_bridge() as bridge:
        with pytest.raises(TransportError, match="cancelled_by_somebody was cancelled on the asyncio side"):
            await bridge.call(cancelled_by_somebody)


@pytest.mark.trio
async def test_a_shielded_clean_up_in_a_cancelled_block_can_still_call() -> None:
    log: list[str] = []

    async def say_goodbye() -> None:
        await asyncio.sleep(0.01)
        log.append("goodbye")

    with trio.CancelScope() as scope:
        async with open_bridge() as bridge:
            try:
                scope.cancel()
                await trio.lowlevel.checkpoint()
            finally:
                with trio.CancelScope(shield=True):
                    await bridge.call(say_goodbye)
    assert scope.cancelled_caught
    assert log == ["goodbye"]


# The end of the block


async def _start(coroutine: Callable[[list[str]], Any], log: list[str]) -> asyncio.Task[Any]:
    task = asyncio.get_running_loop().create_task(coroutine(log))
    await asyncio.sleep(0)
    return task


@pytest.mark.trio
async def test_leftover_tasks_are_cancelled_and_awaited_and_the_loop_is_closed() -> None:
    log: list[str] = []
    async with open_bridge() as bridge:
        task = await bridge.call(_start, forever, log)
        loop = await bridge.call(_loop_of)
    assert log == ["begun", "ended"]
    assert task.cancelled()
    assert loop.is_closed()


@pytest.mark.trio
async def test_leftover_tasks_are_awaited_under_cancellation_too() -> None:
    log: list[str] = []
    with trio.CancelScope() as scope:
        async with open_bridge() as bridge:
            await bridge.call(_start, forever, log)
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert log == ["begun", "ended"]


@pytest.mark.trio
async def test_leftover_tasks_that_start_more_as_they_end_are_ended_too() -> None:
    log: list[str] = []
    offspring: list[asyncio.Task[Any]] = []

    async def hydra(log: list[str]) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            offspring.append(await _start(forever, log))

    async with open_bridge() as bridge:
        await bridge.call(_start, hydra, log)
    assert log == ["begun", "ended"]
    assert offspring[0].cancelled()


@pytest.mark.trio
async def test_a_leftover_that_fails_as_it_ends_is_heard() -> None:
    async def fails_to_clean_up(log: list[str]) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise Boom

    with pytest.RaisesGroup(Boom):
        async with open_bridge() as bridge:
            await bridge.call(_start, fails_to_clean_up, [])


@pytest.mark.trio
async def test_async_generators_are_closed() -> None:
    log: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            for n in count():
                yield n
        finally:
            log.append("closed")

    generator = numbers()

    async def first() -> int:
        return await anext(generator)

    async with open_bridge() as bridge:
        assert await bridge.call(first) == 0
    assert log == ["closed"]


@pytest.mark.trio
async def test_a_leftover_that_will_not_end_is_named_and_its_caller_is_not_left_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bridge_module, "CLOSE_TIMEOUT", 0.05)
    answer: list[str] = []

    async def deaf_task() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    async def caller(bridge: Bridge) -> None:
        with pytest.raises(TransportError, match="deaf_task did not end") as caught:
            await bridge.call(deaf_task)
        answer.append(str(caught.value))

    async with trio.open_nursery() as outer:
        with pytest.RaisesGroup(pytest.RaisesExc(TransportError, match=r"within 0\.05 s: .*deaf_task")):
            async with open_bridge() as bridge:
                outer.start_soon(caller, bridge)
                await trio.testing.wait_all_tasks_blocked()
    assert len(answer) == 1


@pytest.mark.trio
async def test_a_call_that_outlives_the_block_ends_with_a_clear_error() -> None:
    log: list[str] = []

    async def caller(bridge: Bridge) -> None:
        with pytest.raises(TransportError, match="forever was cancelled on the asyncio side"):
            await bridge.call(forever, log)
        log.append("caller told")

    async with trio.open_nursery() as outer, open_bridge() as bridge:
        outer.start_soon(caller, bridge)
        await trio.testing.wait_all_tasks_blocked()
    assert log == ["begun", "ended", "caller told"]


@pytest.mark.trio
async def test_an_error_of_a_call_that_outlives_the_block_is_raised_once_in_its_caller() -> None:
    async def fails_to_clean_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise Boom

    async def caller(bridge: Bridge) -> None:
        with pytest.raises(Boom):
            await bridge.call(fails_to_clean_up)

    async with trio.open_nursery() as outer, open_bridge() as bridge:
        outer.start_soon(caller, bridge)
        await trio.testing.wait_all_tasks_blocked()


# Failures of the asyncio side


async def _callback_raises(bridge: Bridge) -> None:
    def callback() -> NoReturn:
        raise Boom

    asyncio.get_running_loop().call_soon(callback)


async def _nobody_awaits(bridge: Bridge) -> None:
    task = asyncio.get_running_loop().create_task(boom())
    await asyncio.wait([task])


async def _fails_the_bridge(bridge: Bridge) -> None:
    bridge.fail(Boom())


async def _fails_from_a_thread(bridge: Bridge) -> None:
    await asyncio.to_thread(bridge.fail, Boom())


@pytest.mark.trio
@pytest.mark.parametrize(
    "failure", [_callback_raises, _nobody_awaits, _fails_the_bridge, _fails_from_a_thread]
)
async def test_a_failure_on_the_asyncio_side_ends_the_block(failure: Callable[[Bridge], Any]) -> None:
    async def main() -> None:
        async with open_bridge() as bridge:
            await bridge.call(failure, bridge)
            gc.collect()
            await trio.sleep_forever()

    with trio.fail_after(10), pytest.RaisesGroup(Boom):
        await main()


@pytest.mark.trio
async def test_a_complaint_of_the_loop_without_exception_ends_the_block() -> None:
    async def complain() -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "something is off"})

    with trio.fail_after(10), pytest.RaisesGroup(pytest.RaisesExc(TransportError, match="something is off")):
        async with open_bridge() as bridge:
            await bridge.call(complain)
            await trio.sleep_forever()


@pytest.mark.trio
async def test_a_system_exit_on_the_asyncio_side_ends_the_block_in_good_order() -> None:
    log: list[str] = []

    async def leave() -> None:
        def callback() -> NoReturn:
            raise SystemExit(3)

        asyncio.get_running_loop().call_soon(callback)

    with trio.fail_after(10), pytest.RaisesGroup(SystemExit):
        async with open_bridge() as bridge:
            await bridge.call(_start, forever, log)
            await bridge.call(leave)
            await trio.sleep_forever()
    assert log == ["begun", "ended"]


# Clocks


async def _sleep_in_order(log: list[str]) -> None:
    async def one(seconds: float) -> None:
        await asyncio.sleep(seconds)
        log.append(f"{seconds:g}")

    await asyncio.gather(one(0.2), one(0.02), one(0.1))


@pytest.mark.trio
async def test_asyncio_timers_fire_in_order() -> None:
    log: list[str] = []
    async with open_bridge() as bridge:
        await bridge.call(_sleep_in_order, log)
    assert log == ["0.02", "0.1", "0.2"]


def test_under_a_virtual_clock_asyncio_timers_take_no_virtual_time() -> None:
    log: list[str] = []

    async def main() -> None:
        async with open_bridge() as bridge:
            begun = trio.current_time()
            await bridge.call(_sleep_in_order, log)
            assert trio.current_time() == begun

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.05))
    assert log == ["0.02", "0.1", "0.2"]


def test_under_a_virtual_clock_an_hour_of_trio_passes_between_two_keepalives_of_asyncio() -> None:
    log: list[str] = []

    async def keepalive(log: list[str]) -> None:
        while True:
            await asyncio.sleep(20)
            log.append("ping")

    async def main() -> None:
        async with open_bridge() as bridge:
            await bridge.call(_start, keepalive, log)
            begun = trio.current_time()
            await trio.sleep(3600)
            assert trio.current_time() - begun == pytest.approx(3600)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.05))
    assert log == []


def test_under_a_clock_that_stands_still_asyncio_timers_fire() -> None:
    async def main() -> str:
        async with open_bridge() as bridge:
            return await bridge.call(asyncio.sleep, 0.02, "fired")

    assert trio.run(main, clock=trio.testing.MockClock()) == "fired"


@pytest.mark.trio
async def test_the_alarm_is_chosen_by_what_the_clock_does() -> None:
    assert alarm_for(trio.lowlevel.current_clock()) is trio_alarm
    assert alarm_for(trio.testing.MockClock()) is thread_alarm
    assert alarm_for(trio.testing.MockClock(rate=60)) is thread_alarm


@pytest.mark.trio
async def test_a_stopped_thread_alarm_leaves_no_thread() -> None:
    before = threading.active_count()
    with thread_alarm(3600, lambda: None):
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


# Fairness: counted in turns, never in seconds


@pytest.mark.trio
async def test_a_busy_asyncio_side_leaves_trio_its_turns_and_keeps_its_own() -> None:
    spins = 0

    async def spin(log: list[str]) -> None:
        nonlocal spins
        while True:
            spins += 1
            await asyncio.sleep(0)

    async with open_bridge() as bridge:
        await bridge.call(_start, spin, [])
        begun = spins
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        assert 100 <= spins - begun <= 1000


@pytest.mark.trio
async def test_a_busy_trio_side_leaves_asyncio_its_turns() -> None:
    turns = exchanges = 0
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)

    async def ping_pong() -> None:
        nonlocal exchanges
        loop = asyncio.get_running_loop()
        while exchanges < 100:
            await loop.sock_sendall(left, b"ping")
            assert await loop.sock_recv(right, 4) == b"ping"
            exchanges += 1

    async def spin() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    with left, right:
        async with open_bridge() as bridge, trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(spin)
            await bridge.call(ping_pong)
            nursery.cancel_scope.cancel()
    assert exchanges == 100
    assert turns <= 10 * 100 * 10  # ten spinners, at most ten turns each for one exchange


@pytest.mark.trio
async def test_an_idle_bridge_does_not_spin() -> None:
    async with open_bridge() as bridge:
        await bridge.call(asyncio.sleep, 0)
        await trio.testing.wait_all_tasks_blocked()
        before = bridge.statistics().ticks
        await trio.sleep(0.05)
        assert bridge.statistics().ticks == before


# Ctrl-C


def test_ctrl_c_inside_asyncio_code_is_raised_in_trio_after_a_clean_end() -> None:
    log: list[str] = []

    async def interrupted(log: list[str]) -> None:
        signal.raise_signal(signal.SIGINT)
        log.append("asyncio code was not interrupted")
        await forever(log)

    async def main() -> None:
        async with open_bridge() as bridge:
            await bridge.call(interrupted, log)

    with pytest.RaisesGroup(KeyboardInterrupt):
        trio.run(main)
    assert log == ["asyncio code was not interrupted", "begun", "ended"]


def test_a_second_ctrl_c_does_not_interrupt_the_clean_up() -> None:
    log: list[str] = []

    async def impatient(log: list[str]) -> None:
        try:
            await forever(log)
        finally:
            signal.raise_signal(signal.SIGINT)
            for _ in range(20):
                await asyncio.sleep(0)
            log.append("cleaned up")

    async def main() -> None:
        async with open_bridge() as bridge:
            await bridge.call(_start, impatient, log)
            signal.raise_signal(signal.SIGINT)
            await trio.sleep_forever()

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)):
        trio.run(main)
    assert log == ["begun", "ended", "cleaned up"]


def test_ctrl_c_while_a_call_is_set_up_leaves_no_task_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    wake = Bridge.wake

    def wake_and_interrupt(bridge: Bridge) -> None:
        monkeypatch.setattr(Bridge, "wake", wake)
        signal.raise_signal(signal.SIGINT)
        bridge.wake()

    async def main() -> None:
        async with open_bridge() as bridge:
            monkeypatch.setattr(Bridge, "wake", wake_and_interrupt)
            with pytest.raises(KeyboardInterrupt):
                await bridge.call(forever, [])
            assert bridge.statistics().pending == 0

    trio.run(main)


def test_ctrl_c_while_the_block_is_left_does_not_stop_the_clean_up(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    close = Bridge._close

    def interrupt_and_close(bridge: Bridge) -> None:
        signal.raise_signal(signal.SIGINT)
        close(bridge)

    monkeypatch.setattr(Bridge, "_close", interrupt_and_close)

    async def main() -> None:
        async with open_bridge() as bridge:
            await bridge.call(_start, forever, log)

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)):
        trio.run(main)
    assert log == ["begun", "ended"]


_REQUESTS_UNTIL_CTRL_C = """
import nats, trio
from transports.bridge import open_bridge
from transports.server import open_server

async def ask(bridge, nc, asked):
    while True:
        await bridge.call(nc.request, "echo", b"x", timeout=5)
        asked.set()

async def main():
    async with open_server() as server, open_bridge() as bridge:
        nc = await bridge.call(nats.connect, server.url, drain_timeout=2)
        try:
            async def echo(msg):
                await msg.respond(msg.data)
            await bridge.call(nc.subscribe, "echo", cb=echo)
            async with trio.open_nursery() as nursery:
                for _ in range(64):
                    asked = trio.Event()
                    nursery.start_soon(ask, bridge, nc, asked)
                await asked.wait()
                print("asking", flush=True)
        finally:
            with trio.CancelScope(shield=True):
                await bridge.call(nc.drain)
            print("drained", nc.is_closed, flush=True)

try:
    trio.run(main)
except* KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_in_the_middle_of_nats_calls_ends_cleanly_and_quietly() -> None:
    # To the whole process group, as a terminal does it: the server must live on for the drain.
    program = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", _REQUESTS_UNTIL_CTRL_C],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONASYNCIODEBUG": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    with program:
        assert program.stdout is not None
        assert program.stdout.readline() == "asking\n"
        os.killpg(program.pid, signal.SIGINT)
        said, complaints = program.communicate(timeout=2)
    assert (said, complaints) == ("drained True\ninterrupted\n", "")
    assert program.returncode == 0


# With a real NATS server


@pytest.mark.trio
async def test_nats_publishes_subscribes_requests_and_drains() -> None:
    async with open_server() as server, open_bridge() as bridge:
        nc = await bridge.call(nats.connect, server.url, drain_timeout=2)

        async def echo(msg: Msg) -> None:
            await msg.respond(msg.data.upper())

        await bridge.call(nc.subscribe, "echo", cb=echo)
        mailbox = Mailbox[Msg](bridge, bound=16)
        await bridge.call(nc.subscribe, "letters", cb=mailbox.put)
        reply = await bridge.call(nc.request, "echo", b"hello", timeout=5)
        await bridge.call(nc.publish, "letters", b"dear")
        with trio.fail_after(10):
            letters = await mailbox.receive()
        await bridge.call(nc.drain)
        assert reply.data == b"HELLO"
        assert [letter.data for letter in letters] == [b"dear"]
        assert nc.is_closed


@pytest.mark.trio
async def test_nats_reconnects_when_its_server_was_killed_and_comes_back_on_the_same_port(
    tmp_path: Path,
) -> None:
    disconnected, reconnected = trio.Event(), trio.Event()

    async def on_disconnect() -> None:
        disconnected.set()

    async def on_reconnect() -> None:
        reconnected.set()

    async with open_bridge() as bridge:
        with trio.fail_after(20), pytest.RaisesGroup(pytest.RaisesExc(Exception, match="died while in use")):
            async with open_server(tmp_path) as server:
                nc = await bridge.call(
                    nats.connect,
                    server.url,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.05,
                    disconnected_cb=on_disconnect,
                    reconnected_cb=on_reconnect,
                )
                mailbox = Mailbox[Msg](bridge, bound=16)
                await bridge.call(nc.subscribe, "letters", cb=mailbox.put)
                await bridge.call(nc.flush)
                os.kill(server.pid, signal.SIGKILL)
                await disconnected.wait()
                await trio.sleep_forever()
        with trio.fail_after(20):
            async with open_server(tmp_path, port=int(server.url.rpartition(":")[2])):
                await reconnected.wait()
                await bridge.call(nc.publish, "letters", b"still subscribed")
                assert [msg.data for msg in await mailbox.receive()] == [b"still subscribed"]
                await bridge.call(nc.close)


def test_nats_keeps_its_real_time_timeouts_under_a_virtual_clock() -> None:
    async def main() -> None:
        async with open_server() as server, open_bridge() as bridge:
            nc = await bridge.call(nats.connect, server.url)

            async def mute(msg: Msg) -> None:
                pass

            await bridge.call(nc.subscribe, "mute", cb=mute)
            begun = trio.current_time()
            with pytest.raises(nats.errors.TimeoutError):
                await bridge.call(nc.request, "mute", b"", timeout=0.2)
            assert trio.current_time() == begun
            await trio.sleep(3600)
            await bridge.call(nc.flush)
            await bridge.call(nc.close)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.05))
