"""The neonize engine: whatever its client does in its own process, the worker gets a receipt or a typed failure."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from stages.engine import Engine, EngineStatus
from stages.errors import (
    AccountRestricted,
    ContentRefused,
    EngineFailure,
    OutcomeUnknown,
    RecipientsRejected,
    SessionLost,
    Unavailable,
)
from stages.messages import Image, Text
from tests.neonize.far_side import OWN, Signal
from tests.neonize.rig import NeonizeRig
from tests.ops.support import wait_for_death
from transports.neonize import InUse, NeonizeEngine, NeonizeMissing
from transports.neonize.client import Contact, Heard, Privacy
from transports.neonize.frames import Abilities
from transports.neonize.options import Targeting

HELLO = Text(text="Hello!")
ME = f"{OWN}@s.whatsapp.net"


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[NeonizeRig]:
    found = NeonizeRig(tmp_path)
    yield found
    found.far.close()


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[NeonizeRig]:
    """One that posts to the account's own audience."""
    found = NeonizeRig(tmp_path, "audience")
    yield found
    found.far.close()


async def reaches(engine: Engine, enough: Callable[[EngineStatus], bool]) -> EngineStatus:
    """Wait until the engine says so."""
    assert isinstance(engine, NeonizeEngine)
    supervisor = engine._supervisor
    with trio.fail_after(20):
        while not enough(status := await engine.status()):
            await supervisor._changed.wait()
    return status


async def ended(engine: Engine) -> None:
    """Wait until the client has ended: what it said last holds until then."""
    assert isinstance(engine, NeonizeEngine)
    supervisor = engine._supervisor
    with trio.fail_after(20):
        await supervisor.until(lambda: supervisor.link is None, 20)


def child_of(engine: Engine) -> int:
    assert isinstance(engine, NeonizeEngine)
    link = engine._supervisor.link
    assert link is not None
    return link._hosted.pid


# Whom a call goes to


@pytest.mark.trio
async def test_with_contact_staging_a_call_reaches_exactly_whom_it_names(rig: NeonizeRig) -> None:
    people = rig.people(10)
    async with rig.open() as engine:
        assert engine.capabilities.targets_recipients
        first = await engine.send(HELLO, people[:4], None)
        second = await engine.send(HELLO, people[4:], None)
    assert [call.recipients for call in await rig.calls()] == [tuple(people[:4]), tuple(people[4:])]
    assert [call.message_id for call in await rig.calls()] == [first.message_id, second.message_id]
    assert first.message_id != second.message_id
    assert (first.failed, second.failed) == ({}, {})


@pytest.mark.trio
async def test_contact_staging_reaches_those_that_are_no_contacts_too(rig: NeonizeRig) -> None:
    [*_, stranger] = people = rig.people(3)
    rig.far.set(contacts=[Contact(jid, "Name") for jid in people[:2]])
    async with rig.open() as engine:
        await engine.send(HELLO, [stranger], None)
    assert [call.recipients for call in await rig.calls()] == [(stranger,)]


@pytest.mark.trio
async def test_after_each_staged_call_the_contact_list_is_as_it_was(rig: NeonizeRig) -> None:
    people = rig.people(5)
    before = list(rig.far.state().contacts)
    async with rig.open() as engine:
        await engine.send(HELLO, people[:2], None)
        await rig.arrange("479 in the acknowledgement")
        with pytest.raises(RecipientsRejected):
            await engine.send(HELLO, people[2:], None)
    assert list(rig.far.state().contacts) == before


@pytest.mark.trio
async def test_a_contact_list_that_a_crash_left_staged_is_put_back_at_the_next_start(rig: NeonizeRig) -> None:
    people = rig.people(5)
    before = list(rig.far.state().contacts)
    async with rig.open() as engine:
        await rig.arrange("a panic once it is sent")
        with pytest.raises(OutcomeUnknown):
            await engine.send(HELLO, people[:2], None)
        assert list(rig.far.state().contacts) != before
        await reaches(engine, lambda status: status.state == "ready")
        assert list(rig.far.state().contacts) == before


