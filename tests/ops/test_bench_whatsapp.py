"""`storycast bench whatsapp` where it cannot measure says what it lacks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ops.bench.whatsapp import CHECKOUT, NEEDED, lacks
from tests.ops.support import Call, environment

INSTALLED = ("stages", "transports", "pipeline", "ops")


def test_without_a_checkout_it_says_so_and_ends_with_2(tmp_path: Path) -> None:
    for package in INSTALLED:
        shutil.copytree(CHECKOUT / package, tmp_path / package)
    ended = subprocess.run(
        [sys.executable, "-m", "ops", "bench", "whatsapp"],
        cwd=tmp_path,
        env=environment(tmp_path, {"PYTHONPATH": str(tmp_path)}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "needs a checkout with the test extra: this is an installation without the tests" in ended.stderr
    assert "make bench-whatsapp" in ended.stderr


def test_without_the_test_extra_it_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert lacks(CHECKOUT) == f"not installed: {', '.join(NEEDED)}"


@pytest.mark.parametrize("contacts", ["", "0", "-5", "1e6", "300,", "50001", "9" * 5_000])
def test_contacts_that_cannot_be_are_refused_with_what_is_allowed(call: Call, contacts: str) -> None:
    ended = call("bench", "whatsapp", f"--contacts={contacts}")
    assert (ended.code, ended.out) == (2, "")
    assert "--contacts: out-of-range: found '" in ended.err
    assert "allowed: numbers from 1 to 50,000, comma-separated" in ended.err
