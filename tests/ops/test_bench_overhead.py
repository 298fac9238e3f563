"""`storycast bench overhead` says where every moment of a story went, by clocks that are not the worker's."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ops.bench import charts
from ops.bench.one_story import Unmeasured
from ops.bench.overhead import Times, run_of, summed_up
from ops.bench.overhead_figures import Overhead, Run, over_calls, over_path, panels
from stages.messages import BatchCounts, Report, SessionLearning
from tests.ops.support import run
from transports.simulated import RecordedCall

REPORT = Report(
    success=True,
    story_id="story-1",
    session_id="bench",
    message_id="3EB0",
    state="completed",
    total_recipients=1000,
    sent_successfully=995,
    failed=5,
    skipped=0,
    unknown=0,
    batches=BatchCounts(total=3, successful=3, failed=0, retried=0),
    batch_sequence=[100, 899],
    total_duration=2_000,
    failed_recipients=[],
    failure_reasons={},
    failures={},
    skips={},
    skipped_recipients=[],
    unknown_recipients=[],
    session_learning=SessionLearning(
        max_proven_batch_size=1000, used_historical_data=False, will_skip_ramping_next_time=True
    ),
)
TIMES = Times(began=9.0, stored=9.2, reported=13.5, checkpoints=[9.5, 9.75, 11.0, 12.5, 13.25])
"""The second checkpoint comes when its call has long ended, and the third one after the pacing is over."""


def call(began: float, ended: float | None, outcome: str | None = "sent") -> RecordedCall:
    return RecordedCall(
        pid=1, session="bench", message_id="3EB0", began=began, recipients=(), ended=ended, outcome=outcome
    )


CALLS = [call(9.6, 9.7), call(10.125, 10.75), call(11.25, 13.0)]


def whole(run: Run) -> float:
    return run.calls + run.pacing + sum(map(float, msgspec.structs.astuple(run.rest)))


def test_calls_pacing_and_the_stages_of_the_rest_are_all_of_the_time() -> None:
    found = run_of(TIMES, CALLS, REPORT)
    assert found.wall == pytest.approx(4.5)
    assert whole(found) == pytest.approx(found.wall)
    assert (found.recipients, found.sent, found.call_count) == (1000, 995, 3)


def test_a_call_may_begin_after_the_delay_and_not_before_its_share_of_a_second() -> None:
    found = run_of(TIMES, CALLS, REPORT)
    # Half a second after the first call began, which took a tenth; 0.1 s after the second one ended.
    assert found.pacing == pytest.approx((9.6 + 0.5 - 9.7) + 0.1)
    assert found.rest.turning == pytest.approx((10.125 - 10.1) + (11.25 - 11.0))


def test_a_checkpoint_counts_only_as_far_as_it_outlasts_the_pacing() -> None:
    found = run_of(TIMES, CALLS, REPORT)
    assert found.rest.storing == pytest.approx(11.0 - 10.85)
    assert found.result_to_checkpoint == pytest.approx(((9.75 - 9.7) + (11.0 - 10.75)) / 2)


def test_what_happens_before_the_first_and_after_the_last_call_is_told_apart() -> None:
    rest = run_of(TIMES, CALLS, REPORT).rest
    assert (rest.sending, rest.ingest, rest.starting, rest.reporting) == pytest.approx((0.2, 0.3, 0.1, 0.5))


@pytest.mark.parametrize(
    "calls",
    [
        [call(9.6, 10.5), call(10.1, 12.0)],
        [call(9.6, 9.7, "unavailable"), call(10.2, 12.0)],
        [call(9.6, 9.7), call(10.2, None, None)],
    ],
    ids=["two at once", "failed", "without end"],
)
def test_calls_that_are_no_path_are_not_measured(calls: list[RecordedCall]) -> None:
    with pytest.raises(Unmeasured, match="not every call was sent, one after the other"):
        run_of(TIMES, calls, REPORT)


def test_the_goal_is_judged_by_the_median_of_the_runs_with_pacing() -> None:
    good = run_of(TIMES, CALLS, REPORT)
    quick = msgspec.structs.replace(good, wall=(good.calls + good.pacing) * 1.03)
    assert [summed_up(1000, runs).goals[0].met for runs in ([quick, good, quick], [good, good, quick])] == [
        True,
        False,
    ]
    assert summed_up(1000, [good]).over_path < summed_up(1000, [good]).over_calls


def test_a_story_is_sent_to_everybody_and_its_time_is_told_apart(tmp_path: Path) -> None:
    ended = run(
        "bench", "overhead", "--recipients", "300", "--runs", "1", "--json", "--out", "found", home=tmp_path
    )
    assert ended.code == 0, ended.err
    found = msgspec.json.decode(ended.out, type=Overhead)
    assert msgspec.json.decode((tmp_path / "found" / "overhead.json").read_bytes(), type=Overhead) == found
    [only] = found.runs
    assert (only.recipients, only.call_count) == (300, 3)
    assert 0 < only.sent <= 300
    assert only.checkpoints > only.call_count
    assert min(only.calls, only.pacing, only.rest.ingest, only.rest.reporting) > 0
    assert whole(only) == pytest.approx(only.wall)
    assert found.over_calls == over_calls(only) > found.over_path == over_path(only)
    assert charts.svg(panels(found), title="overhead")
