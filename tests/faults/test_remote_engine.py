"""The process that an engine is served in is killed in the middle of calls, and started again."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from pipeline.settings import Infrastructure, Settings
from stages.message_id import message_id_of
from stages.options import SmartSend
from tests.faults.checks import seen_twice
from tests.faults.processes import Child, storycast, until
from tests.nats_support import Ear, open_ear, open_nats, open_worker, publish_story, url_of
from tests.support import people
from transports.remote import open_remote
from transports.simulated import read_record
from transports.simulated.record import read_ends, unpacked

KILLS = 3
PEOPLE = people(400)
SLOW = "[latency]\na = 0.08\nb = 0.0\n"
OFTEN = 0.1
"""Seconds between two looks at a call under way."""


def serve(home: Path, url: str, number: int) -> Child:
    """The engine in the `number`-th process."""
    settings = {"STORYCAST_RECORD": str(home / "record"), "STORYCAST_PROFILE": str(home / "slow.toml")}
    return storycast(f"engine-{number}", "engine", "simulated", "--url", url, home=home, settings=settings)


async def is_sending_a_batch(record: Path, pid: int) -> bool:
    """Whether a call to several has begun in the process that has not ended."""
    began, ended = read_ends(record)
    under_way = (call for name, call in began.items() if call.pid == pid and name not in ended)
    return any(len(unpacked(call.to)) > 1 for call in under_way)


async def has_reported(ear: Ear) -> bool:
    return bool(ear.reports)


@pytest.mark.trio
async def test_an_engine_killed_in_its_calls_costs_nobody_the_story_and_shows_it_to_nobody_twice(
    tmp_path: Path,
) -> None:
    (tmp_path / "slow.toml").write_text(SLOW)
    record = tmp_path / "record"
    options = SmartSend(strategy="fixed", batch_size=40, batch_delay=0, max_batches_per_second=1000)
    settings = Settings(smart_send=options, storycast=Infrastructure(unsure_pause=0.05))
    with ExitStack() as processes:
        async with open_nats() as bus, open_ear(bus, "storycast.report.>") as ear:
            engine = processes.enter_context(serve(tmp_path, url_of(bus), 0))
            await engine.until_says("serving the simulated engine of session main")
            async with open_worker(bus, partial(open_remote, bus, look_every=OFTEN), settings):
                await publish_story(bus, "sale", PEOPLE)
                for number in range(KILLS):
                    await until(
                        partial(is_sending_a_batch, record, engine.pid), lambda: "a batch is under way"
                    )
                    engine.kill()
                    engine = processes.enter_context(serve(tmp_path, url_of(bus), number + 1))
                await until(partial(has_reported, ear), lambda: "a report")
            [report] = ear.reports
    found = read_record(record)
    assert sum(call.is_cut for call in found.calls) == KILLS
    counts = (report.sent_successfully, report.failed, report.skipped, report.unknown)
    assert (report.state, counts) == ("completed", (len(PEOPLE), 0, 0, 0))
    assert seen_twice(found) == []
    assert found.seen() == {jid: {message_id_of("main", "sale")} for jid in PEOPLE}