@pytest.mark.trio
async def test_recipients_that_are_the_whole_audience_need_no_staging(rig: NeonizeRig) -> None:
    people = rig.people(5)
    written = rig.far.state().renames
    async with rig.open() as engine:
        await engine.send(HELLO, people, None)
    assert rig.far.state().renames == written


@pytest.mark.parametrize("kind", ["blacklist", "whitelist"])
@pytest.mark.trio
async def test_a_status_privacy_that_overrides_the_contact_list_is_refused(
    rig: NeonizeRig, kind: str
) -> None:
    people = rig.people(3)
    rig.far.set(privacy=Privacy(kind, frozenset(people[:1])))  # type: ignore[arg-type]  # it is one of them
    async with rig.open() as engine:
        with pytest.raises(ContentRefused, match="status privacy on the phone"):
            await engine.send(HELLO, people[1:], None)
    assert await rig.calls() == []


@pytest.mark.trio
async def test_to_the_audience_there_is_one_call_and_it_lists_whom_it_reaches(whole: NeonizeRig) -> None:
    people = whole.people(6)
    whole.far.set(contacts=[*whole.far.state().contacts, Contact("628777000001@s.whatsapp.net")])
    async with whole.open() as engine:
        assert (engine.capabilities.targets_recipients, engine.capabilities.lists_audience) == (False, True)
        audience = await engine.audience()
        receipt = await engine.send(HELLO, audience, None)
    assert sorted(audience) == sorted(people)
    assert receipt.failed == {}
    assert [call.recipients for call in await whole.calls()] == [tuple(sorted(people))]


@pytest.mark.trio
async def test_an_audience_that_somebody_came_into_is_not_posted_to(whole: NeonizeRig) -> None:
    whole.people(3)
    async with whole.open() as engine:
        listed = await engine.audience()
        whole.far.name(Contact("628777000001@s.whatsapp.net", "Came later"))
        with pytest.raises(ContentRefused, match="1 person came into the audience"):
            await engine.send(HELLO, listed, None)
        assert await whole.calls() == []
        assert (await engine.send(HELLO, await engine.audience(), None)).failed == {}


@pytest.mark.trio
async def test_who_left_the_audience_is_no_reason_to_refuse_the_story(whole: NeonizeRig) -> None:
    [gone, *others] = whole.people(3)
    async with whole.open() as engine:
        listed = await engine.audience()
        whole.far.name(Contact(gone))
        receipt = await engine.send(HELLO, listed, None)
    assert receipt.failed == {gone: "not-in-audience"}
    assert [call.recipients for call in await whole.calls()] == [tuple(others)]


@pytest.mark.trio
async def test_with_contact_staging_who_came_into_the_audience_is_left_out(rig: NeonizeRig) -> None:
    people = rig.people(3)
    async with rig.open() as engine:
        listed = await engine.audience()
        rig.far.name(Contact("628777000001@s.whatsapp.net", "Came later"))
        assert (await engine.send(HELLO, listed, None)).failed == {}
    assert [call.recipients for call in await rig.calls()] == [tuple(people)]


@pytest.mark.trio
async def test_who_stands_in_the_contacts_by_a_hidden_id_is_listed_by_number(whole: NeonizeRig) -> None:
    people = whole.people(2)
    hidden, number = "111111111111111@lid", "628777000001@s.whatsapp.net"
    whole.far.name(Contact(hidden, "Name"))
    whole.far.set(numbers={hidden: number})
    async with whole.open() as engine:
        listed = await engine.audience()
        assert listed == [*people, number]
        assert (await engine.send(HELLO, listed, None)).failed == {}
        with pytest.raises(ContentRefused, match="1 person"):
            await engine.send(HELLO, people, None)
    assert [set(call.recipients) for call in await whole.calls()] == [{*people, hidden}]


