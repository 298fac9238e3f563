"""How a session stands over the real library: linked, not let in, lost, and linked again."""

from __future__ import annotations

import pytest
import trio

from stages.engine import Engine
from stages.errors import ContentRefused, SessionLost, Unavailable
from stages.messages import Text
from tests.whatsapp.clients import AT_MOST, OWNER
from tests.whatsapp.faults import LoginFailure, Refused
from tests.whatsapp.rig import BAN, link, open_rig
from transports.neonize import NeonizeEngine
from transports.testing import SAMPLES

pytestmark = [pytest.mark.whatsapp, pytest.mark.trio]

HELLO = Text(text="Hello!")


async def becomes(engine: Engine, state: str) -> str:
    """Wait until the session stands so; returns why."""
    assert isinstance(engine, NeonizeEngine)
    with trio.fail_after(AT_MOST):
        while (status := await engine.status()).state != state:
            await engine._supervisor._changed.wait()
    return status.reason


async def test_a_session_that_is_linked_stays_so_when_it_is_to_be_linked() -> None:
    async with open_rig() as rig:
        assert (await link(rig.whatsapp, rig.options)).already


async def test_a_session_that_was_removed_on_the_phone_is_served_again_once_it_is_linked() -> None:
    async with open_rig() as rig, rig.open() as engine:
        await rig.whatsapp.log_out(OWNER)
        assert "storycast pair" in await becomes(engine, "lost")
        with pytest.raises(SessionLost):
            await engine.send(HELLO, rig.people(3), None)
        assert not (await link(rig.whatsapp, rig.options)).already
        assert (await engine.send(HELLO, rig.people(3), None)).failed == {}


@pytest.mark.parametrize(
    ("failure", "state", "words"),
    [(BAN, "restricted", "until"), (LoginFailure(405), "lost", "pip install --upgrade neonize")],
    ids=["banned", "outdated"],
)
async def test_a_session_that_is_not_let_in_stands_so_from_the_start(
    failure: LoginFailure, state: str, words: str
) -> None:
    async with open_rig() as rig:
        rig.whatsapp.world.faults.add("login", failure)
        async with rig.open() as engine:
            assert words in await becomes(engine, state)


@pytest.mark.parametrize("reason", [400, 503])
async def test_a_login_that_is_refused_for_now_is_tried_again(reason: int) -> None:
    async with open_rig() as rig:
        rig.whatsapp.world.faults.add("login", LoginFailure(reason))
        async with rig.open() as engine:
            await becomes(engine, "ready")
            assert (await engine.send(HELLO, rig.people(3), None)).failed == {}


async def test_an_upload_that_fails_is_told_by_its_kind_and_nothing_was_posted() -> None:
    async with open_rig() as rig, rig.open() as engine:
        for code, kind in ((507, Unavailable), (413, ContentRefused)):
            rig.whatsapp.world.faults.lift("upload")
            rig.whatsapp.world.faults.add("upload", Refused(code), 10)
            with pytest.raises(kind):
                await engine.send(SAMPLES["image"], rig.people(3), None)
        assert rig.whatsapp.world.ledger.posts == []
