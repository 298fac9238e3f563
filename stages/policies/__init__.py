"""The batch policies, one module each, and the choice between them."""

from __future__ import annotations

from stages.options import SmartSend
from stages.policies.fixed import Fixed
from stages.policies.progressive import Progressive
from stages.policies.tiered import Tiered
from stages.policy import Policy

__all__ = ["Fixed", "Progressive", "Tiered", "policy_for"]


def policy_for(options: SmartSend) -> Policy:
    """The policy that `options.strategy` names, set up from `options`."""
    if options.strategy == "fixed":
        return Fixed(options.batch_size)
    if options.strategy == "tiered":
        return Tiered(_tiers(options))
    return Progressive(
        ladder=options.progressive_sequence,
        fast=options.fast_threshold_ms / 1000,
        slow=options.slow_threshold_ms / 1000,
        min_success_rate=options.min_success_rate,
    )


def _tiers(options: SmartSend) -> tuple[int, ...]:
    return (
        options.batch_size_small,
        options.batch_size_medium,
        options.batch_size_large,
        options.batch_size_xlarge,
        options.batch_size_xxlarge,
        options.batch_size_enterprise,
    )
