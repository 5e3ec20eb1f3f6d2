"""Generators of the judge's acceptance table. A whole run is drawn at once, from numpy's frozen legacy streams."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from onlyvips_release.core.judge.buckets import edge

Array = NDArray[Any]
Outcome = dict[str, float | None]
"""What came of one run: a handful of numbers."""

WEIGHT = 0.1
MEDIAN, SIGMA = 100.0, 0.6
"""Latency in ms: lognormal."""

BUCKETS = (5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0)
FINE_BUCKETS = tuple(edge(k) for k in range(20, 90))
"""Some of the library's own, 0.6 to 197 ms."""

LOG_BUCKETS = tuple(100 * 1.09**k for k in range(-10, 40))
SCRAPE = 15.0
"""Seconds between two readings of a gauge."""


def seeded(row: str, case: str, seed: int) -> RandomState:
    """Everything random in one run."""
    digest = hashlib.sha256(f"{row}/{case}/{seed}".encode()).digest()
    return RandomState(np.frombuffer(digest[:16], np.uint32))


@dataclass(frozen=True)
class Span:
    """When something happens: ticks of `dt` s over `seconds`, a fault from `onset` until `until` (s)."""

    dt: float = 5.0
    seconds: float = 1800.0
    onset: float = 0.0
    until: float = math.inf

    @property
    def ticks(self) -> int:
        """N."""
        return round(self.seconds / self.dt)

    @property
    def times(self) -> Array:
        """Start of each tick in seconds."""
        return np.arange(self.ticks) * self.dt

    @property
    def faulty(self) -> Array:
        """Ticks with the fault."""
        return (self.times >= self.onset) & (self.times < self.until)


def traffic(rs: RandomState, rps: float, span: Span, shape: Array | float = 1.0) -> tuple[Array, Array]:
    """Requests of canary and stable per tick."""
    mean = rps * span.dt * np.broadcast_to(shape, (span.ticks,))
    return rs.poisson(mean * WEIGHT), rs.poisson(mean * (1 - WEIGHT))


def batches(rs: RandomState, mean: Array, size: float) -> Array:
    """Events that come in geometric batches of mean `size`; `mean` events in all."""
    count = rs.poisson(mean / size)
    return np.asarray(count + np.where(count > 0, rs.negative_binomial(np.maximum(count, 1), 1 / size), 0))


@dataclass(frozen=True)
class Errors:
    """Bad events out of requests. `bad`: the canary's rate in the fault; `both`: of both arms in a shared outage."""

    rps: float
    base: float
    bad: float | None = None
    both: float | None = None
    kind: str = ""
    span: Span = Span()

    def healthy(self) -> Errors:
        """The same process without a fault: 30 min of history. The daily pattern has a flat one."""
        kind, span = self.kind, replace(self.span, onset=0.0, until=math.inf)
        return Errors(self.rps, self.base, kind="" if kind == "diurnal" else kind, span=span)

    def draw(self, rs: RandomState) -> tuple[Array, Array, Array, Array]:
        """xc, nc, xb, nb per tick."""
        t, shape = self.span.times, np.ones(self.span.ticks)
        stable = np.full(self.span.ticks, self.base)
        if self.kind == "diurnal":
            shape = 1 + 0.6 * np.sin(2 * math.pi * t / 3600)
            stable = 0.01 * 2.5 ** np.sin(2 * math.pi * t / 1800 - 1)
        elif self.kind == "common":
            stable = np.where(rs.random_sample(self.span.ticks) < 0.05, 0.1, stable)
        canary = stable.copy()
        if self.bad is not None:
            canary[self.span.faulty] = self.bad
        if self.both is not None:
            canary[self.span.faulty] = stable[self.span.faulty] = self.both
        nc, nb = traffic(rs, self.rps, self.span, shape)
        return self._failed(rs, nc, canary), nc, self._failed(rs, nb, stable), nb

    def _failed(self, rs: RandomState, n: Array, p: Array) -> Array:
        if self.kind == "icc":
            p = rs.beta(49 * p, 49 * (1 - p))
        if self.kind.startswith("batch"):
            return np.minimum(batches(rs, n * p, float(self.kind[5:])), n)
        return rs.binomial(n, p)


