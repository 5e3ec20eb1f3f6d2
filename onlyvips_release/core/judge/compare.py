"""Compare: bad events out of requests, canary against stable, for any number of looks.

Evidence E against "a <= rho b + delta" is a mixture of likelihood ratios against the projection of a guess made from
the past only; E' is the same against "a >= rho_p b + delta_p". Both are e-processes: P(sup E >= 1/alpha) <= alpha.
Sources: Turner, Ly, Grünwald 2106.02693 and Turner, Grünwald 2203.09785 (projection); Ville 1939.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

from onlyvips_release.core.judge.dispersion import HALF_LIFE, Dispersion, History
from onlyvips_release.core.judge.mixture import HUGE, Mixture
from onlyvips_release.core.judge.numbers import EDGE, bounded, clip

SHIFTS = [exp(h) for h in (0.25, 0.5, 0.9, 1.5, 2.4, 3.8, 5.6)]
"""Alternatives: their odds over those of the tolerated line; the eighth is `GROSS`."""

MIXTURE = (0.16, 0.20, 0.20, 0.16, 0.11, 0.07, 0.05, 0.05)
GROSS = 9.0
LEAST = exp(0.5)
"""The eighth: odds of 9 (a rate of 0.9), unless the line is already there."""

POOL_SECONDS = 30.0
"""How long the counts of one arm wait for the other's."""

CAP = 4.0
"""Most that one tick may add to ln E (over sqrt(phi)): no single tick convicts."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Tolerated: a <= rho b + delta. Never accept: a >= rho_p b + delta_p, None = proves nothing.

    rho = 0: an absolute guard.
    """

    rho: float
    delta: float
    rho_p: float = 0.0
    delta_p: float | None = None


@dataclass(frozen=True, slots=True)
class Guess:
    """What the past says before a tick: stable's rate b1 and the canary's running mean ah."""

    b1: float
    ah: float


class Compare:
    """One metric of one service. Constant memory; `fold` once per tick. `planned`: ticks of the whole release."""

    __slots__ = ("B", "_cn", "_cx", "_pn", "_pool", "_px", "_waits", "dispersion", "judged", "lines", "mixture", "q")

    def __init__(self, lines: Lines, dt: float, planned: int, history: History | None = None) -> None:
        self.lines, self.q = lines, 2 ** (-dt / HALF_LIFE)
        self.mixture = Mixture(MIXTURE, planned)
        self.dispersion = Dispersion(dt, history.phi0 if history else None)
        self.B = [1 / 3] * 3
        self.judged = 0
        self._pn = max(history.requests, 1.0) if history else 50.0
        self._px = max(history.rate * self._pn, 0.5) if history else 0.5
        self._cx, self._cn = 20 * self._px / self._pn, 20.0
        self._waits = max(1, round(POOL_SECONDS / dt)) if lines.rho > 0 else 1
        self._pool: list[tuple[float, float, float, float, Guess]] = []

    @property
    def evidence(self) -> float:
        """E: how strongly the data speak against "the canary is within tolerance"; 1 = nothing seen."""
        return self.mixture.evidence

    @property
    def promote_evidence(self) -> float:
        """E': how strongly they speak against "the canary is beyond the never-accept line"."""
        return sum(self.B)

    @property
    def guess(self) -> Guess:
        """From everything before this tick."""
        return Guess(clip(self._px / self._pn, 1e-6, 0.95), clip(self._cx / self._cn, 1e-6, 0.999))

    def fold(self, xc: float, nc: float, xb: float, nb: float) -> None:
        """One tick: bad events and requests of canary and stable. Nonsense counts as no request."""
        (xc, nc), (xb, nb) = bounded(xc, nc), bounded(xb, nb)
        self._wait((xc, nc, xb, nb, self.guess))
        if not self._judge_pool():
            self.mixture.idle()
        self.dispersion.fold((xc, nc, xb, nb))
        if nb > 0:  # silence teaches nothing: forgetting without hearing would drive the guess to 0.95
            self._px, self._pn = max(self._px * self.q + xb, 0.05), self._pn * self.q + nb
        self._cx, self._cn = self._cx + xc, self._cn + nc

    def idle(self, ticks: int) -> None:
        """`ticks` ticks without any request, at once: the same as folding each."""
        self.mixture.idle(ticks)
        for _ in range(min(ticks, self._waits)):
            self._wait((0, 0, 0, 0, self.guess))
        self.dispersion.idle(ticks)

    def new_weight(self) -> None:
        """Counts that wait for the other arm are dropped: they belong to the weight before."""
        self._pool.clear()

    def _wait(self, tick: tuple[float, float, float, float, Guess]) -> None:
        self._pool = [*self._pool[1 - self._waits :], tick] if self._waits > 1 else [tick]

    def _judge_pool(self) -> bool:
        """Both arms have been heard: every alternative pays. The guess is the one before the first waiting tick."""
        if len(self._pool) == 1:
            xc, nc, xb, nb, guess = self._pool[0]
        else:
            xc, nc, xb, nb = (sum([tick[column] for tick in self._pool]) for column in range(4))  # type: ignore[misc]
            guess = self._pool[0][4]
        if nc <= 0 or (nb <= 0 and self.lines.rho > 0):
            return False
        phi, counts = self.dispersion.phi, (xc, nc, xb, nb)
        cap = CAP / sqrt(phi)
        self.mixture.pay([max(min(llr / phi, cap), -60.0) for llr in self._against_tolerated(counts, guess)])
        if self.lines.delta_p is not None:
            beyond = self._against_beyond(counts, guess, self.lines.delta_p)
            factors = [exp(clip(llr / phi, -60.0, 60.0)) for llr in beyond]
            self.B = [clip(b * factor, 1e-12, HUGE) for b, factor in zip(self.B, factors, strict=True)]
        self.judged += 1
        self._pool.clear()
        return True

    def _against_tolerated(self, counts: Sequence[float], guess: Guess) -> list[float]:
        """Log likelihood ratios of the alternatives; one that lies inside the null says nothing."""
        rho, delta, b1 = self.lines.rho, self.lines.delta, guess.b1
        line = rho * b1 + delta
        am = clip(line, 1e-7, 0.97)
        odds = am / (1 - am)
        top = max(GROSS, odds * LEAST)
        alternatives = [o / (1 + o) for o in [min(odds * shift, top) for shift in SHIFTS] + [top]]
        found = likelihood_ratios(counts, alternatives, b1, rho, delta)
        if alternatives[0] > line:
            return found
        return [llr if a1 > line else 0.0 for a1, llr in zip(alternatives, found, strict=True)]

    def _against_beyond(self, counts: Sequence[float], guess: Guess, delta: float) -> list[float]:
        """The same for three alternatives on the good side of the never-accept line."""
        rho = self.lines.rho_p
        lim = min(rho * guess.b1 + delta, 0.999)
        low, middle = (guess.b1, (guess.b1 + lim) / 2) if rho > 0 else (0.1 * lim, 0.5 * lim)
        alternatives = [max(min(a1, 0.97 * lim), 1e-12) for a1 in (low, middle, guess.ah)]
        return likelihood_ratios(counts, alternatives, guess.b1, rho, delta)