@pytest.mark.parametrize("targeting", ["audience", "contact-staging"])
@pytest.mark.trio
async def test_who_is_known_by_a_hidden_id_alone_is_not_listed_and_gets_nothing(
    tmp_path: Path, targeting: Targeting
) -> None:
    rig = NeonizeRig(tmp_path, targeting)
    people = rig.people(2)
    rig.far.name(Contact("111111111111111@lid", "Name"), Contact("628777000001@s.whatsapp.net"))
    before = list(rig.far.state().contacts)
    async with rig.open() as engine:
        assert await engine.audience() == people
        assert (await engine.send(HELLO, people, None)).failed == {}
    assert [call.recipients for call in await rig.calls()] == [tuple(people)]
    assert list(rig.far.state().contacts) == before
    rig.far.close()


@pytest.mark.trio
async def test_a_post_to_chosen_people_of_whom_one_is_not_known_is_refused(whole: NeonizeRig) -> None:
    [person] = whole.people(1)
    whole.far.set(privacy=Privacy("whitelist", frozenset({person, "111111111111111@lid"})))
    async with whole.open() as engine:
        assert await engine.audience() == [person]
        with pytest.raises(ContentRefused, match="Only share with"):
            await engine.send(HELLO, [person], None)
    assert await whole.calls() == []


@pytest.mark.trio
async def test_who_is_not_in_the_audience_is_reported_as_left_out(whole: NeonizeRig) -> None:
    people = whole.people(2)
    async with whole.open() as engine:
        receipt = await engine.send(HELLO, [*people, "628777000001@s.whatsapp.net", ME], None)
    assert receipt.failed == {"628777000001@s.whatsapp.net": "not-in-audience"}


@pytest.mark.parametrize(
    ("kind", "expected"), [("contacts", [0, 1, 2]), ("blacklist", [1, 2]), ("whitelist", [0])]
)
@pytest.mark.trio
async def test_the_audience_is_what_the_status_privacy_makes_of_it(
    whole: NeonizeRig, kind: str, expected: list[int]
) -> None:
    people = whole.people(3)
    whole.far.set(privacy=Privacy(kind, frozenset(people[:1])))  # type: ignore[arg-type]  # it is one of them
    async with whole.open() as engine:
        audience = await engine.audience()
    assert audience == [people[place] for place in expected]


@pytest.mark.trio
async def test_a_library_that_takes_ids_and_recipients_is_given_them(whole: NeonizeRig) -> None:
    people = whole.people(6)
    whole.far.set(abilities=Abilities(takes_message_id=True, takes_recipients=True))
    async with whole.open() as engine:
        assert engine.capabilities.reuses_message_id
        assert engine.capabilities.targets_recipients
        for part in (people[:1], people[1:]):
            assert (await engine.send(HELLO, part, "3EB0ABC")).message_id == "3EB0ABC"
    assert [(call.message_id, call.recipients) for call in await whole.calls()] == [
        ("3EB0ABC", tuple(people[:1])),
        ("3EB0ABC", tuple(people[1:])),
    ]


# Whom it left out without saying so


@pytest.mark.trio
async def test_recipients_that_the_library_silently_leaves_out_are_reported(rig: NeonizeRig) -> None:
    people = rig.people(4)
    user = people[2].partition("@")[0]
    async with rig.open() as engine:
        rig.far.set(signal=Signal(drops=[people[1], f"{user}:4@s.whatsapp.net"]))
        receipt = await engine.send(HELLO, people, None)
        assert receipt.failed == {people[1]: "keys-unavailable"}
        assert (await engine.send(HELLO, people, None)).failed == {}


