"""How a session sends: the one declaration of every `SMART_SEND_*` setting.

A field `max_batch_size` is the environment variable `SMART_SEND_MAX_BATCH_SIZE`, the key
`max_batch_size` under `[smart_send]` in `storycast.toml`, and a row of the reference page. Type,
bounds, default and description stand here and nowhere else.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

Strategy = Literal["tiered", "progressive", "adaptive", "fixed"]

BatchSize = Annotated[int, Meta(ge=1, le=1_000_000)]
Milliseconds = Annotated[int, Meta(ge=0, le=3_600_000)]
Ladder = Annotated[tuple[BatchSize, ...], Meta(min_length=1, max_length=32)]


class SmartSend(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options that one story is sent with, after request, session and environment are merged."""

    enabled: Annotated[bool, Meta(description="Anchor and send in batches; if off, one plain call.")] = True
    strategy: Annotated[Strategy, Meta(description="The policy that chooses batch sizes.")] = "progressive"
    min_recipients: Annotated[
        int, Meta(ge=2, le=1_000_000, description="Fewer recipients than this go out in one plain call.")
    ] = 100
    batch_size_small: Annotated[BatchSize, Meta(description="`tiered`: batch size below 500 recipients.")] = (
        100
    )
    batch_size_medium: Annotated[BatchSize, Meta(description="`tiered`: below 2,000.")] = 500
    batch_size_large: Annotated[BatchSize, Meta(description="`tiered`: below 5,000.")] = 1_000
    batch_size_xlarge: Annotated[BatchSize, Meta(description="`tiered`: below 10,000.")] = 2_000
    batch_size_xxlarge: Annotated[BatchSize, Meta(description="`tiered`: below 20,000.")] = 5_000
    batch_size_enterprise: Annotated[BatchSize, Meta(description="`tiered`: 20,000 recipients and more.")] = (
        10_000
    )
    batch_size: Annotated[BatchSize, Meta(description="`fixed`: the size of every batch.")] = 1_000
    batch_delay: Annotated[Milliseconds, Meta(description="Pause between two batches, in ms.")] = 100
    max_concurrent: Annotated[
        int, Meta(ge=1, le=16, description="Batches of one story in flight at the same time.")
    ] = 1
    fast_threshold_ms: Annotated[
        Milliseconds, Meta(description="`progressive`: a batch below this is fast: two rungs up.")
    ] = 2_000
    slow_threshold_ms: Annotated[
        Milliseconds, Meta(description="`progressive`: a batch above this is slow: one rung down.")
    ] = 10_000
    min_success_rate: Annotated[
        float, Meta(ge=0, le=1, description="Sent share a batch needs to grow, and a story to be a success.")
    ] = 0.95
    enable_learning: Annotated[bool, Meta(description="Remember per session which sizes worked.")] = True
    memory_ttl_hours: Annotated[
        float, Meta(gt=0, le=8_760, description="How long what was learned counts, in hours.")
    ] = 24.0
    max_batch_size: Annotated[BatchSize, Meta(description="No batch is larger, whatever the strategy.")] = (
        10_000
    )
    max_batches_per_second: Annotated[
        float, Meta(gt=0, le=1_000, description="Engine calls per second and session, at most.")
    ] = 2.0
    progressive_sequence: Annotated[
        Ladder, Meta(description="`progressive`: the ladder of sizes, rising, comma-separated.")
    ] = (100, 500, 1_000, 2_000, 4_000, 5_000)
    max_retries: Annotated[
        int, Meta(ge=0, le=20, description="Further attempts for a recipient whose batch failed.")
    ] = 3
    regional: Annotated[bool, Meta(description="Group recipients by region before batching.")] = False
