"""How runs are summed up, on runs made by hand."""

from __future__ import annotations

from math import inf

import pytest

from ops.bench.policies.judge import ADAPTIVE, LADDER
from ops.bench.policies.statistics import mean, median_over, quantile, summed_up
from tests.ops.bench_policies.made_up import played, run


def equal(*values: float) -> list[tuple[float, float]]:
    return [(value, 1.0) for value in values]


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [
        ((3, 1, 2), 0.5, 2),
        ((1, 2, 3, 4), 0.5, 2),
        (tuple(range(1, 101)), 0.95, 95),
        (tuple(range(1, 21)), 0.95, 19),
        ((7,), 0.95, 7),
        ((1, inf), 0.5, 1),
        ((1, inf, inf), 0.5, inf),
        ((*range(1, 20), inf), 0.95, 19),
        ((*range(1, 19), inf, inf), 0.95, inf),
        ((), 0.5, inf),
    ],
)
def test_a_quantile_is_the_least_value_that_so_many_are_not_above(
    values: tuple[float, ...], share: float, found: float
) -> None:
    assert quantile(equal(*values), share) == found


def test_a_quantile_counts_weights_and_not_values() -> None:
    assert quantile([(1.0, 0.2), (2.0, 0.2), (3.0, 1.0)], 0.5) == 3


def test_a_mean_is_of_what_is_finite_and_infinite_if_nothing_is() -> None:
    assert mean([(1.0, 1.0), (4.0, 0.5), (inf, 9.0)]) == 2
    assert mean(equal(inf, inf)) == inf


def test_a_run_that_reaches_less_than_99_percent_counts_as_infinite() -> None:
    just, short = run(11, delivered=0.99), run(11, delivered=0.9899)
    assert summed_up([played(just)], ADAPTIVE, 1).median == pytest.approx(1.1)
    missed = summed_up([played(short)], ADAPTIVE, 1)
    assert (missed.median, missed.mean, missed.p95, missed.undelivered, missed.delivered) == (
        None,
        None,
        None,
        1,
        0.0,
    )


def test_one_lost_run_in_forty_is_in_no_percentile_but_in_what_was_delivered() -> None:
    runs = [run(10 + place) for place in range(39)] + [run(1, delivered=0.5)]
    found = summed_up([played(one) for one in runs], ADAPTIVE, 4)
    assert [found.median, found.p95] == pytest.approx([2.9, 4.7])
    assert [found.runs, found.undelivered, found.delivered] == pytest.approx([40, 1, 0.975])


def test_every_family_and_size_weighs_the_same_however_many_worlds_it_has() -> None:
    often = [played(run(10, refusals=4, resent=0.1)) for _ in range(9)]
    once = [played(run(30, refusals=0), recipients=1_000_000)]
    found = summed_up([*often, *once], ADAPTIVE, 1)
    assert [found.mean, found.refusals, found.wasted] == pytest.approx([2.0, 2.0, 0.05])


def test_against_another_policy_worlds_are_compared_one_by_one() -> None:
    worlds = [
        played(run(10), others={LADDER: run(20)}),
        played(run(12), others={LADDER: run(10)}),
        played(run(10), others={LADDER: run(10, delivered=0.1)}),
    ]
    assert median_over(worlds, ADAPTIVE, 4, LADDER, 1) == 0.5
    lost = played(run(10, delivered=0.1), others={LADDER: run(10, delivered=0.1)})
    assert median_over([lost], ADAPTIVE, 1, LADDER, 1) == inf
