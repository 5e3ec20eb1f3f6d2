"""Latency: the share of answers slower than an edge, for a few edges at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

from onlyvips_release.core.judge.buckets import bucket, edge
from onlyvips_release.core.judge.compare import Compare, Lines
from onlyvips_release.core.judge.dispersion import History, Three
from onlyvips_release.core.judge.numbers import clip, logit

SHARES = (0.5, 0.1, 0.01, 0.001)
"""Edges are looked for where stable has these shares of slower answers."""

DELTA = 0.001
NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Edge:
    """A bucket edge in ms, stable's share S of answers slower than it, and how much more a canary may have.

    `canary_ms`: the canary's answers are counted from here on, where that is not the same edge.
    """

    ms: float
    share: float
    rho: float
    canary_ms: float


def choose(slower: Sequence[tuple[float, float]], margin: float, slack: float = 0.0) -> list[Edge]:
    """The 2 to 4 edges to watch, from stable's (edge in ms, share slower) pairs, rising.

    A canary that is slower by `margin` (0.1 = 10 %), or by `slack` ms if that is more, is tolerated. In the second case
    it is counted from an edge that is later by so much, and may have the same share.
    """
    levels = [(ms, clip(share, 1e-6, 1 - 1e-6)) for ms, share in slower]
    chosen = {
        min(range(len(levels)), key=lambda k: abs(logit(levels[k][1]) - logit(wanted))): None for wanted in SHARES
    }
    found = []
    for k in sorted(chosen):
        ms, share = levels[k]
        if slack > ms - ms / (1 + margin):
            found.append(Edge(ms, share, 1.0, edge(bucket(ms + slack))))
        else:
            found.append(Edge(ms, share, max(1.0, share_at(slower, ms / (1 + margin)) / share), ms))
    return found


def share_at(slower: Sequence[tuple[float, float]], ms: float) -> float:
    """Stable's share slower than `ms`: normal quantiles, linear in ln(edge) between edges, flat outside."""

    def quantile(share: float) -> float:
        return NORMAL.inv_cdf(clip(1 - share, 1e-7, 1 - 1e-7))

    if ms <= slower[0][0]:
        return slower[0][1]
    for (low, before), (high, after) in pairwise(slower):
        if ms <= high:
            part = math.log(ms / low) / math.log(high / low)
            return 1 - NORMAL.cdf(quantile(before) + part * (quantile(after) - quantile(before)))
    return slower[-1][1]


def slower_than(counts: Mapping[int, int]) -> list[tuple[float, float]]:
    """(edge, share slower) of counts by log bucket, where they say anything: from the first bucket to the last."""
    total, left = sum(counts.values()), sum(counts.values())
    found = []
    for k in range(min(counts), max(counts) + 1):
        left -= counts.get(k, 0)
        found.append((edge(k), left / total))
    return found


class Latency:
    """One comparison per edge; E is their mean. `requests`: behind the edges' shares; `phi0`: by edge, if measured."""

    __slots__ = ("compares", "edges")

    def __init__(
        self,
        edges: Sequence[Edge],
        dt: float,
        planned: int,
        requests: float = 50.0,
        phi0: Sequence[Three] | None = None,
    ) -> None:
        self.edges = tuple(edges)
        known: Sequence[Three | None] = phi0 or [None] * len(edges)
        self.compares = [
            Compare(Lines(one.rho, DELTA), dt, planned, History(one.share, requests, phi))
            for one, phi in zip(edges, known, strict=True)
        ]

    @property
    def evidence(self) -> float:
        """E: how strongly the data speak against "no more than the margin slower"; 1 = nothing seen."""
        return sum(compare.evidence for compare in self.compares) / len(self.compares)

    def fold(self, xc: Sequence[float], nc: float, xb: Sequence[float], nb: float) -> None:
        """One tick: answers slower than each edge, and all answers, of canary and stable."""
        for compare, slow, slow_stable in zip(self.compares, xc, xb, strict=True):
            compare.fold(slow, nc, slow_stable, nb)

    def idle(self, ticks: int) -> None:
        """`ticks` ticks without anything, at once."""
        for compare in self.compares:
            compare.idle(ticks)

    def new_weight(self) -> None:
        """Nothing waits across a shift."""
        for compare in self.compares:
            compare.new_weight()

    @property
    def worst(self) -> int:
        """The edge that speaks loudest."""
        return max(range(len(self.compares)), key=lambda k: self.compares[k].evidence)
