"""Runs made by hand."""

from __future__ import annotations

from collections.abc import Mapping

from ops.bench.policies.grid import WIDTHS, Played
from ops.bench.policies.judge import ADAPTIVE, ORACLE, POLICIES, Run


def run(seconds: float, *, delivered: float = 1.0, refusals: int = 0, resent: float = 0.0) -> Run:
    """A story of three calls."""
    return Run(seconds=seconds, delivered=delivered, resent=resent, calls=3, refusals=refusals)


def played(
    adaptive: Run,
    *,
    family: str = "baseline cold",
    recipients: int = 3_000,
    others: Mapping[str, Run] | None = None,
) -> Played:
    """All policies in one world: the oracle takes 10 s, and whoever is not in `others` takes 20 s."""
    runs = (
        {name: run(20.0) for name in POLICIES} | {ORACLE: run(10.0), ADAPTIVE: adaptive} | dict(others or {})
    )
    return Played(
        family=family,
        recipients=recipients,
        seed=1_000_000,
        runs={name: dict.fromkeys(WIDTHS, one) for name, one in runs.items()},
    )
