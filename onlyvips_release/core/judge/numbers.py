"""Small functions of rates and counts."""

from __future__ import annotations

import math

EDGE = 1e-9
"""Rates of a null hypothesis keep this distance from 0 and 1."""

MOST = 2.0**53
"""No counter is larger: from here on a float cannot count by ones."""


def clip(value: float, low: float, high: float) -> float:
    """Inside [low, high]."""
    return low if value < low else high if value > high else value


def logit(p: float) -> float:
    """ln of the odds."""
    return math.log(p / (1 - p))


def kl(p: float, q: float) -> float:
    """Relative entropy KL(p, q) of two shares, in nats."""
    p, q = clip(p, 1e-12, 1 - 1e-12), clip(q, 1e-12, 1 - 1e-12)
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def sound(value: object) -> bool:
    """Whether it is a finite count >= 0 that a float still tells apart from its neighbours."""
    return isinstance(value, int | float) and 0 <= value < MOST


def bounded(x: float, n: float) -> tuple[float, float]:
    """x events out of n, made possible: 0 <= x <= n; nonsense is 0 of 0."""
    n = n if 0 < n < MOST else 0
    return (x if x < n else n) if x > 0 else 0, n