@pytest.mark.parametrize("targeting", ["audience", "contact-staging"])
@pytest.mark.trio
async def test_recipients_that_are_not_on_whatsapp_are_reported(tmp_path: Path, targeting: str) -> None:
    rig = NeonizeRig(tmp_path, targeting)  # type: ignore[arg-type]  # it is one of them
    people = rig.people(4)
    rig.far.set(missing=people[:1])
    async with rig.open() as engine:
        receipt = await engine.send(HELLO, people, None)
    assert receipt.failed == {people[0]: "not-on-whatsapp"}


@pytest.mark.trio
async def test_a_batch_of_nobody_on_whatsapp_is_not_sent(rig: NeonizeRig) -> None:
    people = rig.people(2)
    rig.far.set(missing=people)
    async with rig.open() as engine:
        with pytest.raises(RecipientsRejected) as failure:
            await engine.send(HELLO, people, None)
    assert failure.value.rejected == dict.fromkeys(people, "not-on-whatsapp")
    assert await rig.calls() == []


# Failures


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("upload failed with status code 507", Unavailable),
        ("upload failed with status code 413", ContentRefused),
    ],
)
@pytest.mark.trio
async def test_an_upload_that_fails_is_told_apart(
    rig: NeonizeRig, text: str, kind: type[EngineFailure]
) -> None:
    people = rig.people(2)
    rig.far.set(signal=Signal(text, at="build"))
    async with rig.open() as engine:
        with pytest.raises(EngineFailure) as failure:
            await engine.send(Image(mimetype="image/png", data=b"png"), people, None)
    assert type(failure.value) is kind
    assert await rig.calls() == []


@pytest.mark.parametrize(
    ("step", "kind"), [("build", ContentRefused), ("devices", Unavailable), ("send", OutcomeUnknown)]
)
@pytest.mark.parametrize("targeting", ["audience", "contact-staging"])
@pytest.mark.trio
async def test_an_error_that_nobody_foresaw_is_a_failure_by_its_step_and_the_client_lives_on(
    tmp_path: Path, targeting: Targeting, step: str, kind: type[EngineFailure]
) -> None:
    rig = NeonizeRig(tmp_path, targeting)
    people = rig.people(2)
    rig.far.set(signal=Signal(at=step, does="break"))
    async with rig.open() as engine:
        with pytest.raises(EngineFailure, match="SyntaxError") as failure:
            await engine.send(HELLO, people, None)
        assert type(failure.value) is kind
        assert (await engine.send(HELLO, people, None)).failed == {}
    assert rig.far.state().starts == 1
    assert len(await rig.calls()) == 1
    rig.far.close()


@pytest.mark.trio
async def test_media_is_uploaded_once_for_all_batches_of_a_story(rig: NeonizeRig) -> None:
    people = rig.people(6)
    picture = Image(mimetype="image/png", data=b"png")
    async with rig.open() as engine:
        for part in (people[:1], people[1:3], people[3:]):
            await engine.send(picture, part, None)
        await engine.send(Image(mimetype="image/png", data=b"other"), people, None)
    assert rig.far.state().builds == 2
    assert [call.content for call in await rig.calls()][:3] == [(await rig.calls())[0].content] * 3


@pytest.mark.trio
async def test_a_process_that_dies_in_mid_call_is_started_again_and_serves_on(rig: NeonizeRig) -> None:
    people = rig.people(2)
    async with rig.open() as engine:
        for _ in range(2):
            await rig.arrange("a panic once it is sent")
            with pytest.raises(OutcomeUnknown, match=r"SIGABRT: panic: runtime error"):
                await engine.send(HELLO, people, None)
            await reaches(engine, lambda status: status.state == "ready")
        assert (await engine.send(HELLO, people, None)).failed == {}
    assert rig.far.state().starts == 3


