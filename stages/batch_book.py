"""The book of a story's batches: what each came to, and how many there were of each kind."""

from __future__ import annotations

from msgspec import structs

from stages.checkpoint import REMEMBERED_BATCHES, BatchRecord, Counts
from stages.flow import BatchResult


class BatchBook:
    """Names the first batches, and counts all of them."""

    def __init__(self, records: tuple[BatchRecord, ...] = (), counts: Counts | None = None) -> None:
        self.records = list(records)
        self.counts = counts or Counts()

    def enter(self, result: BatchResult) -> None:
        """A batch came back."""
        batch, counts = result.batch, self.counts
        if len(self.records) < REMEMBERED_BATCHES:
            self.records.append(
                BatchRecord(
                    index=batch.index if batch.role != "anchor" else 0,
                    size=len(batch.recipients) - result.untried,
                    attempt=batch.attempt,
                    outcome=result.outcome,
                    milliseconds=round(result.elapsed * 1000),
                )
            )
        self.counts = structs.replace(
            counts,
            total=counts.total + 1,
            successful=counts.successful + (result.outcome == "sent"),
            failed=counts.failed + (result.outcome != "sent"),
            retried=counts.retried + (batch.attempt > 1),
        )