def wander(rs: RandomState, ticks: int, dt: float, sd: float, tau: float) -> Array:
    """AR(1) of standard deviation `sd` and time constant `tau` (s)."""
    if not sd:
        return np.zeros(ticks)
    keep = math.exp(-dt / tau)
    steps = rs.standard_normal(ticks) * sd
    steps[1:] *= math.sqrt(1 - keep * keep)
    for i in range(1, ticks):
        steps[i] += keep * steps[i - 1]
    return steps


def slower(ms: Array | float, scale: Array | float) -> Array:
    """S: share of requests slower than `ms` when all take `scale` times as long."""
    z = (np.log(ms) - np.log(scale) - math.log(MEDIAN)) / SIGMA
    return np.asarray(0.5 * ERFC(z / math.sqrt(2)))


ERFC = np.vectorize(math.erfc, otypes=[float])


@dataclass(frozen=True)
class Latency:
    """Answer times in buckets. `factor`: the canary in the fault, `both`: both arms; `noise`: (sd, tau) of a pod.

    `later`: ms that each answer of the canary takes longer, from the start.
    """

    rps: float
    factor: float = 1.0
    both: float = 1.0
    tail: bool = False
    noise: tuple[float, float] = (0.0, 30.0)
    drift: bool = False
    edges: tuple[float, ...] = BUCKETS
    span: Span = Span()
    median: float = MEDIAN
    later: float = 0.0

    def healthy(self) -> Latency:
        """Without the fault."""
        return replace(self, factor=1.0, both=1.0, tail=False, later=0.0)

    def exceedances(self, rs: RandomState, nc: Array, nb: Array) -> tuple[Array, Array]:
        """Per tick and edge, how many were slower: nested binomials, edge by edge."""
        span, (sd, tau) = self.span, self.noise
        shared = 0.3 * np.sin(2 * math.pi * span.times / 1800) if self.drift else np.zeros(span.ticks)
        shared = shared + np.where(span.faulty, math.log(self.both), 0.0) + math.log(self.median / MEDIAN)
        canary = shared + wander(rs, span.ticks, span.dt, sd, tau) + np.where(span.faulty, math.log(self.factor), 0.0)
        stable = shared + wander(rs, span.ticks, span.dt, sd / 3, tau)
        return self._nested(rs, nc, canary, self.later, tail=self.tail), self._nested(rs, nb, stable)

    def _nested(self, rs: RandomState, n: Array, log_scale: Array, later: float = 0.0, *, tail: bool = False) -> Array:
        edges = np.maximum(np.array(self.edges) - later, 1e-6)[None, :]
        moving = np.any(log_scale != log_scale[0])
        share = slower(edges, np.exp(log_scale if moving else log_scale[:1])[:, None])
        share = np.broadcast_to(share, (len(n), len(self.edges)))
        if tail:
            half = slower(edges / 2, 1.0)
            share = np.where(self.span.faulty[:, None], np.maximum(share, np.minimum(half, 0.02)), share)
        found, left, above = np.empty(share.shape, np.int64), n, np.ones(len(n))
        for e in range(len(self.edges)):
            left = rs.binomial(left, np.minimum(share[:, e] / above, 1.0))
            found[:, e], above = left, np.maximum(share[:, e], 1e-300)
        return found


def volume(
    rs: RandomState, nc: Array, nb: Array, span: Span, factor: float = 1.0, *, bursty: bool = False
) -> tuple[Array, Array]:
    """Business events: 5 % of requests, in waves; `factor` on the canary."""
    rate = 0.05 * np.exp(0.3 * np.sin(2 * math.pi * span.times / 1800))
    canary, stable = nc * rate * factor, nb * rate
    if bursty:
        return batches(rs, canary, 4), batches(rs, stable, 4)
    return rs.poisson(canary), rs.poisson(stable)


@dataclass(frozen=True)
class Gauge:
    """ln of a gauge of canary and stable at each scrape. `slope`: per minute; `pods`: behind stable's mean."""

    sd: float
    tau: float
    factor: float = 1.0
    slope: float = 0.0
    pods: int = 3
    seconds: float = 1800.0

    def draw(self, rs: RandomState) -> tuple[Array, Array]:
        """ln canary, ln stable."""
        n = round(self.seconds / SCRAPE)
        canary = wander(rs, n, SCRAPE, self.sd, self.tau)
        stable = wander(rs, n, SCRAPE, self.sd / math.sqrt(self.pods), self.tau)
        return canary + math.log(self.factor) + self.slope * np.arange(n) * SCRAPE / 60, stable

    def healthy(self) -> Gauge:
        """Without the fault."""
        return replace(self, factor=1.0, slope=0.0)
