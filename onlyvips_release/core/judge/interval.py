"""How much worse the canary is, at any moment: a confidence sequence for d = a - b.

For display only: computed when a report is drawn, from the stored ticks. Source: Turner, Grünwald 2203.09785.
"""

from __future__ import annotations

import math

from onlyvips_release.core.judge.compare import likelihood_ratios
from onlyvips_release.core.judge.dispersion import HALF_LIFE
from onlyvips_release.core.judge.numbers import bounded, clip

THRESHOLD = math.log(2 / 0.05)
"""Each end at 2.5 %: together 95 %."""

_SMALL = (0.0002, 0.0005, 0.001, 0.002, 0.0035, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.2, 0.5)
GRID = tuple(sorted({0.0, 0.15, 0.3, 0.7, 0.9, 1.0, -1.0, *_SMALL, *(-d for d in _SMALL)}))
TOP = 1 - 1e-6
SETTLED = 60.0
"""ln of evidence at which a difference is rejected for good: it is not computed any further."""


class Interval:
    """Bounds of the difference of the bad shares, canary minus stable, that hold at all looks together with 95 %.

    `rate`: what is known of stable's rate beforehand (at least 1e-5); `dt`: seconds of a tick.
    """

    __slots__ = ("_cn", "_cx", "_high", "_low", "_pn", "_px", "q")

    def __init__(self, rate: float, dt: float) -> None:
        rate = max(rate, 1e-5)
        self._px, self._pn, self._cx, self._cn = 2000 * rate, 2000.0, 10 * rate, 10.0
        self.q = 2 ** (-dt / HALF_LIFE)
        self._low = {d: [math.log(0.25)] * 4 for d in GRID if -1 < d < 1}
        self._high = {d: [math.log(0.25)] * 4 for d in GRID if -1 < d < 1}

    def fold(self, xc: float, nc: float, xb: float, nb: float, phi: float = 1.0) -> None:
        """One tick; `phi`: its dispersion."""
        (xc, nc), (xb, nb) = bounded(xc, nc), bounded(xb, nb)
        if nc > 0 and nb > 0:
            b1, ah = clip(self._px / self._pn, 1e-6, 0.999), clip(self._cx / self._cn, 1e-6, 0.999)
            for d in self._low:
                if max(*self._low[d], *self._high[d]) < SETTLED:
                    self._test((xc, nc, xb, nb), d, b1, ah, phi)
        self._px, self._pn = self._px * self.q + xb, self._pn * self.q + nb
        self._cx, self._cn = self._cx + xc, self._cn + nc

    def _test(self, counts: tuple[float, float, float, float], d: float, b1: float, ah: float, phi: float) -> None:
        bb = min(max(b1, max(-d, 0.0) + 1e-6), min(1 - d, 1.0) - 1e-6)
        am = clip(bb + d, 1e-6, TOP)
        sd = math.sqrt(max(am * (1 - am), 1e-5) / (self._cn + 50))
        odds = math.log(am / (1 - am))
        above = (max(ah, am + sd / 2), am + 2 * sd, am + 4 * sd, 1 / (1 + math.exp(-odds - 1.5)))
        lower = (min(ah, am - sd / 2), am - 2 * sd, am - 4 * sd, 1 / (1 + math.exp(-odds + 1.5)))
        below = [0.3 * am if k and a1 <= 0 else a1 for k, a1 in enumerate(lower)]
        tested = [(self._low[d], k, min(a1, TOP)) for k, a1 in enumerate(above) if min(a1, TOP) > am + 1e-9]
        tested += [(self._high[d], k, max(a1, 1e-6)) for k, a1 in enumerate(below) if max(a1, 1e-6) < am - 1e-9]
        llrs = likelihood_ratios(counts, [a1 for *_, a1 in tested], bb, 1.0, d)
        for (logs, k, _), llr in zip(tested, llrs, strict=True):
            logs[k] += llr / phi

    @property
    def bounds(self) -> tuple[float, float]:
        """(lower, upper); lower > upper: the behaviour changed during the release."""
        low = {d: _sum(logs) for d, logs in self._low.items()} | {-1.0: 0.0, 1.0: 0.0}
        high = {-d: _sum(logs) for d, logs in self._high.items()} | {-1.0: 0.0, 1.0: 0.0}
        return _end(low), -_end(high)


def _sum(logs: list[float]) -> float:
    top = max(logs)
    return top + math.log(sum(math.exp(log - top) for log in logs))


def _end(evidence: dict[float, float]) -> float:
    """From below, the first d that is not rejected, interpolated in ln E; -1 where none was."""
    before: tuple[float, float] | None = None
    for d in sorted(evidence):
        log = evidence[d]
        if d > -1 and log < THRESHOLD:
            if before is None:
                return -1.0
            return before[0] + (d - before[0]) * (before[1] - THRESHOLD) / (before[1] - log)
        if d > -1:
            before = (d, log)
    return 1.0
