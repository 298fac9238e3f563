"""What all lanes of a worker share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from msgspec import Struct

from pipeline.custody import Custody
from pipeline.leases import Leases
from pipeline.settings import Settings
from stages.engine import Engine
from stages.history import HistoryStore, Now
from stages.lists import RecipientLists
from stages.turns import Random
from transports.jobs import NatsJobs

OpenEngine = Callable[[str], AbstractAsyncContextManager[Engine]]
"""Opens the engine of a session for as long as a block lasts. Raises `EngineFailure` if it cannot."""


class Shared(Struct, frozen=True, kw_only=True):
    """What all lanes of a worker share."""

    settings: Settings
    custody: Custody
    leases: Leases
    open_engine: OpenEngine
    histories: HistoryStore
    jobs: NatsJobs
    lists: RecipientLists
    now: Now
    random: Random
    suppressed: frozenset[str] = frozenset()
