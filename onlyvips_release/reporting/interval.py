"""How much worse the canary is, as an interval: for people to see, never to decide by."""

from __future__ import annotations

import math

Z = 1.959964
"""The normal quantile of a two-sided 95 % interval."""


def interval(xc: int, nc: int, xb: int, nb: int) -> tuple[float, float]:
    """95 % interval of (canary's share of failures - stable's), from `xc` of `nc` and `xb` of `nb` requests.

    Newcombe's hybrid score interval (Statistics in Medicine 17, 1998, method 10): sensible with few or no failures.
    Made for one look, not for many: the judge's own evidence decides. An arm without requests knows nothing.
    """
    canary, stable = xc / nc if nc else 0.0, xb / nb if nb else 0.0
    (low_c, high_c), (low_b, high_b) = wilson(xc, nc), wilson(xb, nb)
    lower = canary - stable - math.hypot(canary - low_c, high_b - stable)
    upper = canary - stable + math.hypot(high_c - canary, stable - low_b)
    return max(-1.0, lower), min(1.0, upper)


def wilson(x: int, n: int) -> tuple[float, float]:
    """95 % score interval of a share; (0, 1) without any."""
    if n == 0:
        return 0.0, 1.0
    share, squared = x / n, Z * Z
    middle = (share + squared / (2 * n)) / (1 + squared / n)
    half = Z / (1 + squared / n) * math.sqrt(share * (1 - share) / n + squared / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
