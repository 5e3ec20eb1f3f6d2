"""Latency as counts in about 160 log buckets of ratio 1.09, from 0.1 ms to 90 s."""

from __future__ import annotations

import math

RATIO = 1.09
LOWEST = 0.1
"""Milliseconds: the upper edge of bucket 0."""

LAST = 159
_STEP = math.log(RATIO)


def bucket(milliseconds: float) -> int:
    """The bucket of one answer: edge(k - 1) < milliseconds <= edge(k); all slower ones are in the last."""
    if milliseconds <= LOWEST:
        return 0
    return min(LAST, math.ceil(math.log(milliseconds / LOWEST) / _STEP - 1e-9))


def edge(k: int) -> float:
    """Upper edge of bucket k in milliseconds."""
    return LOWEST * RATIO**k
