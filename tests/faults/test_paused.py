"""A story is paused, its worker is killed, another one is started, and then the story is resumed."""

from __future__ import annotations

import pytest
import trio

from tests.faults import promises
from tests.faults.coming import CONTROL
from tests.faults.runs import Paused, kill_while_paused

pytestmark = [pytest.mark.timeout(240), CONTROL]


@pytest.fixture(scope="module")
def paused(tmp_path_factory: pytest.TempPathFactory) -> Paused:
    return trio.run(kill_while_paused, tmp_path_factory.mktemp("paused") / "0", 0)


def test_no_call_is_made_while_the_story_is_paused_whoever_has_it(paused: Paused) -> None:
    meanwhile = [call for call in paused.outcome.record.calls if paused.at < call.began < paused.until]
    assert meanwhile == []


def test_it_goes_on_where_it_was_and_everybody_sees_it_once(paused: Paused) -> None:
    promises.seen_exactly_once([paused.outcome])
    promises.one_batch_again_at_most([paused.outcome])


def test_there_is_exactly_one_report_and_its_counts_add_up(paused: Paused) -> None:
    promises.reported_once([paused.outcome])
