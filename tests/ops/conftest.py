"""Commands in this process and in their own, and a worker that the tests share."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from ops.cli import app
from tests.ops.support import ALONE, QUICK, Call, Command, Ended, environment, unused_port


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_is_heard() -> None:
    """Whoever started the tests in the background had them ignore it, and our children would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _started_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Command]]:
    """Commands that look for a server that is not there. They try for seconds, so other tests run meanwhile."""
    home = tmp_path_factory.mktemp("alone")
    settings = {"STORYCAST_URL": f"nats://127.0.0.1:{unused_port()}"}
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(Command(*arguments, home=home, settings=settings))
            for name, arguments in ALONE.items()
        }


@pytest.fixture(scope="session")
def alone(_started_alone: dict[str, Command]) -> dict[str, Ended]:
    """How they ended."""
    return {name: command.end() for name, command in _started_alone.items()}


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command in this process, in `tmp_path`, where starting another one would be too slow."""

    def called(*arguments: str, env: Mapping[str, str] | None = None, stdin: str = "") -> Ended:
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setattr(os, "environ", environment(tmp_path, env))
            patch.setattr(sys, "stdin", io.StringIO(stdin))
            code = app.meta(arguments)
        logging.getLogger("storycast").handlers.clear()  # it writes to a stderr that is this test's
        said = capsys.readouterr()
        assert code is None or isinstance(code, int)  # as for `sys.exit`, which it is for
        return Ended(code or 0, said.out, said.err)

    return called


@pytest.fixture(scope="session")
def up_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server and a quick worker, by `storycast up`; each test takes sessions of its own."""
    home = tmp_path_factory.mktemp("up")
    with Command("up", "--port", str(unused_port()), home=home, settings=QUICK) as up:
        up.until("serving requests")
        yield up.out.split()[3].rstrip(",")
        up.process.send_signal(signal.SIGTERM)
        assert up.end().code == 0
