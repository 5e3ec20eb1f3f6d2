"""Random numbers of the simulated users."""

from __future__ import annotations

import math
import random


def poisson(source: random.Random, mean: float) -> int:
    """A Poisson number: by waiting times when small, by the normal approximation above 50."""
    if mean > 50:
        return max(0, round(source.gauss(mean, math.sqrt(mean))))
    count, total = 0, source.expovariate(1.0)
    while total < mean:
        count, total = count + 1, total + source.expovariate(1.0)
    return count


def binomial(source: random.Random, trials: int, share: float) -> int:
    """Successes in `trials`: exact for few expected successes (geometric gaps), normal above 50 of both kinds."""
    if share <= 0 or trials <= 0:
        return 0
    if share >= 1:
        return trials
    if share > 0.5:
        return trials - binomial(source, trials, 1 - share)
    if trials * share > 50:
        return min(trials, max(0, round(source.gauss(trials * share, math.sqrt(trials * share * (1 - share))))))
    count, position = 0, 0
    while (position := position + 1 + int(math.log(1 - source.random()) / math.log1p(-share))) <= trials:
        count += 1
    return count
