"""How many canary requests a decision needs: closed forms of drift and spread of the evidence."""

from __future__ import annotations

import math
from statistics import NormalDist

from onlyvips_release.core.judge.compare import Lines, project
from onlyvips_release.core.judge.numbers import EDGE, clip, kl, logit

PHI = NormalDist().cdf


def to_promote(rate: float, r: float, lines: Lines, phi: float, beta: float, q: float = 0.9) -> float:
    """Canary requests after which an equal canary is proven with probability q.

    `rate`: both arms' bad share; `r`: stable requests per canary request.
    """
    p = max(rate, 1e-6)
    return requests(p, p, r, (lines.rho_p, lines.delta_p or 0.0), phi * (math.log(1 / beta) + 1.1), q)


def to_find(
    bad: float, rate: float, r: float, lines: Lines, phi: float, threshold: float, q: float = 0.9, late: int = 0
) -> float:
    """Canary requests after which a canary of share `bad` is stopped with probability q; inf within tolerance.

    `threshold`: what this metric's evidence must reach, 1/(alpha w). `late`: the planned ticks N of the release, for
    a fault that begins late in it; 0: it is there from the first tick.
    """
    if bad <= lines.rho * rate + lines.delta:
        return math.inf
    start = max(0.0, math.log(late / 0.5) - 1) if late else math.log(2)
    needed = phi * (math.log(threshold) + 1.9 + start)
    return requests(min(bad, 0.999), max(rate, 1e-6), r, (lines.rho, lines.delta), needed, q)


def seconds(n: float, per_second: float, dt: float, phi: float, threshold: float, *, late: bool = False) -> float:
    """Time until n canary requests came, at `per_second`, in whole ticks of `dt` seconds; inf without traffic.

    The cap bounds it from below: no tick adds more than 4/sqrt(phi) to ln E (matters with many services).
    """
    if per_second <= 0 or math.isinf(n):
        return math.inf
    capped = math.sqrt(phi) / 4 * math.log(2 * threshold)
    return max(math.ceil(n / per_second / dt), math.ceil(capped), 3 if late else 2) * dt


def smallest(rate: float, r: float, lines: Lines, phi: float, threshold: float, n: float, q: float = 0.9) -> float:
    """The smallest bad share of the canary that n canary requests find with probability q; inf: none."""
    low, high = lines.rho * rate + lines.delta, 0.999
    if low >= high or to_find(high, rate, r, lines, phi, threshold, q) > n:
        return math.inf
    for _ in range(60):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if to_find(middle, rate, r, lines, phi, threshold, q) <= n else (middle, high)
    return high


def requests(a1: float, b1: float, r: float, line: tuple[float, float], needed: float, q: float) -> float:
    """n with P(evidence reached `needed` within n) = q: first passage of a Brownian motion with drift."""
    rho, delta = line
    (b0,) = project([a1], b1, 1.0, r, rho, delta)
    a0 = clip(rho * b0 + delta, EDGE, 1 - EDGE)
    drift = kl(a1, a0) + (r * kl(b1, b0) if rho > 0 else 0.0)
    spread = a1 * (1 - a1) * (logit(a1) - logit(a0)) ** 2
    if rho > 0:
        spread += r * b1 * (1 - b1) * (logit(b1) - logit(b0)) ** 2
    low, high = 1e-3, 1e12
    for _ in range(200):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if passed(middle, drift, spread, needed) >= q else (middle, high)
    return high


def passed(n: float, drift: float, spread: float, needed: float) -> float:
    """P(first passage within n requests)."""
    if spread <= 0 or drift <= 0:
        return 0.0
    root = math.sqrt(spread * n)
    late = math.exp(min(2 * needed * drift / spread, 700.0)) * PHI(-(drift * n + needed) / root)
    return min(1.0, PHI((drift * n - needed) / root) + late)