@pytest.mark.trio
async def test_a_process_that_dies_between_calls_is_unavailable_and_started_again(rig: NeonizeRig) -> None:
    people = rig.people(2)
    async with rig.open() as engine:
        rig.far.set(greeting=[])
        os.kill(child_of(engine), signal.SIGKILL)
        status = await reaches(engine, lambda status: status.state != "ready")
        assert (status.state, "SIGKILL" in status.reason) == ("unavailable", True)
        rig.far.set(greeting=[Heard("Connected")])
        await reaches(engine, lambda status: status.state == "starting")
        rig.far.say(Heard("Connected"))
        assert (await engine.send(HELLO, people, None)).failed == {}


@pytest.mark.trio
async def test_a_signal_to_the_whole_group_does_not_cut_a_call_off(rig: NeonizeRig) -> None:
    people = rig.people(2)
    async with rig.open() as engine:
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(child_of(engine), number)
        assert (await engine.send(HELLO, people, None)).failed == {}
    assert rig.far.state().starts == 1


@pytest.mark.trio
async def test_a_late_answer_completes_no_other_call_and_the_next_one_waits_for_it(rig: NeonizeRig) -> None:
    people = rig.people(4)
    async with rig.open() as engine:
        rig.far.set(signal=Signal(does="late"))
        with trio.move_on_after(0.5):
            await engine.send(HELLO, people[:1], None)
        async with trio.open_nursery() as nursery:
            receipts = []

            async def second() -> None:
                receipts.append(await engine.send(HELLO, people[1:], None))

            nursery.start_soon(second)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert receipts == []
            rig.far.release()
    first_call, second_call = await rig.calls()
    assert first_call.recipients == tuple(people[:1])
    assert receipts[0].message_id == second_call.message_id != first_call.message_id


@pytest.mark.trio
async def test_a_call_without_an_end_holds_the_session_up_for_a_bounded_time(tmp_path: Path) -> None:
    rig = NeonizeRig(tmp_path, timeout=0.5)
    people = rig.people(2)
    async with rig.open() as engine:
        await rig.arrange("silence")
        with pytest.raises(OutcomeUnknown):
            await engine.send(HELLO, people, None)
        with pytest.raises(Unavailable):
            await engine.send(HELLO, people, None)
        await reaches(engine, lambda status: status.state != "ready")
        await reaches(engine, lambda status: status.state == "ready")
        assert (await engine.send(HELLO, people, None)).failed == {}


@pytest.mark.trio
async def test_a_caller_whose_time_would_pass_while_the_client_starts_is_told_that_nothing_was_sent(
    rig: NeonizeRig,
) -> None:
    people = rig.people(2)
    async with rig.open() as engine:
        rig.far.set(greeting=[])
        os.kill(child_of(engine), signal.SIGKILL)
        await reaches(engine, lambda status: status.state == "starting")
        with trio.fail_after(1), pytest.raises(Unavailable, match="starting"):
            await engine.send(HELLO, people, None)
    assert await rig.calls() == []


@pytest.mark.trio
async def test_a_caller_whose_time_would_pass_in_waiting_for_the_call_before_is_told_so_and_that_call_goes_on(
    tmp_path: Path,
) -> None:
    rig = NeonizeRig(tmp_path, timeout=15)
    people = rig.people(4)
    receipts = []
    async with rig.open() as engine, trio.open_nursery() as nursery:

        async def first() -> None:
            receipts.append(await engine.send(HELLO, people[:2], None))

        rig.far.set(signal=Signal(does="late"))
        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked(0.05)
        with trio.fail_after(1), pytest.raises(Unavailable, match="not ended yet"):
            await engine.send(HELLO, people[2:], None)
        rig.far.release()
    assert len(receipts) == 1
    assert [call.recipients for call in await rig.calls()] == [tuple(people[:2])]
    assert rig.far.state().starts == 1
    rig.far.close()


