"""`storycast bench whatsapp` sends in both ways what it says it sends, and counts it. What it timed is no test's."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ops.bench.whatsapp_figures import Whatsapp
from tests.ops.support import run
from tests.whatsapp.measuring import Way, calls_of

pytestmark = pytest.mark.whatsapp

SMALL = ("bench", "whatsapp", "--contacts", "20", "--repeats", "1")
ONE_CALL = 20 + 1 + 1
"""Ciphertexts of a post to 20: theirs, the own phone's, and the one for all."""
ANCHORED = ONE_CALL + 2
"""A second call has another one for the own phone, and for all."""


def test_each_way_is_taken_with_new_with_standing_and_with_answered_sessions(tmp_path: Path) -> None:
    ended = run(*SMALL, "--json", home=tmp_path)
    assert ended.code == 0, ended.err
    found = msgspec.json.decode(ended.out, type=Whatsapp)
    [size] = found.sizes
    assert (size.contacts, size.calls, found.repeats, found.refused) == (20, [1, 19], 1, [])
    assert [compared.state for compared in size.states] == ["new", "standing", "answered"]
    counts = [
        (one.samples, one.pkmsg, one.msg, len(one.stanza_bytes))
        for compared in size.states
        for one in (compared.traditional, compared.anchored)
    ]
    assert counts == [
        (1, 21, 0, 1),
        (1, 22, 0, 2),
        (2, 21, 0, 1),
        (2, 22, 0, 2),
        (1, 1, 20, 1),
        (1, 2, 20, 2),
    ]
    assert size.ciphertexts == 4 * ONE_CALL + 4 * ANCHORED
    assert (size.repeated, size.message_ids) == (0, 2)


def test_times_and_sizes_are_those_of_the_recipients(tmp_path: Path) -> None:
    ended = run(*SMALL, "--json", home=tmp_path)
    [size] = msgspec.json.decode(ended.out, type=Whatsapp).sizes
    for one in (cost for compared in size.states for cost in (compared.traditional, compared.anchored)):
        assert one.micros_per_recipient == pytest.approx(one.seconds / 20 * 1e6)
        assert one.bytes_per_recipient == pytest.approx(sum(one.stanza_bytes) / 20)
        assert 0 < one.posting_seconds < one.seconds
        assert 0 < one.posting_cpu_seconds < one.client_cpu_seconds
        assert min(one.client_cpu_seconds, one.server_cpu_seconds) > 0
    new, _, answered = size.states
    assert answered.traditional.bytes_per_recipient < new.traditional.bytes_per_recipient


def test_people_get_a_row_for_each_kind_of_send(tmp_path: Path) -> None:
    ended = run(*SMALL, home=tmp_path)
    rows = [line.split()[:3] for line in ended.out.splitlines() if line.strip().startswith("20 ")]
    assert rows == [["20", "first", "2"], ["20", "second", "2"], ["20", "answered", "2"]]


@pytest.mark.parametrize(
    ("people", "sizes"),
    [
        (1, [1]),
        (100, [1, 99]),
        (3_000, [1, 100, 1_000, 1_899]),
        (10_000, [1, 100, 1_000, 4_000, 4_899]),
        (20_000, [1, 100, 1_000, 4_000, 5_000, 5_000, 4_899]),
    ],
)
def test_anchored_calls_climb_the_ladder_and_reach_everybody_once(people: int, sizes: list[int]) -> None:
    ways: list[Way] = ["anchored", "traditional"]
    anchored, traditional = (calls_of(way, range(people)) for way in ways)
    assert [len(call) for call in anchored] == sizes
    assert [one for call in anchored for one in call] == list(range(people))
    assert traditional == [range(people)]
