"""Gauges: CPU per request, memory, leaks. Approximate under autocorrelation, hence low weight.

d = ln(canary / stable) of one block. `spread` = 1.25 times the standard deviation that such a d has where both are
equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, stdev

from onlyvips_release.core.judge.ingest import Reading
from onlyvips_release.core.judge.mixture import Mixture

HEIGHTS = (0.5, 1.0, 2.0, 4.0)
"""Alternatives, in spreads above the tolerated margin."""

CAP = 2.5
CAUTION = 1.25
DRIFT = 0.002
"""Tolerated growth of memory against stable, per minute."""

TAU = 0.01
CDF = NormalDist().cdf


def spread(blocks: Sequence[float], floor: float, *, pairs: bool = True) -> float | None:
    """1.25 sd of ln ratios of equal arms; None for fewer than three.

    `pairs` False: the blocks are ln levels of one instance alone, and a ratio of two such has sqrt(2) their spread.
    """
    if len(blocks) < 3:
        return None
    return CAUTION * max(stdev(blocks) * (1 if pairs else math.sqrt(2)), floor)


@dataclass(slots=True)
class Block:
    """Sums of one arm in one block. `least`: an amount that is not told from nothing."""

    amount: float = 0.0
    per: float = 0.0
    least: float = 0.0

    def add(self, reading: Reading | None) -> None:
        """One tick; None = not seen."""
        if reading:
            self.amount += reading[0]
            self.per += reading[1]
            self.least += reading[2]


def levels(canary: Block, stable: Block) -> tuple[float | None, float | None]:
    """Amount per unit of each arm; None = not seen.

    Neither is said to use less than what the arm with fewer units could use unnoticed: next to nothing has no ratio.
    """
    least = max((arm.least / arm.per for arm in (canary, stable) if arm.per), default=0.0)
    c, b = (max(arm.amount / arm.per, least) if arm.per else 0.0 for arm in (canary, stable))
    return c or None, b or None


class Gauge:
    """Level of a gauge. `margin`: tolerated (0.2 = 20 % more); `blocks`: planned; `low` True: must not fall either."""

    __slots__ = ("low", "margin", "mixture", "spread")

    def __init__(self, margin: float, spread: float, blocks: int, *, low: bool = False) -> None:
        self.margin, self.spread, self.low = math.log1p(margin), spread, low
        heights = len(HEIGHTS) * (2 if low else 1)
        self.mixture = Mixture((1 / heights,) * heights, blocks)

    @property
    def evidence(self) -> float:
        """E: how strongly the blocks speak against "within the margin"; 1 = nothing seen."""
        return self.mixture.evidence

    def fold(self, d: float | None) -> None:
        """One block; None or not finite = not seen."""
        if d is None or not math.isfinite(d):
            self.mixture.idle()
            return
        sides = (d, -d) if self.low else (d,)
        logs = []
        for side in sides:
            x = (side - self.margin) / self.spread
            logs += [max(min(h * x - h * h / 2, CAP), -60.0) for h in HEIGHTS]
        self.mixture.pay(logs)


class Leak:
    """Slope of memory. `sd`: standard deviation of ln(canary / stable) of a scrape; `again`: its autocorrelation."""

    __slots__ = ("S1t", "S1y", "S11", "Stt", "Sty", "before", "h", "s")

    def __init__(self, sd: float, again: float) -> None:
        self.s, self.h = CAUTION * sd, min(max(again + 0.05, 0.0), 0.97)
        self.S11 = self.S1t = self.Stt = self.S1y = self.Sty = 0.0
        self.before: tuple[float, float] | None = None

    @property
    def evidence(self) -> float:
        """E against "grows by at most 0.2 % a minute more than stable"; 1 = nothing seen."""
        if not self.S11:
            return 1.0
        information = max(self.Stt - self.S1t**2 / self.S11, 0.0)
        v = self.Sty - self.S1t * self.S1y / self.S11
        D = 1 + TAU * TAU * information
        log = -math.log(D) / 2 + v * v * TAU * TAU / (2 * D) + math.log(2 * CDF(v * TAU / math.sqrt(D)) + 1e-300)
        return math.exp(min(log, 60.0))

    def fold(self, y: float | None, minutes: float) -> None:
        """One scrape: y = ln(canary / stable). A gap ends the run: only consecutive scrapes are pairs."""
        if y is None or not math.isfinite(y):
            self.before = None
            return
        if self.before is None:
            if not self.S11:
                self._add(1.0, minutes, y, 1 / self.s**2)
        else:
            t, last = self.before
            h = self.h
            self._add(1 - h, minutes - h * t, y - h * last, 1 / (self.s**2 * (1 - h * h)))
        self.before = (minutes, y)

    def _add(self, x1: float, x2: float, y: float, weight: float) -> None:
        y -= DRIFT * x2
        self.S11 += weight * x1 * x1
        self.S1t += weight * x1 * x2
        self.Stt += weight * x2 * x2
        self.S1y += weight * x1 * y
        self.Sty += weight * x2 * y
