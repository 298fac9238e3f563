"""Reports that are settled together: stored in one go, then noted as finished in one go.

What a story costs at its end is mostly waiting for the stream twice; for stories that end at about the same time it is
waited twice in all. The order is the same for each of them: its report, then that it is finished, and only then may
its request be acknowledged. What does not go well is left to be settled one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from pipeline.long_lists import has_long_lists
from pipeline.outbound import report_message
from stages.checkpoint import Checkpoint, finished
from stages.flow import Reported
from stages.messages import Report
from transports.bus import Bus, Stored
from transports.errors import TransportError
from transports.jobs import NatsJobs


class Ended(Struct, frozen=True):
    """What became of reports that were to be settled together.

    `finished` are stored, and their stories noted as finished; of those that are only `stored` that is still to be
    noted; `left` are not known to be stored.
    """

    finished: Sequence[Reported]
    stored: Sequence[Reported]
    left: Sequence[Reported]


def fits_in(item: Reported) -> bool:
    """Whether the report needs nothing but to be stored: no lists beside it, no rejection, and it is no rehearsal."""
    if item.rejection is not None or item.report.dry_run:
        return False
    return item.closed is None or not has_long_lists(item.closed)


async def settle_together(bus: Bus, jobs: NatsJobs, items: Sequence[Reported]) -> Ended:
    """Store the reports of `items`, all of which fit in, and note that their stories are finished."""
    try:
        found = await bus.store_all([report_message(item.report, bus.max_payload) for item in items])
    except TransportError:
        return Ended((), (), items)
    stored, left = _parted(items, [isinstance(each, Stored) for each in found])
    try:
        noted = await jobs.finish_all([mark_of(item.report) for item in stored])
    except TransportError:
        return Ended((), stored, left)
    done, unnoted = _parted(stored, noted)
    return Ended(done, unnoted, left)


def mark_of(report: Report) -> Checkpoint:
    """What is noted of a story once its report is stored."""
    return finished(report.session_id, report.story_id, reason=report.reason)


def _parted(items: Sequence[Reported], well: Sequence[bool]) -> tuple[list[Reported], list[Reported]]:
    parts: tuple[list[Reported], list[Reported]] = [], []
    for item, is_well in zip(items, well, strict=True):
        parts[not is_well].append(item)
    return parts
