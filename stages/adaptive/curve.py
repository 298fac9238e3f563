"""What a call costs by its size: T(n) = a + b n + c n^2, learned from one call to the next.

A small Kalman filter: what is believed is a mean and a covariance, and every call moves it by as much as it is surprising
and the belief is unsure. Noise is relative, as it is with calls over a network. Sizes are in thousands, so that the three
numbers are of one order.
"""

from __future__ import annotations

from msgspec import Struct, structs

Vector = tuple[float, float, float]
Symmetric = tuple[float, float, float, float, float, float]
"""A symmetric matrix by rows: (0,0) (0,1) (0,2) (1,1) (1,2) (2,2)."""

UNIT = 1_000.0
FORGETTING = 1.02
"""With each call the covariance grows so much: what was learned long ago weighs less."""
LEAST = 1e-3
"""No call is believed to take less, in seconds."""


class Curve(Struct, frozen=True, kw_only=True):
    """The mean and covariance of (a, b, c) in seconds, for sizes in thousands, and the relative noise of one call."""

    mean: Vector
    covariance: Symmetric
    noise: float = 0.2


PRIOR = Curve(mean=(0.7, 0.6, 0.01), covariance=(0.5, 0.0, 0.0, 0.2, 0.0, 0.003))
"""What is believed of a session that nothing is known of."""


def seconds(curve: Curve, size: float) -> float:
    """What a call to `size` recipients takes in good times."""
    x = size / UNIT
    a, b, c = curve.mean
    return max(LEAST, a + (b + c * x) * x)


def variance(curve: Curve, size: float) -> float:
    """How unsure that is, in seconds squared, without the noise of a single call."""
    x = size / UNIT
    p = curve.covariance
    return max(0.0, p[0] + 2 * x * p[1] + x * x * (2 * p[2] + p[3]) + 2 * x**3 * p[4] + x**4 * p[5])


def learned(curve: Curve, size: float, took: float, weight: float = 1.0) -> Curve:
    """`curve` after a call to `size` recipients that took so many seconds; a `weight` below 1 trusts it less."""
    x = size / UNIT
    h = (1.0, x, x * x)
    p = _grown(curve.covariance, FORGETTING)
    ph = _times(p, h)
    expected = seconds(curve, size)
    doubt = (curve.noise * expected) ** 2 / weight
    spread = doubt + sum(hi * vi for hi, vi in zip(h, ph, strict=True))
    off = took - expected
    mean = _kept_sane(tuple(m + v / spread * off for m, v in zip(curve.mean, ph, strict=True)))
    return Curve(mean=mean, covariance=_shrunk(p, ph, spread), noise=curve.noise)


def unsure(curve: Curve, factor: float) -> Curve:
    """`curve`, believed less: its covariance times `factor`, but never less sure than to begin with."""
    return structs.replace(curve, covariance=_grown(curve.covariance, factor))


def _grown(p: Symmetric, factor: float) -> Symmetric:
    """Times `factor`, as long as no part gets less sure than it was to begin with."""
    q = PRIOR.covariance
    f = max(1.0, min(factor, q[0] / p[0], q[3] / p[3], q[5] / p[5]))
    return (p[0] * f, p[1] * f, p[2] * f, p[3] * f, p[4] * f, p[5] * f)


def _times(p: Symmetric, h: Vector) -> Vector:
    return (
        p[0] * h[0] + p[1] * h[1] + p[2] * h[2],
        p[1] * h[0] + p[3] * h[1] + p[4] * h[2],
        p[2] * h[0] + p[4] * h[1] + p[5] * h[2],
    )


def _shrunk(p: Symmetric, ph: Vector, spread: float) -> Symmetric:
    u, v, w = ph
    return (
        p[0] - u * u / spread,
        p[1] - u * v / spread,
        p[2] - u * w / spread,
        p[3] - v * v / spread,
        p[4] - v * w / spread,
        p[5] - w * w / spread,
    )


def _kept_sane(mean: tuple[float, ...]) -> Vector:
    """No part of the cost is negative: neither a call, nor a recipient, nor their crowding."""
    a, b, c = mean
    return max(a, 0.02), max(b, 0.001), max(c, 0.0)
