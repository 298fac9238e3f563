"""No test reaches a public address: the library's own is written over, and nothing needs a network beyond loopback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.whatsapp.alone import NOT_ALLOWED

pytestmark = pytest.mark.whatsapp

LOOKS_FOR_WHAT_WAS_THERE = """
import neonize
from tests.whatsapp import patch

patch.point_at(4242)
found = [len([a for s, e in patch.mappings() for a in patch.find(x, s, e)]) for x in (patch.KEY, patch.URL)]
print(found)
patch.point_at(65535)
"""
WITHOUT_A_LIBRARY = """
from tests.whatsapp import patch

try:
    patch.point_at(4242)
except RuntimeError as error:
    print(error)
"""
REACHES_OUT = """
import socket

try:
    socket.create_connection(("192.0.2.1", 443), timeout=5)
except OSError as error:
    print(error.errno == 101)
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=60)


def test_the_key_and_the_address_of_the_real_service_are_no_longer_in_the_library() -> None:
    assert run("-c", LOOKS_FOR_WHAT_WAS_THERE).stdout.splitlines()[-1] == "[0, 0]"


def test_a_process_without_the_library_cannot_be_pointed_anywhere() -> None:
    assert "stands 0 times in the library, which must be once" in run("-c", WITHOUT_A_LIBRARY).stdout


def test_pairing_posting_and_a_whole_story_need_nothing_but_loopback() -> None:
    alone = ("-m", "tests.whatsapp.alone", sys.executable)
    reached = run(*alone, "-c", REACHES_OUT)
    if reached.returncode == NOT_ALLOWED:
        pytest.skip("this system gives its users no networks of their own")
    assert reached.stdout == "True\n", "there is a way out"
    tests = (
        "tests/whatsapp/test_posts.py",
        "tests/whatsapp/test_story.py",
        "-k",
        "100 or picture or slow_answer",
    )
    posted = run(*alone, "-m", "pytest", "--verbose", *tests)
    assert "3 passed" in posted.stdout, posted.stdout
