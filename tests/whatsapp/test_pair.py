"""`storycast pair` links a session with WhatsApp, by the code that it shows."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio

from tests.faults.processes import RARELY, ROOT, Child, until
from tests.nats_support import open_nats, url_of
from tests.whatsapp.camera import read_qr_code
from tests.whatsapp.clients import OWNER, memory
from tests.whatsapp.rig import SESSION, command, environment, options
from tests.whatsapp.server import Whatsapp, open_whatsapp
from transports.neonize import open_neonize
from transports.streams import ensure

pytestmark = [pytest.mark.whatsapp, pytest.mark.trio]

TYPED = re.compile(r"^ {4}(\w{4}-\w{4})$", re.MULTILINE)


async def test_the_code_on_the_terminal_is_one_that_a_phone_can_scan_and_it_links_the_session() -> None:
    pytest.importorskip("zxingcpp", reason="zxing-cpp is not installed")
    async with open_whatsapp() as whatsapp, pairing(whatsapp) as (pair, sessions):
        await whatsapp.scan(await shown(pair, read_qr_code), OWNER)
        await links(whatsapp, pair, sessions)


async def test_a_code_that_is_typed_in_on_the_phone_links_the_session() -> None:
    async with open_whatsapp() as whatsapp, pairing(whatsapp, "--phone", f"+{OWNER}") as (pair, sessions):
        await whatsapp.type_code(await shown(pair, typed), OWNER)
        await links(whatsapp, pair, sessions)


@asynccontextmanager
async def pairing(whatsapp: Whatsapp, *arguments: str) -> AsyncIterator[tuple[Child, Path]]:
    """The command while it runs, and the folder of the sessions."""
    with TemporaryDirectory(dir=memory(), prefix="storycast-") as directory:
        home = Path(directory)
        async with open_nats() as bus:
            await ensure(bus)
            given = ["--data", str(home / "sessions"), "--url", url_of(bus)]
            entry = [sys.executable, "-m", "tests.whatsapp.command", str(whatsapp.port), "pair", *arguments]
            with Child("pair", [*entry, *given], home, {**os.environ, "PYTHONPATH": str(ROOT)}) as pair:
                yield pair, home / "sessions"


async def shown(pair: Child, read: Callable[[str], str | None]) -> str:
    """Wait until the command shows a code."""

    async def code() -> str | None:
        assert pair.is_alive, pair.out + pair.err
        return read(pair.out)

    found = await until(code, lambda: f"a code is shown: {pair.out}{pair.err}", every=RARELY)
    assert found is not None
    return found


def typed(screen: str) -> str | None:
    found = TYPED.search(screen)
    return found[1] if found else None


async def links(whatsapp: Whatsapp, pair: Child, sessions: Path) -> None:
    """The command ends well, and a worker finds the session ready."""
    await trio.to_thread.run_sync(pair.process.wait)
    assert pair.process.returncode == 0, pair.err
    assert "session main is linked to 491...00.\nThe next worker that runs serves it.\n" in pair.out
    neonize = options(sessions, "audience")
    with environment(whatsapp):
        async with open_neonize(neonize, SESSION, command=command(whatsapp.port)) as engine:
            assert (await engine.status()).state == "ready"
