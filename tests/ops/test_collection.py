"""A worker's process looks for cyclic garbage seldom, and still does."""

from __future__ import annotations

import subprocess
import sys

SEEN = """
import gc
from ops.collection import collect_seldom
looks = []
gc.callbacks.append(lambda phase, info: looks.append(info["generation"]) if phase == "stop" else None)
collect_seldom()
looks.clear()
class Cycle:
    def __init__(self): self.me = self
kept = [[] for _ in range({kept})]
for _ in range({dropped}): Cycle()
print(len(looks), sum(isinstance(each, Cycle) for each in gc.get_objects()))
"""


def looks_at(*, kept: int = 0, dropped: int = 0) -> tuple[int, int]:
    """How often it looked while so many objects were made, and how many cycles are left."""
    code = SEEN.format(kept=kept, dropped=dropped)
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    looks, left = map(int, said.split())
    return looks, left


def test_opening_lanes_is_a_reason_to_look_at_new_objects_only() -> None:
    looks, left = looks_at(kept=45_000)
    assert looks <= 5
    assert left == 0


def test_cycles_that_are_dropped_do_not_pile_up() -> None:
    looks, left = looks_at(dropped=300_000)
    assert looks > 0
    assert left < 120_000


AGED = """
import gc, ops.collection
ops.collection.NEW_OBJECTS = 100  # all else in proportion: a hundredth of the time
ops.collection.collect_seldom()
class Cycle:
    def __init__(self): self.me = self
for _ in range(20):
    kept = [Cycle() for _ in range(10_000)]
    del kept
print(sum(isinstance(each, Cycle) for each in gc.get_objects()))
"""


def test_cycles_that_had_grown_old_do_not_pile_up_either() -> None:
    said = subprocess.run([sys.executable, "-c", AGED], capture_output=True, check=True, text=True).stdout
    assert int(said) < 100_000