@pytest.mark.trio
async def test_a_call_without_an_end_is_ended_also_by_callers_with_less_time_than_it_had(
    tmp_path: Path,
) -> None:
    rig = NeonizeRig(tmp_path, timeout=2)
    people = rig.people(2)
    async with rig.open() as engine:
        await rig.arrange("silence")
        with trio.move_on_after(0.2):
            await engine.send(HELLO, people, None)
        with trio.fail_after(20):
            while True:
                with trio.move_on_after(1), pytest.raises(Unavailable) as failure:
                    await engine.send(HELLO, people, None)
                if "started again" in str(failure.value):
                    break
        await reaches(engine, lambda status: status.state != "ready")
        await reaches(engine, lambda status: status.state == "ready")
        assert (await engine.send(HELLO, people, None)).failed == {}
    assert rig.far.state().starts == 2
    rig.far.close()


@pytest.mark.trio
async def test_a_cancelled_call_ends_at_once(rig: NeonizeRig) -> None:
    people = rig.people(2)
    async with rig.open() as engine:
        await rig.arrange("silence")
        with trio.move_on_after(0.2) as scope:
            await engine.send(HELLO, people, None)
        assert scope.cancelled_caught


@pytest.mark.trio
async def test_calls_at_the_same_time_are_made_one_after_the_other(rig: NeonizeRig) -> None:
    people = rig.people(8)
    async with rig.open() as engine, trio.open_nursery() as nursery:
        for person in people:
            nursery.start_soon(engine.send, HELLO, [person], None)
    assert sorted(call.recipients for call in await rig.calls()) == sorted((person,) for person in people)


@pytest.mark.trio
async def test_once_closed_nothing_goes_out(rig: NeonizeRig) -> None:
    people = rig.people(2)
    async with rig.open() as engine:
        pid = child_of(engine)
    with pytest.raises(Unavailable, match="closed"):
        await engine.send(HELLO, people, None)
    assert wait_for_death(pid)
    assert await rig.calls() == []


@pytest.mark.trio
async def test_what_the_block_raises_leaves_it_as_it_is(rig: NeonizeRig) -> None:
    with pytest.raises(ZeroDivisionError):
        async with rig.open():
            raise ZeroDivisionError


# How the session stands


@pytest.mark.trio
async def test_a_session_that_is_not_linked_is_lost_and_says_how_to_link_it(rig: NeonizeRig) -> None:
    people = rig.people(2)
    rig.far.set(account=None)
    async with rig.open() as engine:
        assert await engine.status() == EngineStatus(
            state="lost", reason="not linked: storycast pair --session main"
        )
        with pytest.raises(SessionLost, match="storycast pair --session main"):
            await engine.send(HELLO, people, None)


@pytest.mark.trio
async def test_a_lost_session_is_let_go_and_served_again_once_somebody_has_linked_it(rig: NeonizeRig) -> None:
    people = rig.people(2)
    rig.far.set(account=None)
    async with rig.open() as engine:
        await reaches(engine, lambda status: status.state == "lost")
        rig.far.set(account="6289900000001:9@s.whatsapp.net")
        async with rig.open() as another:  # nobody holds its folder meanwhile
            assert (await another.status()).state == "ready"
        assert (await engine.send(HELLO, people, None)).failed == {}
        assert (await engine.status()).state == "ready"


@pytest.mark.parametrize(
    ("event", "state", "words"),
    [
        (Heard("Disconnected"), "unavailable", "down"),
        (Heard("KeepAliveTimeout"), "unavailable", "does not answer"),
        (Heard("LoggedOut", "main device gone"), "lost", "main device gone"),
        (Heard("StreamReplaced"), "lost", "another program"),
        (Heard("ClientOutdated"), "lost", "pip install --upgrade neonize"),
        (Heard("TemporaryBan", "blocked by users", 3600.0), "restricted", "blocked by users"),
    ],
)
@pytest.mark.trio
async def test_an_event_of_the_client_is_how_the_session_stands(
    rig: NeonizeRig, event: Heard, state: str, words: str
) -> None:
    async with rig.open() as engine:
        rig.far.say(event)
        status = await reaches(engine, lambda status: status.state != "ready")
    assert status.state == state
    assert words in status.reason


