"""`storycast engine`: one engine of one session on NATS, found by tools, served alone, ended in good order."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import trio
from nats.micro.service import ServiceInfo

from stages.engine import Receipt
from stages.errors import EngineFailure, OutcomeUnknown, Unavailable
from stages.messages import Text
from tests.nats_support import eventually
from tests.ops.support import Call, Command, NatsServer
from tests.support import people
from transports.bus import Outbound, open_bus
from transports.remote import open_remote
from transports.remote.asking import ask_status

SLOW = "[latency]\na = 1.0\nb = 0.0\n"
ENGINE = ("engine", "simulated")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("engine")
    (home / "slow.toml").write_text(SLOW)
    return home


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[NatsServer]:
    with NatsServer(home, jetstream=False) as server:
        yield server


def start(server: NatsServer, home: Path, session: str, *more: str) -> Command:
    where = ("--url", server.url, "--session", session)
    return Command(*ENGINE, *where, *more, home=home, settings={"STORYCAST_PROFILE": "slow.toml"})


def send(url: str, session: str) -> None:
    async def main() -> None:
        async with open_bus(url) as bus, open_remote(bus, session) as engine:
            receipt = await engine.send(Text(text="Hi"), people(3), "3EB0A")
            assert receipt.message_id == "3EB0A"

    trio.run(main)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_says_what_it_serves_and_how_to_see_it_and_a_signal_ends_it_with_0(
    server: NatsServer, home: Path, how: signal.Signals
) -> None:
    with start(server, home, "main") as engine:
        engine.until("Ctrl-C ends it")
        send(server.url, "main")
        engine.process.send_signal(how)
        ended = engine.end()
    assert ended.code == 0
    assert ended.err == ""
    assert ended.out.startswith(
        f"storycast: serving the simulated engine of session main on {server.url}; "
        "`nats micro info storycast-engine` shows it. Ctrl-C ends it.\n"
    )


def test_what_it_says_to_look_at_shows_it(server: NatsServer, home: Path) -> None:
    async def info() -> ServiceInfo:
        async with open_bus(server.url) as bus:
            reply = await bus.request(Outbound("$SRV.INFO.storycast-engine"))
            return ServiceInfo.from_dict(msgspec.json.decode(reply.data))

    with start(server, home, "shown") as engine:
        engine.until("Ctrl-C ends it")
        assert trio.run(info).metadata == {"session": "shown", "engine": "simulated"}


def test_a_second_one_of_a_session_ends_with_2_and_names_the_first(server: NatsServer, home: Path) -> None:
    with start(server, home, "twice") as first:
        first.until("Ctrl-C ends it")
        with start(server, home, "twice") as second:
            ended = second.end()
        assert ended.code == 2
        [said] = ended.err.splitlines()
        assert said.startswith("storycast: session 'twice' is served already by simulated on ")
        assert f"process {first.process.pid}" in said
        assert ended.out == ""


def test_a_call_under_way_gets_to_end_and_a_second_ctrl_c_does_not_wait_for_it(
    server: NatsServer, home: Path
) -> None:
    async def interrupted(engine: Command, session: str, times: int) -> EngineFailure | Receipt:
        """What becomes of a call in the middle of which Ctrl-C is pressed so often."""
        outcome: EngineFailure | Receipt = Unavailable("never called")
        async with open_bus(server.url) as bus, open_remote(bus, session) as remote:

            async def call() -> None:
                nonlocal outcome
                try:
                    outcome = await remote.send(Text(text="Hi"), people(3), "3EB0A")
                except EngineFailure as failure:
                    outcome = failure

            async def has_it() -> bool:
                return bool((await ask_status(bus, session)).calls)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await eventually(has_it, bool)
                for time in range(times):
                    engine.interrupt()
                    engine.until("Once more ends at once", times=time + 1)
        return outcome

    with start(server, home, "calm") as engine:
        engine.until("Ctrl-C ends it")
        assert isinstance(trio.run(interrupted, engine, "calm", 1), Receipt)
        assert engine.end().code == 0
    with start(server, home, "hasty") as engine:
        engine.until("Ctrl-C ends it")
        assert isinstance(trio.run(interrupted, engine, "hasty", 2), OutcomeUnknown)
        assert engine.end().code == 0


def test_a_session_that_cannot_be_one_is_refused(call: Call) -> None:
    ended = call(*ENGINE, "--session", "a.b")
    assert ended.code == 2
    assert "--session: found 'a.b'" in ended.err