def likelihood_ratios(
    counts: Sequence[float], a1s: Sequence[float], b1: float, rho: float, delta: float
) -> list[float]:
    """ln of each (a1, b1) over its projection onto the line a = rho b + delta."""
    xc, nc, xb, nb = counts
    good, good_stable, rest = nc - xc, nb - xb, 1 - b1
    found = []
    for a1, b0 in zip(a1s, project(a1s, b1, nc, nb, rho, delta), strict=True):
        a0 = rho * b0 + delta
        if not EDGE < a0 < 1 - EDGE:
            a0 = clip(a0, EDGE, 1 - EDGE)
        llr = good * log((1 - a1) / (1 - a0))
        if xc:
            llr += xc * log(a1 / a0)
        if rho > 0:
            llr += good_stable * log(rest / (1 - b0))
            if xb:
                llr += xb * log(b1 / b0)
        found.append(llr)
    return found


def project(a1s: Sequence[float], b1: float, nc: float, nb: float, rho: float, delta: float) -> list[float]:
    """b0 of the point on a = rho b + delta that minimises nc KL(a1, a) + nb KL(b1, b), for each a1. rho = 0: b1.

    Halley's method finds the root of its derivative, a cubic, inside a bracket, from the root for small rates.
    """
    if rho < EDGE:
        return [b1] * len(a1s)
    weight, spread, fall = nc * rho, delta * (1 - delta), 1 - 2 * delta
    c0, c3 = -nb * b1 * spread, -rho * (weight + nb * rho)
    linear, square = (
        weight * delta + nb * (spread - b1 * rho * fall),
        weight * (rho - delta) + nb * rho * (fall + b1 * rho),
    )
    steep, start = rho * (weight + nb), nb * (rho * b1 - delta) - weight * delta
    lift, top = steep * nb * b1 * delta, min((1 - EDGE - delta) / rho, 1 - EDGE)
    found = []
    for a1 in a1s:
        lo, hi = b1, (a1 - delta) / rho
        if hi < lo:
            lo, hi = hi, lo
        lo, hi = EDGE if lo < EDGE else lo, top if hi > top else hi  # twice as fast as min and max
        if hi <= lo:
            found.append(lo)
            continue
        half = (weight * a1 + start) / 2
        root = half * half + lift
        b = (half + sqrt(root)) / steep if root > 0 else lo
        if not lo < b < hi:
            b = (lo + hi) / 2
        c1, c2 = linear - weight * a1, square + weight * a1
        for _ in range(60):
            third = c3 * b
            q = third + c2
            u = q * b + c1
            h = u * b + c0
            if h > 0:
                hi = b
            else:
                lo = b
            slope, bend = (q + third) * b + u, q + 2 * third
            below = slope * slope - h * bend
            new = b - h * slope / below if below else -1.0
            near = 1e-4 * b  # of a step that trebles the digits
            if not lo < new < hi:
                new, near = (lo + hi) / 2 if lo > hi / 5 else sqrt(lo * hi), 1e-9 * b
            step, b = new - b, new
            if -near < step < near:
                break
        found.append(b)
    return found
