"""Whoever waits for a report waits on while an engine is away, and no longer once a person is needed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from rich.console import Console

from ops.display import display_for
from ops.stories import _answer
from pipeline.client.following import Event
from stages.messages import Alert, Rejection

AT = datetime(2026, 11, 22, tzinfo=UTC)
LAST = Rejection(code="c", field="f", found="x", allowed="y", message="m", session_id="main", at=AT)


async def heard(kind: str) -> AsyncIterator[Event]:
    yield Alert(session_id="main", kind=kind, reason="nobody serves it", at=AT)
    yield LAST


@pytest.mark.trio
@pytest.mark.parametrize(
    ("kind", "answer"), [("unavailable", LAST), ("account-restricted", None), ("lane-failed", None)]
)
async def test_an_engine_that_is_away_is_no_reason_to_stop_waiting(
    kind: str, answer: Rejection | None
) -> None:
    events = heard(kind)
    assert await _answer(events, display_for(Console(), silent=True)) == answer
    await events.aclose()  # type: ignore[attr-defined] # it is a generator
