"""Compare: bad events out of requests, canary against stable, for any number of looks (judge.md sections 2 and 4).

Evidence E against "a <= rho b + delta" is a mixture of likelihood ratios against the projection of a guess made from
the past only; E' is the same against "a >= rho_p b + delta_p". Both are e-processes: P(sup E >= 1/alpha) <= alpha.
Sources: Turner, Ly, Grünwald 2106.02693 and Turner, Grünwald 2203.09785 (projection); Shin, Ramdas, Rinaldo 2203.03532
(late starts, here with total weight 1); Ville 1939.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from onlyvips_release.judge.dispersion import Dispersion, History

SHIFTS = (0.25, 0.5, 0.9, 1.5, 2.4, 3.8, 5.6)
"""Alternatives, in logits above the tolerated line; the eighth is `GROSS`."""

MIXTURE = (0.16, 0.20, 0.20, 0.16, 0.11, 0.07, 0.05, 0.05)
GROSS = math.log(9)
HALF_LIFE = 345.0
"""Seconds after which stable's past counts half in the guess of its rate."""

POOL_SECONDS = 30.0
CAP = 4.0
HUGE = 1e30


@dataclass(frozen=True, slots=True)
class Lines:
    """Tolerated: a <= rho b + delta. Never accept: a >= rho_p b + delta_p. rho = 0: an absolute guard."""

    rho: float
    delta: float
    rho_p: float
    delta_p: float


@dataclass(frozen=True, slots=True)
class Guess:
    """What the past says before a tick: stable's rate b1 and the canary's running mean ah."""

    b1: float
    ah: float


class Compare:
    """One metric of one service. Constant memory; `fold` once per tick."""

    __slots__ = (
        "A",
        "B",
        "W",
        "_cn",
        "_cx",
        "_pn",
        "_pool",
        "_px",
        "dispersion",
        "dt",
        "judged",
        "lines",
        "planned",
        "t",
    )

    def __init__(self, lines: Lines, dt: float, planned: int, history: History | None = None) -> None:
        self.lines, self.dt, self.planned = lines, dt, planned
        self.dispersion = Dispersion(dt, history)
        self.A, self.B = [0.0] * len(MIXTURE), [1 / 3] * 3
        self.W, self.t, self.judged = 0.0, 0, 0
        self._pn = max(history.requests, 1.0) if history else 50.0
        self._px = max(history.rate * self._pn, 0.5) if history else 0.5
        self._cx, self._cn = 20 * self._px / self._pn, 20.0
        self._pool: deque[tuple[float, float, float, float, Guess]] = deque(maxlen=max(1, round(POOL_SECONDS / dt)))

    @property
    def evidence(self) -> float:
        """E: how strongly the data speak against "the canary is within tolerance"; 1 = nothing seen."""
        return sum(pi * a for pi, a in zip(MIXTURE, self.A, strict=True)) + max(0.0, 1 - self.W)

    @property
    def promote_evidence(self) -> float:
        """E': how strongly they speak against "the canary is beyond the never-accept line"."""
        return sum(self.B)

    @property
    def guess(self) -> Guess:
        """From everything before this tick."""
        return Guess(clip(self._px / self._pn, 1e-6, 0.95), clip(self._cx / self._cn, 1e-6, 0.999))

    def fold(self, xc: float, nc: float, xb: float, nb: float) -> None:
        """One tick: bad events and requests of canary and stable (0 <= x <= n)."""
        xc, xb = min(xc, nc), min(xb, nb)
        w = self._start_weight()
        self._pool.append((xc, nc, xb, nb, self.guess))
        if self.lines.rho == 0:
            while len(self._pool) > 1:
                self._pool.popleft()
        if self._judge_pool(w):
            self.judged += 1
            self._pool.clear()
        else:
            self.A = [a + w for a in self.A]
        self.W += w
        self.t += 1
        self.dispersion.fold((xc, nc, xb, nb))
        if nb > 0:  # a silence ages nothing: else the floor of 0.05 events becomes the whole guess
            q = 2 ** (-self.dt / HALF_LIFE)
            self._px, self._pn = max(self._px * q + xb, 0.05), self._pn * q + nb
        self._cx, self._cn = self._cx + xc, self._cn + nc

    def drop_pool(self) -> None:
        """Counts that still wait belong to another weight."""
        self._pool.clear()

    def _start_weight(self) -> float:
        """Half at the first tick, the rest spread over the planned ones, so that late faults are found too."""
        if self.t == 0:
            return 0.5
        return 0.5 / (self.planned - 1) if self.t < self.planned else 0.0

    def _judge_pool(self, w: float) -> bool:
        xc, nc, xb, nb = (sum(tick[column] for tick in self._pool) for column in range(4))  # type: ignore[misc]
        if nc <= 0 or (nb <= 0 and self.lines.rho > 0):
            return False
        guess, phi = self._pool[0][4], self.dispersion.phi
        cap = CAP / math.sqrt(phi)
        for k, llr in enumerate(self._against_tolerated((xc, nc, xb, nb), guess)):
            step = max(min(llr / phi, cap), -60.0)
            self.A[k] = min((self.A[k] + w) * math.exp(step), HUGE)
        for k, llr in enumerate(self._against_beyond((xc, nc, xb, nb), guess)):
            self.B[k] = clip(self.B[k] * math.exp(clip(llr / phi, -60.0, 60.0)), 1e-12, HUGE)
        return True

    def _against_tolerated(self, counts: tuple[float, float, float, float], guess: Guess) -> Iterable[float]:
        """Log likelihood ratios of the alternatives; one that lies inside the null says nothing."""
        rho, delta = self.lines.rho, self.lines.delta
        line = rho * guess.b1 + delta
        lm = logit(clip(line, 1e-7, 0.97))
        lt = max(GROSS, lm + 0.5)
        for height in (*(min(lm + h, lt) for h in SHIFTS), lt):
            a1 = sigmoid(height)
            yield 0.0 if a1 <= line else likelihood_ratio(counts, a1, guess.b1, rho, delta)

    def _against_beyond(self, counts: tuple[float, float, float, float], guess: Guess) -> Iterable[float]:
        rho, delta = self.lines.rho_p, self.lines.delta_p
        lim = min(rho * guess.b1 + delta, 0.999)
        low, middle = (guess.b1, (guess.b1 + lim) / 2) if rho > 0 else (0.1 * lim, 0.5 * lim)
        for a1 in (low, middle, guess.ah):
            yield likelihood_ratio(counts, min(a1, 0.97 * lim), guess.b1, rho, delta)


