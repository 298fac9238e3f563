"""The worlds that policies are judged in, and the oracle that knows them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.bench.policies.grid import FIRST_SEED, Grid, orders
from ops.bench.policies.judge import ORACLE, judged
from ops.bench.policies.worlds import FAMILIES, IRREGULAR, RANDOM, SIZES, dead_places, drawn
from transports.simulated import Profile, load_profile

ALL = (*FAMILIES, RANDOM)
TUNING = 1_000
"""Seeds below are those that policies are tuned with."""


def written(value: Any) -> str:
    """`value` in TOML, on one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key} = {written(of)}' for key, of in value.items() if of is not None)}}}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(written, value))}]"
    return json.dumps(value)


def through_a_file(profile: Profile, folder: Path) -> Profile:
    path = folder / "profile.toml"
    tables = msgspec.to_builtins(profile)
    path.write_text("\n".join(f"{key} = {written(of)}" for key, of in tables.items() if of is not None))
    return load_profile(str(path))


@pytest.mark.parametrize("family", ALL)
def test_the_profile_of_a_world_passes_the_checks_of_a_profile_file(family: str, tmp_path: Path) -> None:
    for seed in (1, FIRST_SEED, FIRST_SEED + 7):
        setting = drawn(family, seed)
        for profile in filter(None, (setting.profile, setting.past)):
            assert through_a_file(profile, tmp_path) == profile


def test_every_family_of_the_list_is_there() -> None:
    assert list(FAMILIES) == [
        *("baseline cold", "baseline warm", "cheap resend", "overhead"),
        *("superlinear cold", "superlinear warm", "fragile large", "cliff at 4,500"),
        *("limit on recipients", "limit on calls", "congestion", "flapping", "degrading"),
        *("history too high", "history too low", "noisy", "serial server", "poison"),
    ]
    assert set(FAMILIES) >= IRREGULAR
    assert SIZES == (500, 3_000, 10_000, 50_000, 100_000, 1_000_000)


def test_the_whole_grid_has_every_family_and_size_and_random_worlds_from_3000_on() -> None:
    cells = {(one.family, one.recipients) for one in orders(Grid(seeds=1))}
    assert cells == {(family, size) for family in FAMILIES for size in SIZES} | {
        (RANDOM, size) for size in SIZES if size >= 3_000
    }


def test_no_world_that_policies_were_tuned_in_is_judged() -> None:
    assert min(one.seed for one in orders(Grid(seeds=30))) >= TUNING


def test_the_same_seed_draws_the_same_world_and_another_one_another() -> None:
    for family in ALL:
        assert drawn(family, FIRST_SEED) == drawn(family, FIRST_SEED)
        assert drawn(family, FIRST_SEED).profile.latency != drawn(family, FIRST_SEED + 1).profile.latency


def test_poison_is_one_in_ten_thousand_at_places_that_the_seed_tells() -> None:
    setting = drawn("poison", FIRST_SEED)
    places = dead_places(setting, 1_000_000)
    assert places == sorted(set(places))
    assert 50 < len(places) < 200
    assert places == dead_places(setting, 1_000_000)
    assert dead_places(drawn("noisy", FIRST_SEED), 1_000_000) == []


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("family", ["limit on recipients", "limit on calls", RANDOM])
def test_the_oracle_is_never_refused(family: str, width: int) -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + 12):
        for size in (3_000, 50_000):
            assert judged(ORACLE, drawn(family, seed), size, width=width).refusals == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_oracle_delivers(family: str) -> None:
    assert judged(ORACLE, drawn(family, FIRST_SEED), 10_000, width=1).delivered >= 0.99
