"""How often a worker's process looks for garbage in cycles.

A thousand sessions are a million objects that live as long as their lanes. CPython looks at new objects after every 700
of them, and at all that live whenever those have grown by a quarter: for a worker that opens lanes this is half of its
time. What dies here dies by its reference count; cycles, which failures leave behind, may wait.
"""

from __future__ import annotations

import gc
from typing import Final

NEW_OBJECTS: Final = 10_000
"""After so many more objects than were freed the new ones are looked at: a pause of some milliseconds."""
_YOUNG_LOOKS: Final = 50
_MIDDLE_LOOKS: Final = 10


def collect_seldom() -> None:
    """Take what is loaded by now for eternal, and look for garbage seldom. For a process of storycast's own."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, _YOUNG_LOOKS, _MIDDLE_LOOKS)
