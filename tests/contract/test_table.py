"""The table in docs/engines.md says of each engine what the engine itself says, and names a promise for each row."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.engine import Capabilities
from tests.contract.test_engines import RIGS
from transports.testing import checks

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"
COLUMNS = {
    "simulated": "simulated",
    "waha, GOWS": "waha",
    "waha, NOWEB": "waha, on NOWEB",
    "neonize": "neonize, audience",
    "neonize, contact-staging": "neonize, contact staging",
}
"""Of the table, and the rigs that they are held to."""


def table() -> dict[str, dict[str, str]]:
    """Cells by row and column; the last column is the promise."""
    _, _, rest = PAGE.read_text().partition("<!-- capabilities")
    lines = rest.partition("<!-- end of capabilities")[0].splitlines()[1:]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def cells(able: Capabilities) -> dict[str, str]:
    """The column of an engine, made from what it says of itself."""
    yes = {True: "yes", False: "no"}
    kinds = ", ".join(sorted(able.kinds))
    return {
        "a list of recipients": yes[able.targets_recipients],
        "one message id for all batches": yes[able.reuses_message_id],
        '`audience: "contacts"`': yes[able.lists_audience],
        "recipients in a call": "no limit" if able.max_batch is None else f"{able.max_batch:,}",
        "text, image, video, voice": "all" if kinds == "image, text, video, voice" else kinds,
        "acknowledged by WhatsApp": yes[able.acknowledges],
        "`canBeReshared: false`": yes[able.limits_resharing],
    }


@pytest.mark.trio
@pytest.mark.parametrize("column", COLUMNS)
async def test_each_cell_is_what_the_engine_says_of_itself(column: str) -> None:
    open_rig, _ = RIGS[COLUMNS[column]]
    async with open_rig() as rig, rig.open() as engine:
        assert {row: of[column] for row, of in table().items()} == cells(engine.capabilities)


def test_each_row_names_a_promise_that_every_engine_is_held_to() -> None:
    promises = {str(check) for check in checks({})}
    assert {of["the promise that proves it"] for of in table().values()} <= promises
