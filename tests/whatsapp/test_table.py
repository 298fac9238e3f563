"""The table in docs/engines.md says of neonize what the real library does."""

from __future__ import annotations

import pytest

from tests.contract.test_table import cells, table
from tests.whatsapp.rig import open_rig
from transports.neonize.options import Targeting

pytestmark = pytest.mark.whatsapp
COLUMNS: dict[str, Targeting] = {"neonize": "audience", "neonize, contact-staging": "contact-staging"}


@pytest.mark.trio
@pytest.mark.parametrize("column", COLUMNS)
async def test_each_cell_is_what_the_engine_says_over_the_real_library(column: str) -> None:
    async with open_rig(COLUMNS[column]) as rig, rig.open() as engine:
        assert {row: of[column] for row, of in table().items()} == cells(engine.capabilities)
