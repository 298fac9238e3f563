"""Ten thousand requests that are refused, with some good ones in their midst."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path

from msgspec import Struct

from tests.faults.processes import RARELY, until
from tests.faults.scene import Scene, open_scene
from transports.bus import Outbound
from transports.streams import ensure
from transports.subjects import STREAM_EVENTS, STREAM_REJECTED, report_subject, send_subject

GOOD = [f"good-{number}" for number in range(5)]
BAD = 10_000
BAD_SESSIONS = 20
RECIPIENTS = 300


class Flood(Struct, frozen=True):
    """What became of it."""

    reports: dict[str, datetime]
    """Session of each good story to when its report was stored, by the server's clock."""
    last_rejection: datetime
    rejections: int


async def flood(home: Path) -> Flood:
    """All requests are there before the worker is: half of the bad ones, the good ones, the other half."""
    async with open_scene(home) as scene:
        await ensure(scene.bus)
        await _publish_bad(scene, range(BAD // 2))
        for session in GOOD:
            await scene.publish("good", RECIPIENTS, session=session)
        await _publish_bad(scene, range(BAD // 2, BAD))
        await scene.worker()
        for session in GOOD:
            await scene.until_report("good", session=session)
        await until(lambda: _all_rejected(scene), lambda: "all bad requests are refused", every=RARELY * 5)
        await scene.until_settled()
        reports = {
            session: await _stored_at(scene, STREAM_EVENTS, report_subject(session, "good"))
            for session in GOOD
        }
        last = await _stored_at(scene, STREAM_REJECTED, "storycast.rejected.*")
        return Flood(reports, last, await _rejections(scene))


async def _publish_bad(scene: Scene, numbers: range) -> None:
    """Publish what is no request, and wait until it is stored."""
    bad = [Outbound(send_subject(f"bad-{number % BAD_SESSIONS}"), b"{") for number in numbers]
    for first in range(0, len(bad), 500):
        await scene.bus.publish(bad[first : first + 500])

    async def stored() -> bool:
        return await scene.stored() >= numbers.stop

    await until(stored, lambda: "the bad requests are stored", every=RARELY)


async def _all_rejected(scene: Scene) -> bool:
    return await _rejections(scene) >= BAD


async def _rejections(scene: Scene) -> int:
    info = await scene.ask(partial(scene.bus.call, scene.bus.jetstream.stream_info, STREAM_REJECTED))
    return int(info.state.messages)


async def _stored_at(scene: Scene, stream: str, subject: str) -> datetime:
    found = await scene.ask(
        partial(scene.bus.call, scene.bus.jetstream.get_last_msg, stream, subject, direct=False)
    )
    assert found.time is not None
    return found.time
