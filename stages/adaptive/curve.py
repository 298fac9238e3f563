"""What a call costs by its size: T(n) = a + b n + c n^2, learned from one call to the next.

A small Kalman filter: what is believed is a mean and a covariance, and a call moves it by as much as it is surprising
and the belief is unsure. Noise is relative, as it is over a network. Sizes are in thousands, so that the three numbers
are of one order.
"""

from __future__ import annotations

from math import sqrt

from msgspec import Struct, structs

Vector = tuple[float, float, float]
Symmetric = tuple[float, float, float, float, float, float]
"""A symmetric matrix by rows: (0,0) (0,1) (0,2) (1,1) (1,2) (2,2)."""

UNIT = 1_000.0
FORGETTING = 1.02
"""With each call the covariance grows by this factor, as long as no part is less sure than to begin with."""
LEAST: Vector = (0.02, 0.001, 0.0)
"""No part of the cost is believed to be less."""
QUICKEST = 1e-3
DOUBT_MOST = 0.6
"""More than so unsure is as unsure as can be."""


class Curve(Struct, frozen=True, kw_only=True):
    """The mean and covariance of (a, b, c) in seconds, for sizes in thousands."""

    mean: Vector
    covariance: Symmetric


PRIOR = Curve(mean=(0.7, 0.6, 0.01), covariance=(0.49, 0.0, 0.0, 0.2, 0.0, 0.01))
"""What is believed of a session that nothing is known of."""


def seconds(curve: Curve, size: float) -> float:
    """What a call to `size` recipients takes in good times."""
    x = size / UNIT
    a, b, c = curve.mean
    return max(QUICKEST, a + (b + c * x) * x)


def doubt(curve: Curve, size: float) -> float:
    """How unsure that is: its standard deviation over its mean, without the noise of a single call."""
    x = size / UNIT
    h = (1.0, x, x * x)
    return min(DOUBT_MOST, sqrt(max(0.0, _dot(h, _times(curve.covariance, h)))) / seconds(curve, size))


def balance(curve: Curve) -> float:
    """The size whose recipients cost as much as the call itself: below it shrinking only loses."""
    a, b, _ = curve.mean
    return UNIT * a / b


def learned(curve: Curve, size: float, took: float, noise: float) -> Curve:
    """`curve` after a call to `size` recipients that took so many seconds, with so much relative noise."""
    x = size / UNIT
    h = (1.0, x, x * x)
    p = _grown(curve.covariance)
    ph = _times(p, h)
    expected = seconds(curve, size)
    spread = (noise * expected) ** 2 + _dot(h, ph)
    mean = _moved(curve.mean, ph, (took - expected) / spread)
    p = _narrower(p, ph, spread)
    return Curve(mean=_positive(mean, p), covariance=p)


def unsure(curve: Curve, share: float) -> Curve:
    """`curve`, believed less: as unsure again as it was to begin with, by that `share`."""
    p, q = curve.covariance, PRIOR.covariance
    wider = (p[0] + share * q[0], p[1], p[2], p[3] + share * q[3], p[4], p[5] + share * q[5])
    return structs.replace(curve, covariance=wider)


def scaled(curve: Curve, factor: float) -> Curve:
    """`curve`, so many times as costly in all its parts, and as unsure for its size."""
    a, b, c = curve.mean
    return Curve(mean=(a * factor, b * factor, c * factor), covariance=_by(curve.covariance, factor**2))


def _positive(mean: Vector, p: Symmetric) -> Vector:
    """No part is negative: what one would be, the others make up for, as far as they hang together."""
    for place, column in ((2, (p[2], p[4], p[5])), (1, (p[1], p[3], p[4])), (0, (p[0], p[1], p[2]))):
        short = LEAST[place] - mean[place]
        if short > 0:
            mean = _moved(mean, column, short / column[place])
    a, b, c = mean
    return max(a, LEAST[0]), max(b, LEAST[1]), max(c, LEAST[2])


def _grown(p: Symmetric) -> Symmetric:
    q = PRIOR.covariance
    return _by(p, max(1.0, min(FORGETTING, q[0] / p[0], q[3] / p[3], q[5] / p[5])))


def _by(p: Symmetric, f: float) -> Symmetric:
    return p[0] * f, p[1] * f, p[2] * f, p[3] * f, p[4] * f, p[5] * f


def _moved(mean: Vector, direction: Vector, by: float) -> Vector:
    return mean[0] + direction[0] * by, mean[1] + direction[1] * by, mean[2] + direction[2] * by


def _dot(u: Vector, v: Vector) -> float:
    return u[0] * v[0] + u[1] * v[1] + u[2] * v[2]


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
