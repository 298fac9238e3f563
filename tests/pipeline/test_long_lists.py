"""Lists that are too long for a report: whole in the object store, under a name that nobody else has."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from stages.account import NAMED
from tests.nats_support import open_ear, open_nats, open_worker, publish, publish_story
from tests.support import ScriptedEngine, people, request
from transports.lists import NatsLists


@pytest.mark.trio
async def test_whom_a_report_cannot_name_its_list_names() -> None:
    strangers = [f"nobody-{number}" for number in range(NAMED + 1)]
    async with (
        open_nats() as bus,
        open_ear(bus, "storycast.report.>") as ear,
        open_worker(bus, lambda session: nullcontext(ScriptedEngine(seconds=0))),
    ):
        await publish(bus, request("long", [*people(1), *strangers]))
        [report] = await ear.until_reports(1)
        assert (report.skipped, len(report.skipped_recipients)) == (NAMED + 1, NAMED)
        assert (report.failed_ref, report.unknown_ref) == (None, None)
        lines = [line async for some in NatsLists(bus).read(report.skipped_ref or "") for line in some]
    assert lines == [f"{stranger}\tinvalid" for stranger in strangers]


@pytest.mark.trio
async def test_a_list_that_fits_in_its_report_is_nowhere_else() -> None:
    async with (
        open_nats() as bus,
        open_ear(bus, "storycast.report.>") as ear,
        open_worker(bus, lambda session: nullcontext(ScriptedEngine(seconds=0))),
    ):
        await publish_story(bus, "short", [*people(1), "nobody"])
        [report] = await ear.until_reports(1)
    assert (report.skipped_recipients, report.skipped_ref) == (["nobody"], None)
