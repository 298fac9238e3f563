"""What becomes of a story on an engine that cannot do everything: no id to reuse, or no choice of recipients."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from msgspec import structs

from stages.checkpoint import Checkpoint, MemoryJobs
from stages.course import ENGINE_CHANGED, LIST_LOST, Course
from stages.engine import Capabilities
from stages.errors import (
    AccountRestricted,
    ContentRefused,
    EngineFailure,
    RecipientsRejected,
    SessionLost,
    TooLarge,
    Unavailable,
)
from stages.flow import Postponed, Refused, Story
from stages.message_id import NAMED_IDS, MessageIds, message_id_of
from stages.options import SmartSend
from stages.ranges import Ranges
from stages.tally import Tally
from tests.stages.test_course import again, answer, closed, course, ended, issued
from tests.stages.test_ingest import Bench
from tests.support import FULL, SESSION, batch, delivery, people, request, result, story

OWN_IDS = Capabilities(reuses_message_id=False, targets_recipients=True)
AUDIENCE = Capabilities(reuses_message_id=False, targets_recipients=False, lists_audience=True)
OWN_AUDIENCE = Capabilities(reuses_message_id=False, targets_recipients=True, lists_audience=True)
WISH = {"audience": "contacts"}


# Each call has an id of its own


def sending() -> Course:
    """A story to 151, whose anchor was sent under an id of its own."""
    of = course(151, able=OWN_IDS)
    anchor = issued(of)
    assert (anchor.role, anchor.message_id) == ("anchor", None)
    first, *others = anchor.recipients
    answer(of, result(anchor, sent=[first], untried=len(others), message_ids=["A"]))
    return of


def test_without_an_id_to_reuse_every_call_may_choose_its_own_and_all_are_reported() -> None:
    of = sending()
    one = issued(of)
    assert (one.role, one.message_id, len(one.recipients)) == ("batch", None, 100)
    answer(of, result(one, message_ids=["B"]))
    two = issued(of)
    assert two.message_id is None
    answer(of, result(two, message_ids=["C", "D"]))
    assert (closed(of).message_id, list(closed(of).message_ids)) == ("D", ["A", "B", "C", "D"])


def test_who_may_have_got_it_under_another_id_is_never_sent_it_again() -> None:
    of = sending()
    one = issued(of)
    answer(of, result(one, "timed-out", unsure=one.recipients, message_ids=[]))
    two = issued(of)
    assert set(two.recipients).isdisjoint(one.recipients)
    answer(of, result(two))
    assert closed(of).unknown == one.recipients
    assert ended(closed(of)) == (51, 0, 100, 0)


def test_what_cannot_be_repeated_is_stored_as_being_out_before_it_goes_out() -> None:
    of = course(151, able=OWN_IDS)
    candidates = issued(of)
    assert of.dirty
    [out] = of.checkpoint().out
    assert list(Ranges.unpacked(out.places)) == list(candidates.places)


def test_after_a_crash_what_was_out_is_unknown_and_only_the_others_are_sent() -> None:
    of = sending()
    was_out = issued(of).recipients
    of = again(of, able=OWN_IDS)
    batch = issued(of)
    assert set(batch.recipients).isdisjoint(was_out)
    answer(of, result(batch))
    assert ended(closed(of)) == (51, 0, 100, 0)


def test_the_ids_of_earlier_runs_are_reported_too() -> None:
    of = again(sending(), able=OWN_IDS)
    answer(of, result(issued(of), message_ids=["B"]))
    answer(of, result(issued(of), message_ids=["C"]))
    assert list(closed(of).message_ids) == ["A", "B", "C"]


def test_with_another_list_everybody_is_in_doubt_unless_nothing_has_gone_out() -> None:
    of = course(151, able=OWN_IDS)
    fresh = again(of, able=OWN_IDS, recipients=people(151)[1:])
    assert (fresh.anew_because, issued(fresh).role) == (None, "anchor")
    issued(of)
    of = again(of, able=OWN_IDS, recipients=people(151)[1:])
    assert (of.anew_because, of.next_batch()) == (LIST_LOST, None)
    assert ended(closed(of)) == (0, 0, 150, 0)


def test_so_many_ids_are_named_and_no_more() -> None:
    ids = MessageIds(None)
    ids.note([str(number) for number in range(NAMED_IDS + 5)])
    assert (len(ids.known), ids.latest) == (NAMED_IDS, str(NAMED_IDS + 4))


def test_an_engine_that_does_not_heed_the_id_is_taken_for_one_without_ids_to_reuse() -> None:
    of = course(501, max_concurrent=2)
    anchor = issued(of)
    answer(of, result(anchor, sent=anchor.recipients[:1], untried=2))
    one, two = issued(of), issued(of)
    answer(of, result(one, "timed-out", unsure=one.recipients))
    answer(of, result(two, message_ids=["ANOTHER"]))
    assert issued(of).message_id is None
    assert not of.checkpoint().reuses
    assert of.standing.unknown == 100


# What an engine of another kind left


def test_who_may_have_got_it_from_an_engine_with_ids_is_not_sent_it_by_one_without() -> None:
    of = course(90, able=FULL)
    was_out = issued(of).recipients
    of = again(of, able=OWN_IDS)
    assert of.next_batch() is None
    assert closed(of).unknown == was_out


def test_who_may_have_got_it_from_an_engine_without_ids_is_not_sent_it_by_one_with() -> None:
    of = sending()
    was_out = issued(of).recipients
    of = again(of, able=FULL)
    batch = issued(of)
    assert batch.message_id == message_id_of(SESSION, "sale")
    assert set(batch.recipients).isdisjoint(was_out)
    answer(of, result(batch))
    assert ended(closed(of)) == (51, 0, 100, 0)
    assert list(closed(of).message_ids) == ["A", message_id_of(SESSION, "sale")]


@pytest.mark.parametrize("able", [FULL, OWN_IDS])
def test_a_story_that_some_have_is_not_posted_to_the_whole_audience(able: Capabilities) -> None:
    of = course(90, able=able, max_batch_size=30)
    answer(of, result(issued(of)))
    of = again(of, able=AUDIENCE)
    assert of.next_batch() is None
    assert (ended(closed(of)), closed(of).reason) == ((30, 60, 0, 0), ENGINE_CHANGED)


def test_an_audience_that_nobody_of_has_it_is_posted_to_by_whatever_engine_is_there() -> None:
    of = course(90, able=AUDIENCE, enabled=False)
    to = issued(of)
    answer(of, result(to, "parked", failure="unavailable", unsent=to.recipients))
    assert len(issued(again(of, able=AUDIENCE)).recipients) == 90


# Everybody or nobody


@pytest.mark.parametrize("failure", [RecipientsRejected("400"), TooLarge("frame too large")])
def test_a_batch_that_is_always_the_whole_audience_is_never_parted(failure: EngineFailure) -> None:
    to = batch(story(4))
    tally = Tally(to, divisible=False)
    assert tally.note_failure(list(to.recipients), failure) == []
    assert tally.failed == dict.fromkeys(to.recipients, failure.kind)


def test_an_audience_gets_one_call_whatever_the_sizes_and_so_do_its_retries() -> None:
    of = course(150, able=AUDIENCE, enabled=False, max_batch_size=20)
    for _ in range(4):
        to = issued(of)
        assert (to.role, len(to.recipients), of.next_batch()) == ("plain", 150, None)
        answer(of, result(to, "failed", failure="unavailable", unsent=to.recipients), size=10)
    assert ended(closed(of)) == (0, 150, 0, 0)


# Whom an account posts to by itself


class Contacts:
    """Lists an audience of `count`, or fails."""

    def __init__(self, count: int = 3, failure: EngineFailure | None = None) -> None:
        self._count = count
        self._failure = failure

    async def __call__(self) -> list[str]:
        if self._failure is not None:
            raise self._failure
        return people(self._count)


def wish(**fields: object) -> dict[str, object]:
    asked = request("sale", 1, **{**WISH, **fields})
    return {name: value for name, value in asked.items() if name != "recipients"}


@pytest.mark.anyio
async def test_a_request_for_the_audience_is_a_story_for_those_the_engine_lists_in_one_plain_call() -> None:
    [story], _ = await Bench(delivery(wish()), capabilities=AUDIENCE, audience=Contacts()).run()
    assert (list(story.recipients), story.options.enabled) == (people(3), False)


@pytest.mark.parametrize(("able", "field"), [(FULL, "audience"), (OWN_IDS, "audience")])
@pytest.mark.anyio
async def test_an_engine_that_lists_no_audience_refuses_a_request_for_it(
    able: Capabilities, field: str
) -> None:
    _, [refused] = await Bench(delivery(wish()), capabilities=able, audience=Contacts()).run()
    assert (refused.rejection.code, refused.rejection.field) == ("engine-cannot", field)


@pytest.mark.anyio
async def test_a_list_on_an_engine_that_posts_to_its_audience_is_refused_naming_those_that_could() -> None:
    for asked in (request(), {**wish(), "recipientsRef": "list"} | {"audience": None}):
        _, [refused] = await Bench(delivery(asked), capabilities=AUDIENCE, audience=Contacts()).run()
        assert refused.rejection.code == "engine-cannot"
        assert all(name in refused.rejection.allowed for name in ("waha", "neonize", "audience"))


@pytest.mark.parametrize("also", ["recipients", "recipientsRef"])
@pytest.mark.anyio
async def test_an_audience_and_a_list_are_too_much(also: str) -> None:
    lists: dict[str, object] = {"recipients": people(1), "recipientsRef": "list"}
    asked = {**wish(), also: lists[also]}
    _, [refused] = await Bench(delivery(asked), capabilities=AUDIENCE, audience=Contacts()).run()
    assert (refused.rejection.code, refused.rejection.field) == ("recipients-source", "audience")


@pytest.mark.anyio
async def test_an_empty_audience_is_refused_with_what_to_do() -> None:
    _, [refused] = await Bench(delivery(wish()), capabilities=AUDIENCE, audience=Contacts(0)).run()
    assert (refused.rejection.code, refused.rejection.field) == ("no-valid-recipient", "audience")


@pytest.mark.anyio
async def test_nobody_who_wants_no_stories_gets_one_by_way_of_the_audience() -> None:
    suppressed = frozenset(people(1))
    bench = Bench(delivery(wish()), capabilities=AUDIENCE, audience=Contacts(), suppressed=suppressed)
    _, [refused] = await bench.run()
    assert isinstance(refused, Refused)
    assert refused.rejection.code == "audience-suppressed"
    able = Capabilities(reuses_message_id=False, targets_recipients=True, lists_audience=True)
    bench = Bench(delivery(wish()), capabilities=able, audience=Contacts(), suppressed=suppressed)
    [story], _ = await bench.run()
    assert list(story.recipients) == people(3)[1:]


@pytest.mark.anyio
async def test_while_the_engine_is_away_a_request_for_the_audience_waits() -> None:
    bench = Bench(delivery(wish()), capabilities=AUDIENCE, audience=Contacts(failure=Unavailable("gone")))
    stories, [later] = await bench.run()
    assert (stories, type(later)) == ([], Postponed)


@pytest.mark.parametrize("failure", [SessionLost("logged out"), AccountRestricted("463")])
@pytest.mark.anyio
async def test_an_account_that_is_lost_ends_the_lane_and_loses_no_request(failure: EngineFailure) -> None:
    bench = Bench(delivery(wish()), capabilities=AUDIENCE, audience=Contacts(failure=failure))
    with pytest.raises(type(failure)):
        await bench.ingest()


def test_a_request_for_the_audience_is_never_anchored() -> None:
    of = course(story(500, options=SmartSend(enabled=False)), able=AUDIENCE)
    assert (of.anchoring, issued(of).role) == (False, "plain")


# What has begun, and cannot go on


BEGUN = Checkpoint(session_id=SESSION, story_id="sale", order="x", next=2, sent=(0, 1))


async def judged(checkpoint: Checkpoint | None, **fields: object) -> tuple[list[Story], list[Any]]:
    jobs = MemoryJobs()
    if checkpoint is not None:
        await jobs.save(checkpoint)
    asked = delivery({**request("sale", 3), **fields})
    return await Bench(asked, capabilities=AUDIENCE, jobs=jobs, audience=Contacts()).run()


@pytest.mark.anyio
async def test_a_story_that_some_have_is_closed_with_a_report_where_the_engine_cannot_go_on() -> None:
    [story], _ = await judged(BEGUN)
    assert story.unable == "engine-cannot"
    of = again(course(story, able=AUDIENCE), able=AUDIENCE)
    assert of.over
    assert closed(of).reason == "engine-cannot"


@pytest.mark.anyio
@pytest.mark.parametrize("checkpoint", [None, structs.replace(BEGUN, sent=())])
async def test_a_story_that_nobody_has_is_refused_where_the_engine_cannot_post_it(
    checkpoint: Checkpoint | None,
) -> None:
    stories, [refused] = await judged(checkpoint)
    assert (stories, refused.rejection.code) == ([], "engine-cannot")


@pytest.mark.anyio
async def test_an_audience_that_some_of_have_it_waits_for_an_engine_that_can_list_it() -> None:
    jobs = MemoryJobs()
    await jobs.save(BEGUN)
    stories, [later] = await Bench(delivery(wish()), capabilities=FULL, jobs=jobs).run()
    assert (stories, type(later)) == ([], Postponed)


@pytest.mark.anyio
async def test_an_engine_that_will_never_list_its_audience_is_no_reason_to_wait() -> None:
    never = Contacts(failure=ContentRefused("not this engine"))
    _, [refused] = await Bench(delivery(wish()), capabilities=AUDIENCE, audience=never).run()
    assert (refused.rejection.code, refused.rejection.field) == ("engine-cannot", "audience")


@pytest.mark.anyio
async def test_an_engine_that_never_answers_for_its_audience_holds_nobody_up() -> None:
    async def silent() -> list[str]:
        await anyio.sleep_forever()
        raise AssertionError

    stories, outgoing = await Bench(
        delivery(wish()), delivery(request("next")), capabilities=OWN_AUDIENCE, audience=silent
    ).run()
    assert [story.story_id for story in stories] == ["next"]
    assert [type(item) for item in outgoing] == [Postponed]
