"""What every test may use: both event loops on virtual time, and Hypothesis settings that are stable and fast."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from trio.testing import MockClock

from tests.virtual_loop import VirtualLoop

settings.register_profile(
    "storycast",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("storycast")


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Each `@pytest.mark.anyio` test runs on Trio and on asyncio, each with a virtual clock of its own."""
    if request.param == "trio":
        return "trio", {"clock": MockClock(autojump_threshold=0)}
    return "asyncio", {"loop_factory": VirtualLoop}


def pytest_collection_finish(session: pytest.Session) -> None:
    """What the collected tests are made of stays to the end: tests that collect garbage need not look through it."""
    gc.collect()
    gc.freeze()
