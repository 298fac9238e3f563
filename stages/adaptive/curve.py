"""What a call costs by its size: T(n) = a + b n + c n^2, learned from one call to the next.

A small Kalman filter over the logarithms of a, b and c: they are positive, and of any order of magnitude. What is
believed is a mean and a covariance, and a call moves it by as much as it is surprising and the belief is unsure. How much
of a call's time each part makes up is how much that call says of it. Noise is relative, as it is over a network. Sizes are
in thousands, so that the three are of one order.
"""

from __future__ import annotations

import os
from math import exp, log, sqrt

from msgspec import Struct, structs

Vector = tuple[float, float, float]
Symmetric = tuple[float, float, float, float, float, float]
"""A symmetric matrix by rows: (0,0) (0,1) (0,2) (1,1) (1,2) (2,2)."""

UNIT = 1_000.0
FORGETTING = float(os.environ.get("FORG", "0.001"))
"""With each call it is so much less sure again."""
ROUNDS = 3
"""The filter is linear and the curve is not: so many times it is made linear where the last round arrived."""


class Curve(Struct, frozen=True, kw_only=True):
    """The mean and covariance of the logarithms of (a, b, c), in seconds for sizes in thousands."""

    mean: Vector
    covariance: Symmetric


E = [float(x) for x in os.environ.get("PRIOR", "0.7,0.6,0.01,0.7,0.45,0.1").split(",")]
PRIOR = Curve(mean=(E[0], E[1], E[2]), covariance=(E[3] ** 2, 0.0, 0.0, E[4] ** 2, 0.0, E[5] ** 2))
GROW = float(os.environ.get("GROW", "1.02"))


def seconds(curve: Curve, size: float) -> float:
    """What a call to `size` recipients takes in good times."""
    x = size / UNIT
    a, b, c = curve.mean
    return max(1e-3, a + (b + c * x) * x)


def doubt(curve: Curve, size: float) -> float:
    x = size / UNIT
    return sqrt(_spread(curve.covariance, (1.0, x, x * x))) / seconds(curve, size)


def scaled(curve: Curve, factor: float) -> Curve:
    """`curve`, all of it so many times as costly, and as unsure for its size."""
    f = factor * factor
    p = curve.covariance
    a, b, c = curve.mean
    return Curve(
        mean=(a * factor, b * factor, c * factor), covariance=tuple(x * max(f, SCALED_SD) for x in p)
    )


SCALED_SD = float(os.environ.get("SSD", ".0"))


def floor_of(curve):
    return 1000 * curve.mean[0] / curve.mean[1]


def learned(curve: Curve, size: float, took: float, noise: float) -> Curve:
    x = size / UNIT
    p = _grown(_wider(curve.covariance, FORGETTING), GROW)
    h = (1.0, x, x * x)
    ph = _times(p, h)
    expected = seconds(curve, size)
    spread = (noise * expected) ** 2 + _dot(h, ph)
    off = took - expected
    mean = tuple(m + v / spread * off for m, v in zip(curve.mean, ph, strict=True))
    p = _narrower(p, ph, spread)
    return Curve(mean=_positive(mean, p), covariance=p)


def _positive(mean, p):
    """No part of the cost is negative: what one would be, the others are less, by how they hang together."""
    columns = ((p[0], p[1], p[2]), (p[1], p[3], p[4]), (p[2], p[4], p[5]))
    for place in (2, 1, 0):
        short = LEAST[place] - mean[place]
        if short > 0:
            column = columns[place]
            mean = tuple(m + v / column[place] * short for m, v in zip(mean, column, strict=True))
    a, b, c = mean
    return max(a, LEAST[0]), max(b, LEAST[1]), max(c, LEAST[2])


LEAST = (0.02, 0.001, 0.0)


def _grown(p: Symmetric, factor: float) -> Symmetric:
    q = PRIOR.covariance
    f = max(1.0, min(factor, q[0] / p[0], q[3] / p[3], q[5] / p[5]))
    return (p[0] * f, p[1] * f, p[2] * f, p[3] * f, p[4] * f, p[5] * f)


def unsure(curve: Curve, share: float) -> Curve:
    """`curve`, believed less: as unsure again as it was to begin with, by that `share`."""
    return structs.replace(curve, covariance=_wider(curve.covariance, share))


def _dot(u, v) -> float:
    return u[0] * v[0] + u[1] * v[1] + u[2] * v[2]


def _spread(p: Symmetric, h: Vector) -> float:
    return max(0.0, _dot(h, _times(p, h)))


def _wider(p: Symmetric, share: float) -> Symmetric:
    q = PRIOR.covariance
    return (p[0] + share * q[0], p[1], p[2], p[3] + share * q[3], p[4], p[5] + share * q[5])


def _times(p: Symmetric, h: Vector) -> Vector:
    return (
        p[0] * h[0] + p[1] * h[1] + p[2] * h[2],
        p[1] * h[0] + p[3] * h[1] + p[4] * h[2],
        p[2] * h[0] + p[4] * h[1] + p[5] * h[2],
    )


def _narrower(p: Symmetric, ph: Vector, spread: float) -> Symmetric:
    u, v, w = ph
    return (
        p[0] - u * u / spread,
        p[1] - u * v / spread,
        p[2] - u * w / spread,
        p[3] - v * v / spread,
        p[4] - v * w / spread,
        p[5] - w * w / spread,
    )
