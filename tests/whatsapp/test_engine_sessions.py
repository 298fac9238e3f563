"""A session of the neonize engine on the loopback WhatsApp: linked, served, lost, and linked again."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from websockets.exceptions import ConnectionClosed

from stages.engine import Engine
from stages.errors import (
    ContentRefused,
    EngineFailure,
    OutcomeUnknown,
    SessionLost,
    Unavailable,
)
from stages.messages import Text
from tests.whatsapp.clients import AT_MOST, OWNER, numbers
from tests.whatsapp.faults import Fault, Hangup, LoginFailure, Point, Refused, Stream
from tests.whatsapp.ledger import Post
from tests.whatsapp.server import Whatsapp, open_whatsapp
from transports.neonize import Neonize, NeonizeEngine, open_linking, open_neonize
from transports.neonize.frames import Linked, Scan, TypeIn
from transports.testing import SAMPLES

pytestmark = [pytest.mark.whatsapp, pytest.mark.trio]

HELLO = Text(text="Hello!")


class Scene:
    """A server, and a session linked with it."""

    def __init__(self, whatsapp: Whatsapp, options: Neonize) -> None:
        self.whatsapp = whatsapp
        self.options = options

    @property
    def command(self) -> list[str]:
        entry = ["-m", "tests.whatsapp.child", str(self.whatsapp.port), "tests.whatsapp.named_child"]
        return [sys.executable, "-Wdefault", *entry]

    @property
    def posts(self) -> list[Post]:
        return self.whatsapp.world.ledger.posts

    def fault(self, point: Point, fault: Fault, times: float = 1) -> None:
        self.whatsapp.world.faults.add(point, fault, times)

    async def link(self, phone: str | None = None) -> list[Any]:
        found: list[Any] = []
        with trio.fail_after(AT_MOST):
            async with open_linking(self.options, "main", phone=phone, command=self.command) as steps:
                async for step in steps:
                    found.append(step)
                    if isinstance(step, Scan) and len(found) == 1:
                        await self.whatsapp.scan(step.code, OWNER)
                    if isinstance(step, TypeIn):
                        await self.whatsapp.type_code(step.code, OWNER)
        return found

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Engine]:
        async with open_neonize(self.options, "main", command=self.command) as engine:
            yield engine


def jids(phones: list[str]) -> list[str]:
    return [f"{phone}@s.whatsapp.net" for phone in phones]


@asynccontextmanager
async def linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contacts: list[str], **fields: Any
) -> AsyncIterator[Scene]:
    monkeypatch.setenv("STORYCAST_TEST_CONTACTS", ",".join(contacts))
    async with open_whatsapp() as whatsapp:
        for name, value in whatsapp.environment().items():
            monkeypatch.setenv(name, value)
        fields = {"timeout": 20.0, "restart_delay": 0.05, "restart_delay_max": 0.2, **fields}
        scene = Scene(whatsapp, Neonize(data=str(tmp_path / "sessions"), **fields))
        steps = await scene.link()
        assert isinstance(steps[-1], Linked)
        yield scene


@pytest.fixture
def staging() -> dict[str, Any]:
    return {"targeting": "contact-staging"}


async def becomes(engine: Engine, state: str) -> str:
    assert isinstance(engine, NeonizeEngine)
    with trio.fail_after(AT_MOST):
        while (status := await engine.status()).state != state:
            await engine._supervisor._changed.wait()
    return status.reason


async def test_a_code_that_is_scanned_links_a_session_and_it_is_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with linked(tmp_path, monkeypatch, numbers(2)) as scene:
        again = await scene.link()
        assert [type(step) for step in again] == [Linked]
        assert again[0].already
        async with scene.open() as engine:
            assert (await engine.status()).state == "ready"


async def test_a_code_that_is_typed_in_links_a_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_whatsapp() as whatsapp:
        scene = Scene(whatsapp, Neonize(data=str(tmp_path / "sessions")))
        steps = await scene.link(phone=OWNER)
        assert [type(step) for step in steps] == [TypeIn, Linked]


async def test_a_post_to_the_audience_reaches_those_whom_it_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = numbers(20)
    async with linked(tmp_path, monkeypatch, people) as scene, scene.open() as engine:
        audience = await engine.audience()
        receipt = await engine.send(HELLO, audience, None)
        assert sorted(audience) == sorted(jids(people))
        assert receipt.failed == {}
        [post] = scene.posts
        assert (post.message_id, post.recipients) == (receipt.message_id, frozenset(audience))


async def test_contact_staging_reaches_exact_batches_and_leaves_the_contacts_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, staging: dict[str, Any]
) -> None:
    people = jids(numbers(12))
    async with linked(tmp_path, monkeypatch, numbers(10), **staging) as scene, scene.open() as engine:
        for batch in (people[:1], people[1:5], people[5:12]):
            assert (await engine.send(HELLO, batch, None)).failed == {}
            assert scene.posts[-1].recipients == frozenset(batch)
        assert sorted(await engine.audience()) == sorted(people[:10])


@pytest.mark.parametrize("kind", ["image", "video", "voice", "text"])
async def test_each_kind_arrives_and_is_uploaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, staging: dict[str, Any], kind: Any
) -> None:
    people = jids(numbers(4))
    async with linked(tmp_path, monkeypatch, numbers(4), **staging) as scene, scene.open() as engine:
        for batch in (people[:1], people[1:]):
            await engine.send(SAMPLES[kind], batch, None)
        assert [post.recipients for post in scene.posts] == [frozenset(people[:1]), frozenset(people[1:])]


@pytest.mark.parametrize(("code", "kind"), [(507, Unavailable), (413, ContentRefused)])
async def test_an_upload_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[EngineFailure]
) -> None:
    async with linked(tmp_path, monkeypatch, numbers(3)) as scene, scene.open() as engine:
        scene.fault("upload", Refused(code), 10)
        with pytest.raises(EngineFailure) as failure:
            await engine.send(SAMPLES["image"], jids(numbers(3)), None)
        assert type(failure.value) is kind
        assert scene.posts == []


async def test_a_connection_that_breaks_off_after_the_post_leaves_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = jids(numbers(3))
    async with linked(tmp_path, monkeypatch, numbers(3)) as scene, scene.open() as engine:
        scene.fault("send", Hangup(delivered=True))
        try:
            receipt = await engine.send(HELLO, people, None)
        except OutcomeUnknown:
            pass
        else:
            assert {post.message_id for post in scene.posts} == {receipt.message_id}
        await becomes(engine, "ready")


async def test_removed_on_the_phone_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with linked(tmp_path, monkeypatch, numbers(3)) as scene, scene.open() as engine:
        with suppress(ConnectionClosed):  # the client may be gone before the server has ended its words
            await scene.whatsapp.log_out(OWNER)
        assert "storycast pair" in await becomes(engine, "lost")
        with pytest.raises(SessionLost):
            await engine.send(HELLO, jids(numbers(3)), None)
        await scene.link()
        assert (await engine.send(HELLO, jids(numbers(3)), None)).failed == {}


async def test_replaced_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with linked(tmp_path, monkeypatch, numbers(3)) as scene, scene.open() as engine:
        with suppress(ConnectionClosed):  # the client may be gone before the server has ended its words
            await scene.whatsapp.end_streams(Stream(conflict="replaced"))
        assert "replaced" in await becomes(engine, "lost")


@pytest.mark.parametrize(
    ("fault", "state", "words"),
    [
        (LoginFailure(402, (("code", "101"), ("expire", "3600"))), "restricted", "until"),
        (LoginFailure(405), "lost", "pip install --upgrade neonize"),
        (LoginFailure(403), "lost", "storycast pair"),
        (LoginFailure(401), "lost", "storycast pair"),
    ],
    ids=str,
)
async def test_a_refused_login_is_how_the_session_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: LoginFailure, state: str, words: str
) -> None:
    async with linked(tmp_path, monkeypatch, numbers(3)) as scene:
        scene.fault("login", fault)
        async with scene.open() as engine:
            assert words in await becomes(engine, state)


@pytest.mark.parametrize("reason", [400, 503])
async def test_a_login_that_is_refused_for_now_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    async with linked(tmp_path, monkeypatch, numbers(3)) as scene:
        scene.fault("login", LoginFailure(reason))
        async with scene.open() as engine:
            await becomes(engine, "ready")
            assert (await engine.send(HELLO, jids(numbers(3)), None)).failed == {}
