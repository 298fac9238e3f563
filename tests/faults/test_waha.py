"""The main job over WAHA: whatever single calls meet, and though the worker is killed, each contact has it once."""

from __future__ import annotations

import pytest
import trio

from stages.message_id import message_id_of
from tests.faults.waha_play import LATER, MET, RECIPIENTS, STOPPED, Played, play
from tests.support import people

pytestmark = pytest.mark.timeout(240)
SURVIVED = [name for name in MET if name != "content-refused"]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Played]:
    return trio.run(play, tmp_path_factory.mktemp("waha"))


@pytest.mark.parametrize("session", SURVIVED)
def test_each_contact_sees_the_story_exactly_once_under_one_id(
    played: dict[str, Played], session: str
) -> None:
    found, wanted = played[session], message_id_of(session, "sale")
    [report] = found.reports
    assert (report.state, report.sent_successfully, report.message_id) == ("completed", RECIPIENTS, wanted)
    assert found.ledger.audience(wanted) == frozenset(people(RECIPIENTS))
    assert set(found.ledger.sightings().values()) == {1}
    assert found.asked_ids == {wanted}


@pytest.mark.parametrize("session", [*MET, *STOPPED])
def test_every_call_is_as_waha_wants_it_in_one_part_and_with_the_own_id(
    played: dict[str, Played], session: str
) -> None:
    ledger = played[session].ledger
    assert ledger.problems == []
    assert all(call.own and call.stanzas == 1 for call in ledger.calls)
    assert len({call.content for call in ledger.calls}) == 1


def test_content_that_is_refused_ends_the_story_and_says_who_has_it(played: dict[str, Played]) -> None:
    found = played["content-refused"]
    [report] = found.reports
    assert (report.state, report.reason) == ("failed", "content-refused")
    seen = found.ledger.audience(report.message_id or "")
    assert report.sent_successfully == len(seen) > 0
    assert report.sent_successfully + report.failed + report.unknown == RECIPIENTS


@pytest.mark.parametrize("session", STOPPED)
def test_a_stopped_session_makes_no_further_call_until_it_is_resumed(
    played: dict[str, Played], session: str
) -> None:
    found = played[session]
    assert found.alerts[0].kind == session
    assert found.posts_when_stopped == LATER + 1
    assert [(report.story_id, report.sent_successfully) for report in found.reports] == [("next", RECIPIENTS)]