@pytest.mark.trio
async def test_a_connection_that_comes_back_is_ready_again(rig: NeonizeRig) -> None:
    people = rig.people(2)
    async with rig.open() as engine:
        rig.far.say(Heard("Disconnected"))
        await reaches(engine, lambda status: status.state == "unavailable")
        with pytest.raises(Unavailable):
            await engine.send(HELLO, people, None)
        rig.far.say(Heard("Connected"))
        await reaches(engine, lambda status: status.state == "ready")
        assert (await engine.send(HELLO, people, None)).failed == {}


@pytest.mark.trio
async def test_a_session_that_was_replaced_is_taken_back_only_by_a_call_after_one_that_was_told_of_it(
    rig: NeonizeRig,
) -> None:
    people = rig.people(2)
    async with rig.open() as engine:
        for starts in range(1, 4):
            rig.far.say(Heard("StreamReplaced"))
            await reaches(engine, lambda status: status.state == "lost")
            await ended(engine)
            with pytest.raises(SessionLost, match="another program"):
                await engine.send(HELLO, people, None)
            assert rig.far.state().starts == starts
            assert (await engine.send(HELLO, people, None)).failed == {}
    assert rig.far.state().starts == 4


@pytest.mark.trio
async def test_during_a_ban_no_call_even_starts_the_client(rig: NeonizeRig) -> None:
    people = rig.people(2)
    rig.far.set(greeting=[Heard("TemporaryBan", "", 3600.0)])
    async with rig.open() as engine:
        for _ in range(3):
            with pytest.raises(AccountRestricted, match="until"):
                await engine.send(HELLO, people, None)
    assert rig.far.state().starts == 1


@pytest.mark.trio
async def test_a_client_that_cannot_connect_is_started_again_until_it_can(rig: NeonizeRig) -> None:
    people = rig.people(2)
    rig.far.set(greeting=[Heard("Failed", "failed to dial whatsapp web websocket: no such host")])
    async with rig.open() as engine:
        with pytest.raises(Unavailable, match="no such host"):
            await engine.send(HELLO, people, None)
        rig.far.set(greeting=[Heard("Connected")])
        await reaches(engine, lambda status: status.state == "ready")
        assert (await engine.send(HELLO, people, None)).failed == {}


# Opening


@pytest.mark.trio
async def test_a_missing_library_is_said_on_opening(rig: NeonizeRig) -> None:
    rig.far.set(refuses="the neonize engine needs neonize, which is not installed")
    with pytest.raises(NeonizeMissing, match="not installed"):
        async with rig.open():
            pass


@pytest.mark.trio
async def test_two_processes_never_host_one_session(rig: NeonizeRig) -> None:
    async with rig.open():
        with pytest.raises(InUse, match="in use by another process"):
            async with rig.open():
                pass


@pytest.mark.trio
async def test_a_session_folder_that_others_can_read_is_refused(rig: NeonizeRig) -> None:
    folder = Path(rig.options.data) / "main"
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    with pytest.raises(Unavailable, match="chmod 700"):
        async with rig.open():
            pass


@pytest.mark.trio
async def test_what_is_kept_of_a_session_is_private(rig: NeonizeRig) -> None:
    async with rig.open():
        folder = Path(rig.options.data) / "main"
        modes = {path.name: path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())}
    assert modes.pop("main") == 0o700
    assert modes
    assert set(modes.values()) == {0o600}


# Its end

HOLD = """
import sys, trio
from pathlib import Path
from tests.neonize.rig import NeonizeRig
async def main():
    async with NeonizeRig(Path(sys.argv[1])).open() as engine:
        print(engine._supervisor.link._hosted.pid, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


def test_a_worker_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        pid = int(worker.stdout.readline())
        worker.kill()
    assert wait_for_death(pid)
