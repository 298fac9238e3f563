"""On an engine that cannot reuse a message id nobody is ever sent a story again who may have it, whatever happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.checkpoint import MemoryJobs
from stages.engine import Capabilities, EngineStatus, Receipt
from stages.errors import EngineFailure, OutcomeUnknown
from stages.messages import Content, Report
from stages.options import SmartSend
from tests.pipeline.test_resume import PROFILES
from tests.support import delivery, on_virtual_time, people, request, run_through
from transports.simulated import Profile, SimulatedEngine
from transports.simulated.profile import Abilities

OWN_IDS = Abilities(reuses_message_id=False)
MOST_LIVES = 40


class Noting:
    """The simulated engine; notes of each call whom it may have reached, and whom it surely did."""

    def __init__(self, profile: Profile) -> None:
        self._engine = SimulatedEngine(profile)
        self.perhaps: Counter[str] = Counter()
        self.surely: set[str] = set()

    @property
    def capabilities(self) -> Capabilities:
        return self._engine.capabilities

    async def status(self) -> EngineStatus:
        return await self._engine.status()

    async def audience(self) -> Sequence[str]:
        return await self._engine.audience()

    async def send(self, content: Content, recipients: Sequence[str], message_id: str | None) -> Receipt:
        assert message_id is None
        reached: Sequence[str] = recipients  # a call that is cut off may have reached all of them
        try:
            receipt = await self._engine.send(content, recipients, message_id)
            reached = [jid for jid in recipients if jid not in receipt.failed]
            self.surely.update(reached)
        except EngineFailure as failure:
            reached = recipients if isinstance(failure, OutcomeUnknown) else []
            raise
        finally:
            self.perhaps.update(reached)
        return receipt


async def lived_through(engine: Noting, total: int, options: SmartSend, crashes: Sequence[float]) -> Report:
    """The report of a story whose lane crashes after so many seconds each, until one is not disturbed."""
    jobs = MemoryJobs()
    for attempt, seconds in enumerate(crashes, start=1):
        with trio.move_on_after(seconds):
            run = await run_through(
                [delivery(request("sale", total), attempt=attempt)], engine=engine, jobs=jobs, options=options
            )
            if run.reports:
                return run.report
    for attempt in range(len(crashes) + 1, MOST_LIVES):
        again = [delivery(request("sale", total), attempt=attempt)]
        run = await run_through(again, engine=engine, jobs=jobs, options=options)
        if run.reports:
            return run.report
    raise AssertionError("no report, however often it was taken up")


@settings(max_examples=30)
@given(
    total=st.integers(1, 400),
    profile=PROFILES,
    crashes=st.lists(st.floats(0.01, 12), max_size=3),
    concurrent=st.integers(1, 3),
    enabled=st.booleans(),
)
def test_nobody_is_sent_it_again_who_may_have_it_and_the_report_is_true(
    total: int, profile: Profile, crashes: list[float], concurrent: int, *, enabled: bool
) -> None:
    own_ids = Profile(
        **{name: getattr(profile, name) for name in profile.__struct_fields__} | {"abilities": OWN_IDS}
    )
    options = SmartSend(
        max_concurrent=concurrent,
        enabled=enabled,
        batch_delay=0,
        max_batches_per_second=100,
        max_batch_size=150,
    )

    async def main() -> None:
        engine = Noting(own_ids)
        report = await lived_through(engine, total, options, crashes)
        assert max(engine.perhaps.values(), default=0) <= 1
        assert report.sent_successfully + report.failed + report.unknown + report.skipped == total
        unknown = set(report.unknown_recipients)
        assert engine.surely <= set(people(total)) - set(report.failed_recipients)
        assert report.sent_successfully + len(unknown & engine.surely) == len(engine.surely)
        assert len(report.message_ids) == len(set(report.message_ids))

    on_virtual_time(main)
