"""Many workers, many sessions, many stories, and workers killed and started at random all the while."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from random import Random

import trio
from msgspec import Struct

from stages.message_id import message_id_of
from tests.faults.checks import at_the_same_time
from tests.faults.figures import Row
from tests.faults.processes import RARELY, until
from tests.faults.scene import Scene, open_scene
from tests.support import people
from transports.simulated import Record
from transports.subjects import report_subject

RECIPIENTS = 300
BATCH = 100
BATCHES = {"SMART_SEND_BATCH_SIZE": str(BATCH)}


class Crowd(Struct, frozen=True, kw_only=True):
    """How many there are, and for how many `seconds` workers are killed."""

    workers: int
    sessions: int
    stories: int
    seconds: float

    def names(self) -> list[tuple[str, str]]:
        """Session and story of each story; those of one session come together, so that they have to wait."""
        each = self.stories // self.sessions
        return [(f"s{number // each}", f"story-{number}") for number in range(self.stories)]


class After(Struct, frozen=True):
    """What became of it all."""

    crowd: Crowd
    kills: int
    record: Record
    reports: dict[str, int]
    """Reports on each subject."""
    refused: list[str]
    """What nats-server would not let workers do."""

    def missing(self) -> list[str]:
        """Subjects of stories without a report."""
        return [
            subject for each in self.crowd.names() if (subject := report_subject(*each)) not in self.reports
        ]

    def not_seen(self) -> int:
        """Recipients that did not surely see some story of their session."""
        return sum(
            len(set(people(RECIPIENTS)) - self._audience(session, message_id_of(session, story)))
            for session, story in self.crowd.names()
        )

    def foreign(self) -> set[str]:
        """Message ids that are no story's: whoever saw one saw something twice."""
        ours = {message_id_of(session, story) for session, story in self.crowd.names()}
        return {call.message_id for call in self.record.calls} - ours

    def passes(self) -> dict[str, int]:
        """Message id to how often the story went from one worker to another."""
        pids: dict[str, set[int]] = defaultdict(set)
        for call in self.record.calls:
            pids[call.message_id].add(call.pid)
        return {message_id: len(its) - 1 for message_id, its in pids.items()}

    def sent_again(self) -> dict[str, int]:
        """Message id to sendings that were not the first ones to their recipient."""
        sent = Counter[str]()
        for call in self.record.calls:
            sent[call.message_id] += len(call.recipients) if call.may_have_sent else 0
        return {message_id: count - RECIPIENTS for message_id, count in sent.items()}

    def _audience(self, session: str, message_id: str) -> set[str]:
        calls = (
            call for call in self.record.calls if (call.session, call.message_id) == (session, message_id)
        )
        return {jid for call in calls for jid in call.reached}

    def row(self) -> Row:
        """Its figures."""
        own = self.crowd
        return Row(
            scenario=f"{own.workers} workers, {own.sessions} sessions, workers killed for {own.seconds:g} s",
            faults=self.kills,
            stories=own.stories,
            recipients=own.stories * RECIPIENTS,
            not_seen=self.not_seen(),
            seen_twice=len(self.foreign()),
            reports_missing=len(self.missing()),
            reports_too_many=sum(self.reports.values()) - len(self.reports),
            served_twice=len(at_the_same_time(self.record)),
            sent_again_per_fault=max(
                again // max(self.passes()[story], 1) for story, again in self.sent_again().items()
            ),
            batch=BATCH,
        )


async def kill_in_a_crowd(home: Path, crowd: Crowd, *, seed: int = 0) -> After:
    """Publish all stories while workers are killed and started; then wait until everything is settled."""
    random = Random(f"crowd {seed}")
    async with open_scene(home) as scene:
        for _ in range(crowd.workers):
            await scene.worker(**BATCHES)
        kills = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_publish, scene, crowd)
            with trio.move_on_after(crowd.seconds):
                while True:
                    await trio.sleep(random.uniform(0.2, 2.5))
                    random.choice([worker for worker in scene.workers if worker.is_alive]).kill()
                    kills += 1
                    await trio.sleep(random.uniform(0, 1))
                    scene.start_worker(**BATCHES)
        while sum(worker.is_alive for worker in scene.workers) < crowd.workers:
            scene.start_worker(**BATCHES)
        return After(crowd, kills, *await _settled(scene, crowd))


async def _publish(scene: Scene, crowd: Crowd) -> None:
    """Spread over the time in which workers are killed."""
    for session, story in crowd.names():
        await scene.publish(story, RECIPIENTS, session=session)
        await trio.sleep(crowd.seconds / crowd.stories / 2)


async def _settled(scene: Scene, crowd: Crowd) -> tuple[Record, dict[str, int], list[str]]:
    async def all_reported() -> bool:
        return len(await scene.reports()) >= crowd.stories

    await until(all_reported, lambda: "all stories are reported", every=RARELY * 10)
    await scene.until_settled()
    await scene.end_workers()
    return scene.record, await scene.reports(), scene.refused_by_nats()
