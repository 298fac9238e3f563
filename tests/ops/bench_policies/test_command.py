"""`storycast bench policies` plays what it is asked for, the same on any number of processes, and leaves nothing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
import trio
from msgspec import structs

from ops.bench.page import parts
from ops.bench.policies.command import figures
from ops.bench.policies.figures import Policies
from ops.bench.policies.grid import Grid, Order, Played, fulfilled, orders, watches
from ops.bench.policies.players import PlayerFailed, all_played
from ops.bench.policies.worlds import RANDOM
from tests.ops.support import PATIENCE, Call, Command, run, wait_for_death

SMALL = Grid(families=["baseline warm", "limit on calls", "poison", RANDOM], sizes=[500, 3_000], seeds=2)
TINY = (
    "bench",
    "policies",
    "--family",
    "overhead",
    "--family",
    "random",
    "--sizes",
    "500,3000",
    "--seeds",
    "1",
)
LONG = ("bench", "policies", "--sizes", "1000000", "--seeds", "1000")


def players(home: Path) -> list[int]:
    """The processes that play stories whose temporary files go to `home`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command, environ = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
            except OSError:  # it has ended meanwhile, or is somebody else's
                continue
            if b"ops.bench.policies.player\0" in command and f"TMPDIR={home}\0".encode() in environ:
                found.append(int(entry.name))
    return found


def some_players(home: Path) -> list[int]:
    """The players, as soon as there are any."""
    deadline = time.monotonic() + PATIENCE
    while not (found := players(home)):
        assert time.monotonic() < deadline, "nobody plays"
    return found


@pytest.mark.trio
async def test_what_is_played_is_the_same_on_any_number_of_processes() -> None:
    planned = list(orders(SMALL))
    here = [fulfilled(order) for order in planned]
    told = list[int]()
    for processes in (1, 3):
        assert await all_played(planned, processes=processes, tell=lambda: told.append(1)) == here
    assert len(told) == 2 * len(planned)


@pytest.mark.trio
async def test_a_player_that_ends_ends_the_measurement() -> None:
    strange = structs.replace(next(orders(SMALL)), family="no such family")
    with pytest.RaisesGroup(PlayerFailed, flatten_subgroups=True):
        await all_played([strange], processes=1, tell=lambda: None)


@pytest.mark.trio
async def test_cancelled_it_ends_its_players(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    long = [Order(family="poison", recipients=1_000_000, seed=seed) for seed in range(50)]
    with trio.CancelScope() as scope:
        await all_played([*long, next(orders(SMALL))], processes=2, tell=scope.cancel)
    assert players(tmp_path) == []


def test_a_tiny_grid_gives_tables_for_people(tmp_path: Path) -> None:
    ended = run(*TINY, home=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    for words in ("ladder, hardened, from 5,000", "overhead", "from seed 1,000,000 on", "No goals:", "p99 "):
        assert words in ended.out
    rows = [line.split()[0] for line in ended.out.splitlines() if line]
    assert [rows.count(name) for name in ("tiers", "AIMD", "adaptive")] == [2, 2, 4]


def test_a_tiny_grid_gives_json_and_files_that_say_the_same(tmp_path: Path) -> None:
    ended = run(*TINY, "--json", "--out", "found", home=tmp_path)
    assert ended.code == 0, ended.err
    found = msgspec.json.decode(ended.out, type=Policies)
    assert (tmp_path / "found" / "policies.json").read_text() == ended.out
    assert ElementTree.fromstring((tmp_path / "found" / "policies.svg").read_bytes()).tag.endswith("svg")
    adaptive = found.of("all families", "adaptive", 4)
    assert adaptive is not None
    assert adaptive.runs == 1
    assert found.of("500 recipients", "adaptive", 1) is not None
    assert found.goals == []
    assert [one.width for one in found.decisions] == [1, 4]
    page = parts(tmp_path / "found")["policies"]
    tables = [part for part in page.split("\n\n") if part.startswith("|")]
    assert [len({row.count("|") for row in table.splitlines()}) for table in tables] == [1] * 5
    assert page.count("| adaptive |") == 2


def test_goals_are_judged_where_nothing_was_left_out() -> None:
    worlds = [
        one for one in map(fulfilled, orders(Grid(seeds=1, sizes=[500, 3_000]))) if isinstance(one, Played)
    ]
    every_size = [structs.replace(one, recipients=size) for one in worlds for size in Grid(seeds=1).sizes[1:]]
    assert len(figures(Grid(seeds=1), [*worlds, *every_size], [], 1.0).goals) == 22
    assert figures(SMALL, worlds, [], 1.0).goals == []


def test_decisions_are_timed_in_every_family_with_one_call_and_with_several() -> None:
    assert [(one.family, one.width) for one in watches(SMALL)] == [
        (family, width) for family in SMALL.families for width in (1, 4)
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--family", "sunny"), "--family: out-of-range: found 'sunny', allowed: baseline cold; "),
        (("--sizes", "1e6"), "--sizes: out-of-range: found '1e6', allowed: numbers from 1 to 2,000,000"),
        (("--seeds", "0"), "Must be >= 1"),
        (
            ("--family", "random", "--sizes", "500"),
            "--sizes: out-of-range: found '500', allowed: 3,000 and more",
        ),
    ],
)
def test_what_cannot_be_played_is_refused_with_what_is_allowed(
    call: Call, options: tuple[str, ...], said: str
) -> None:
    ended = call("bench", "policies", *options)
    assert (ended.code, ended.out) == (2, "")
    assert said in " ".join(ended.err.replace("│", " ").split())


def test_interrupted_it_leaves_no_process_and_no_words(tmp_path: Path) -> None:
    with Command(*LONG, home=tmp_path) as bench:
        bench.until("playing in")
        groups = {os.getpgid(pid) for pid in some_players(tmp_path)}
        bench.interrupt()
        ended = bench.end()
    assert (ended.code, ended.err) == (130, "")
    assert bench.process.pid not in groups, "Ctrl-C reaches the players, who would complain"
    assert players(tmp_path) == []


def test_killed_its_players_end_by_themselves(tmp_path: Path) -> None:
    with Command(*LONG, home=tmp_path) as bench:
        playing = some_players(tmp_path)
        bench.process.kill()
        assert bench.end().code == -signal.SIGKILL
        assert all(wait_for_death(pid) for pid in playing)