def likelihood_ratio(
    counts: tuple[float, float, float, float], a1: float, b1: float, rho: float, delta: float
) -> float:
    """ln of (a1, b1) over its projection onto the line a = rho b + delta."""
    xc, nc, xb, nb = counts
    a0, b0 = project(a1, b1, nc, nb, rho, delta)
    found = xc * math.log(a1 / a0) + (nc - xc) * math.log((1 - a1) / (1 - a0))
    if rho > 0:
        found += xb * math.log(b1 / b0) + (nb - xb) * math.log((1 - b1) / (1 - b0))
    return found


def project(a1: float, b1: float, nc: float, nb: float, rho: float, delta: float) -> tuple[float, float]:
    """The point of a = rho b + delta that minimises nc KL(b-side) + nb KL: Newton inside a bracket."""
    if rho == 0:
        return delta, b1
    lo, hi = sorted((b1, (a1 - delta) / rho))
    lo, hi = max(lo, 1e-9), min(hi, (1 - 1e-9 - delta) / rho, 1 - 1e-9)
    if hi <= lo:
        return rho * lo + delta, lo
    b = b1 if lo < b1 < hi else (lo + hi) / 2
    for _ in range(60):
        a = rho * b + delta
        u, v = b * (1 - b), a * (1 - a)
        h = nc * rho * (a - a1) * u + nb * (b - b1) * v
        if h > 0:
            hi = b
        else:
            lo = b
        slope = nc * rho * (rho * u + (a - a1) * (1 - 2 * b)) + nb * (v + (b - b1) * rho * (1 - 2 * a))
        new = b - h / slope if slope else -1.0
        if not lo < new < hi:
            new = (lo + hi) / 2 if lo > hi / 5 else math.sqrt(lo * hi)
        done = abs(new - b) < 1e-7 * b
        b = new
        if done:
            break
    return rho * b + delta, b


def clip(value: float, low: float, high: float) -> float:
    """Inside [low, high]."""
    return min(max(value, low), high)


def logit(p: float) -> float:
    """ln of the odds."""
    return math.log(p / (1 - p))


def sigmoid(x: float) -> float:
    """Inverse of logit."""
    return 1 / (1 + math.exp(-x))
