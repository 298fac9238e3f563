"""The batch policies, one module each, and the choice between them."""

from __future__ import annotations

from stages.options import SmartSend
from stages.policies.adaptive import Adaptive
from stages.policies.fixed import Fixed
from stages.policies.progressive import Progressive
from stages.policies.tiered import Tiered
from stages.policy import Policy

__all__ = ["Adaptive", "Fixed", "Progressive", "Tiered", "policy_for"]


def policy_for(options: SmartSend, *, largest: int | None = None) -> Policy:
    """The policy that `options.strategy` names, set up from `options`.

    No batch can be larger than `largest`: a ladder ends there, so that what happens to batches that were cut is not
    held against rungs that never went out.
    """
    if options.strategy == "fixed":
        return Fixed(options.batch_size)
    if options.strategy == "tiered":
        return Tiered(_tiers(options))
    if options.strategy == "adaptive":
        return Adaptive(
            largest=min(options.max_batch_size, largest or options.max_batch_size),
            gap=1 / options.max_batches_per_second,
            width=options.max_concurrent,
        )
    return Progressive(
        ladder=_ladder(options.progressive_sequence, largest),
        fast=options.fast_threshold_ms / 1000,
        slow=options.slow_threshold_ms / 1000,
        min_success_rate=options.min_success_rate,
    )


def _ladder(sizes: tuple[int, ...], largest: int | None) -> tuple[int, ...]:
    if largest is None or largest >= sizes[-1]:
        return sizes
    return (*(size for size in sizes if size < largest), largest)


def _tiers(options: SmartSend) -> tuple[int, ...]:
    return (
        options.batch_size_small,
        options.batch_size_medium,
        options.batch_size_large,
        options.batch_size_xlarge,
        options.batch_size_xxlarge,
        options.batch_size_enterprise,
    )
