"""One seed of one case: a world is drawn, the judge folds it, and what came of it is a handful of numbers.

`lnE` (and the like): the most that ln of an evidence ever reached. `ticks`: from the onset to the decision, None =
never, 0 = it came before the onset. `failed`, `requests`: of the canary, from the onset up to that tick.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import correlation, stdev
from typing import Any

import numpy as np
from numpy.random import RandomState

from benchmarks.judge import peers
from benchmarks.judge.worlds import SCRAPE, WEIGHT, Array, Errors, Gauge, Latency, Outcome, Span, traffic, volume
from onlyvips_release.core.judge.compare import Compare, Lines, likelihood_ratios
from onlyvips_release.core.judge.dispersion import History, phi0, start
from onlyvips_release.core.judge.gauge import Gauge as Level
from onlyvips_release.core.judge.gauge import Leak, spread
from onlyvips_release.core.judge.ingest import Ingest
from onlyvips_release.core.judge.interval import Interval
from onlyvips_release.core.judge.latency import Latency as Edges
from onlyvips_release.core.judge.latency import choose
from onlyvips_release.core.judge.volume import Volume
from onlyvips_release.core.model import Series

Run = Callable[[RandomState], Outcome]
DEFAULT = Lines(1.2, 0.001, 1.5, 0.005)
TOLERATED = Lines(1.2, 0.001)
"""The same without E': it costs time."""

ALONE, ONE_OF_16 = 20.0, 320.0
BLOCK = 60.0
Evidence = Iterable[float]
"""E after each tick."""


def ticks_of(*columns: Array) -> Iterable[tuple[Any, ...]]:
    """Arrays as ticks of Python numbers."""
    return zip(*(column.tolist() for column in columns), strict=True)


def known(world: Errors, rs: RandomState) -> History:
    """Half an hour before: the 10 % arm plays the single pod, the 90 % arm gives the rate."""
    before, dt = world.healthy(), world.span.dt
    drawn = before.draw(rs)
    rate, requests = start(list(ticks_of(drawn[2], drawn[3])), dt)
    return History(rate, requests, phi0(ticks_of(*drawn), dt))


def passing(evidence: Evidence, threshold: float) -> int | None:
    """The first tick (from 0) at which it is enough."""
    return next((i for i, value in enumerate(evidence) if value >= threshold), None)


def outcome(evidence: Evidence, threshold: float | None, onset: float, bad: Array, requests: Array) -> Outcome:
    """How far it ever came (no threshold), or when it was enough and what that cost since the onset (a tick)."""
    if threshold is None:
        return {"lnE": round(math.log(max(evidence)), 3)}
    after = passing(evidence, threshold)
    if after is None:
        return {"ticks": None, "failed": None, "requests": None}
    if after < onset:
        return {"ticks": 0, "failed": 0, "requests": 0}
    until = slice(round(onset), after + 1)
    return {"ticks": after + 1 - round(onset), "failed": int(bad[until].sum()), "requests": int(requests[until].sum())}


# --- errors ----------------------------------------------------------------------------------------------------------


def fold(compare: Compare, drawn: Sequence[Array], *, promote: bool = False) -> Evidence:
    """E (or E') of one comparison."""
    for tick in ticks_of(*drawn):
        compare.fold(*tick)
        yield compare.promote_evidence if promote else compare.evidence


def errors(
    world: Errors,
    threshold: float | None = None,
    lines: Lines = TOLERATED,
    *,
    history: bool = True,
    oracle: bool = False,
    rivals: bool = False,
) -> Run:
    """One comparison; with a never-accept line: of E'."""

    def run(rs: RandomState) -> Outcome:
        span = world.span
        compare = Compare(lines, span.dt, span.ticks, known(world, rs) if history else None)
        drawn = world.draw(rs)
        evidence, onset = fold(compare, drawn, promote=lines.delta_p is not None), span.onset / span.dt
        found = outcome(evidence, threshold, onset, drawn[0], drawn[1])
        if oracle:
            found["oracle"] = sprt(world, drawn[0], drawn[1])
        return found | peers.since(peers.on_errors(*drawn, span.dt), onset) if rivals else found

    return run


def errors_found(world: Errors, *, oracle: bool = False) -> Run:
    """When E was enough (one of 16), beside peers."""
    return errors(world, ONE_OF_16, oracle=oracle, rivals=True)


def sprt(world: Errors, xc: Array, nc: Array) -> float | None:
    """Canary requests of the test that knows the fault and its onset."""
    am, pc = DEFAULT.rho * world.base + DEFAULT.delta, world.bad or 0.0
    llr = np.cumsum(xc * math.log(pc / am) + (nc - xc) * math.log((1 - pc) / (1 - am)))
    where = np.flatnonzero(llr >= math.log(ONE_OF_16))
    return int(nc[: where[0] + 1].sum()) if len(where) else None


def telemetry(world: Errors, threshold: float | None, lost: float = 0.5, reset: float = 0.01) -> Run:
    """Cumulative counters through `Ingest`: scrapes of an arm are lost, the canary's counters fall to 0."""

    def run(rs: RandomState) -> Outcome:
        span, ingest = world.span, Ingest()
        compare = Compare(TOLERATED, span.dt, span.ticks, known(world, rs))
        drawn = world.draw(rs)
        gone, fallen = rs.random_sample((span.ticks, 2)) < lost, rs.random_sample(span.ticks) < reset
        totals = [[0, 0], [0, 0]]  # good and bad, per arm

        def take(arm: int) -> tuple[float, float]:
            side = ingest.take("api", "cs"[arm], [Series("one", "", good=totals[arm][0], bad=totals[arm][1])])
            return side.bad, side.total

        def evidence() -> Evidence:
            take(0)
            take(1)
            for i, (xc, nc, xb, nb) in enumerate(ticks_of(*drawn)):
                totals[0] = [0, 0] if fallen[i] else [totals[0][0] + nc - xc, totals[0][1] + xc]
                totals[1] = [totals[1][0] + nb - xb, totals[1][1] + xb]
                compare.fold(*((0, 0) if gone[i][0] else take(0)), *((0, 0) if gone[i][1] else take(1)))
                yield compare.evidence

        return outcome(evidence(), threshold, 0, drawn[0], drawn[1])

    return run


def exact(rs: RandomState) -> Outcome:
    """One random design: what the uncapped factor of a tick is expected to be on the null, minus 1, at the most."""
    nc, nb = int(rs.randint(1, 41)), int(rs.randint(1, 121))
    b1, rho, delta = math.exp(rs.uniform(math.log(1e-5), math.log(0.95))), rs.uniform(1, 2), rs.uniform(0, 0.02)
    line = rho * b1 + delta
    found: Outcome = {"tolerated": 0.0, "beyond": 0.0}
    for name, a1 in (("tolerated", rs.uniform(line, 1)), ("beyond", min(line, 0.999) * rs.uniform(0.01, 0.97))):
        if name == "tolerated" and line >= 1:
            continue  # every alternative lies inside the null
        canary = np.array([likelihood_ratios((x, nc, 0, nb), [a1], b1, rho, delta)[0] for x in range(nc + 1)])
        stable = (
            np.array([likelihood_ratios((0, nc, x, nb), [a1], b1, rho, delta)[0] for x in range(nb + 1)]) - canary[0]
        )
        worst = 0.0
        for b in np.geomspace(1e-6, 0.99, 13).tolist():
            edge = rho * b + delta
            points = (min(edge, 1.0), min(edge, 1.0) * 0.7) if name == "tolerated" else (edge, (edge + 1) / 2)
            for a in points:
                if a <= 1:
                    worst = max(worst, mean_of(canary, nc, a) * mean_of(stable, nb, b))
        found[name] = round(worst - 1, 9)
    return found


def mean_of(logs: Array, n: int, p: float) -> float:
    """E exp(logs[X]) for X ~ Binomial(n, p)."""
    chances = np.array([math.comb(n, x) * p**x * (1 - p) ** (n - x) for x in range(n + 1)])
    return float((chances * np.exp(logs)).sum())


# --- latency ---------------------------------------------------------------------------------------------------------


def watched(world: Latency, rs: RandomState, slack: float = 0.0) -> tuple[Edges, list[int], list[int]]:
    """From half an hour before: the edges (by the last 300 s), their shares and dispersion; their places per arm."""
    span, before = world.span, world.healthy()
    nc, nb = traffic(rs, world.rps, span)
    oc, ob = before.exceedances(rs, nc, nb)
    last = -round(300 / span.dt)
    total = int((nc + nb)[last:].sum())
    shares = ((oc + ob)[last:].sum(axis=0) / max(total, 1)).tolist()
    edges = choose(list(zip(world.edges, shares, strict=True)), 0.1, slack)
    places = [world.edges.index(edge.ms) for edge in edges]
    phis = [phi0(ticks_of(oc[:, k], nc, ob[:, k], nb), span.dt) for k in places]
    return Edges(edges, span.dt, span.ticks, total, phis), [world.edges.index(e.canary_ms) for e in edges], places


def fold_edges(edges: Edges, oc: Array, nc: Array, ob: Array, nb: Array) -> Evidence:
    """E, the mean over edges; `oc`, `ob`: only the watched ones."""
    for over, n, slow, m in ticks_of(oc, nc, ob, nb):
        edges.fold(over, n, slow, m)
        yield edges.evidence


def latency(world: Latency, threshold: float | None = ONE_OF_16, slack: float = 0.0) -> Run:
    """Latency, beside peers. `slack`: ms that are tolerated whatever the margin."""

    def run(rs: RandomState) -> Outcome:
        span = world.span
        edges, mine, stables = watched(world, rs, slack)
        nc, nb = traffic(rs, world.rps, span)
        oc, ob = world.exceedances(rs, nc, nb)
        evidence, onset = fold_edges(edges, oc[:, mine], nc, ob[:, stables], nb), span.onset / span.dt
        rivals = peers.on_latency((oc, ob), (nc, nb), span.dt, world.edges)
        return outcome(evidence, threshold, onset, oc[:, 0], nc) | peers.since(rivals, onset)

    return run


# --- volume and share ------------------------------------------------------------------------------------------------


def fold_volume(metric: Volume, drawn: Sequence[Array]) -> Evidence:
    """E of business events, or of the traffic share."""
    for tick in ticks_of(*drawn):
        metric.fold(*tick)
        yield metric.evidence


def volumes(rps: float, factor: float, threshold: float | None = ONE_OF_16, *, bursty: bool = False) -> Run:
    """Business events that fall to `factor` of what they should be, beside peers."""

    def run(rs: RandomState) -> Outcome:
        span = Span()
        nc, nb = traffic(rs, rps, span)
        yc, yb = volume(rs, nc, nb, span, bursty=bursty)
        before = phi0(ticks_of(yc, np.maximum(nc, yc), yb, np.maximum(nb, yb)), span.dt)
        nc, nb = traffic(rs, rps, span)
        yc, yb = volume(rs, nc, nb, span, factor, bursty=bursty)
        evidence = fold_volume(Volume(0.9, span.dt, span.ticks, before), (yc, nc, yb, nb))
        return outcome(evidence, threshold, 0, yc, nc) | peers.on_volume(yc, nc, yb, nb, span.dt)

    return run


def exposures(span: Span) -> tuple[Array, Array]:
    """The configured weight."""
    return np.full(span.ticks, WEIGHT * 1e6), np.full(span.ticks, (1 - WEIGHT) * 1e6)


def shares(rps: float, factor: float, threshold: float | None = ONE_OF_16) -> Run:
    """The canary gets `factor` of the traffic it should, stable the rest."""

    def run(rs: RandomState) -> Outcome:
        span = Span()
        nc, nb = traffic(rs, rps, span)
        left = nc - rs.binomial(nc, factor)
        nc, nb = nc - left, nb + left
        ec, eb = exposures(span)
        evidence = fold_volume(Volume(0.8, span.dt, span.ticks), (nc, ec, nb, eb))
        return outcome(evidence, threshold, 0, nc, nc)

    return run


# --- gauges ----------------------------------------------------------------------------------------------------------


def blocks(logs: Array) -> list[float]:
    """Means over 60 s."""
    return [float(v) for v in logs.reshape(-1, round(BLOCK / SCRAPE)).mean(axis=1)]


def gauge(world: Gauge, margin: float, floor: float, rs: RandomState) -> Evidence:
    """E after each block. One pod behind stable: its own earlier blocks are the history."""
    canary, stable = world.healthy().draw(rs)
    alone = world.pods == 1
    width = spread(blocks(stable if alone else canary - stable), floor, pairs=not alone)
    assert width is not None
    test = Level(margin, width, round(world.seconds / BLOCK))
    canary, stable = world.draw(rs)
    for d in blocks(canary - stable):
        test.fold(d)
        yield test.evidence


def leak(world: Gauge, rs: RandomState) -> Evidence:
    """E after each scrape."""
    canary, stable = world.healthy().draw(rs)
    before = [float(v) for v in (stable if world.pods == 1 else canary - stable)]
    sd = stdev(before) * (math.sqrt(2) if world.pods == 1 else 1)
    test = Leak(sd, correlation(*zip(*pairwise(before), strict=True)))
    canary, stable = world.draw(rs)
    for i, y in enumerate((canary - stable).tolist()):
        test.fold(y, i * SCRAPE / 60)
        yield test.evidence


def level(world: Gauge, threshold: float | None = ONE_OF_16, *, slope: bool = False) -> Run:
    """CPU (margin 20 %, floor 3 %), times in blocks; or the slope of memory, times in scrapes."""

    def run(rs: RandomState) -> Outcome:
        evidence = leak(world, rs) if slope else gauge(world, 0.2, 0.03, rs)
        return outcome(evidence, threshold, 0, np.zeros(0), np.zeros(0))

    return run


# --- the release -----------------------------------------------------------------------------------------------------

SERVICES = 4
PARTS = {
    "errors": 0.30,
    "latency": 0.20,
    "slo_errors": 0.15,
    "slo_latency": 0.10,
    "volume": 0.10,
    "share": 0.05,
    "cpu": 0.05,
    "memory": 0.05,
}


@dataclass(frozen=True)
class Service:
    """One of the release."""

    errors: Errors
    latency: Latency

    def draw(self, rs: RandomState) -> tuple[dict[str, Evidence], dict[str, Array]]:
        """E of the eight metrics, tick by tick, and what peers look at."""
        span, dt = self.errors.span, self.errors.span.dt
        history = known(self.errors, rs)
        edges, _, places = watched(self.latency, rs)
        xc, nc, xb, nb = self.errors.draw(rs)
        oc, ob = self.latency.exceedances(rs, nc, nb)
        yc, yb = volume(rs, nc, nb, span)
        ec, eb = exposures(span)
        slow = self.latency.edges.index(500.0)
        guard = Compare(Lines(0.0, 0.01), dt, span.ticks, history)
        slo = Compare(Lines(0.0, 0.01), dt, span.ticks, History(0.0, 0.0, (1.0, 1.0, 1.0)))
        evidence: dict[str, Evidence] = {
            "errors": fold(Compare(TOLERATED, dt, span.ticks, history), (xc, nc, xb, nb)),
            "latency": fold_edges(edges, oc[:, places], nc, ob[:, places], nb),
            "slo_errors": fold(guard, (xc, nc, xb, nb)),
            "slo_latency": fold(slo, (oc[:, slow], nc, ob[:, slow], nb)),
            "volume": fold_volume(Volume(0.9, dt, span.ticks, (1.2, 1.2, 1.2)), (yc, nc, yb, nb)),
            "share": fold_volume(Volume(0.8, dt, span.ticks, (1.5, 1.5, 1.5)), (nc, ec, nb, eb)),
            "cpu": held(gauge(Gauge(0.1, 60), 0.2, 0.03, rs), span),
            "memory": held(gauge(Gauge(0.03, 60), 0.1, 0.01, rs), span),
        }
        return evidence, {"xc": xc, "nc": nc, "xb": xb, "nb": nb, "oc": oc, "ob": ob, "yc": yc, "yb": yb}


def held(blocks_: Evidence, span: Span) -> Evidence:
    """A block counts when it is over."""
    every, value = round(BLOCK / span.dt), 1.0
    source = iter(blocks_)
    for i in range(span.ticks):
        if i % every == every - 1:
            value = next(source)
        yield value


def release(failing: Errors, slow: Latency, threshold: float | None = None) -> Run:
    """Four services, the first has the fault. R at its highest, or when it reached the threshold."""

    def run(rs: RandomState) -> Outcome:
        span, good = failing.span, Service(failing.healthy(), slow.healthy())
        drawn = [one.draw(rs) for one in (Service(failing, slow), *[good] * (SERVICES - 1))]
        R = (
            sum(w * e for w, e in zip([w / SERVICES for w in PARTS.values()] * SERVICES, evidence, strict=True))
            for evidence in zip(*(one for evidence, _ in drawn for one in evidence.values()), strict=True)
        )
        rivals = peers.on_release([counts for _, counts in drawn], span.dt)
        counts, onset = drawn[0][1], span.onset / span.dt
        return outcome(R, threshold, onset, counts["xc"], counts["nc"]) | peers.since(rivals, onset)

    return run


# --- interval --------------------------------------------------------------------------------------------------------


def interval(b: float, a: float, rps: float) -> Run:
    """Whether it held the truth at every look (each 60 s), and its final width over an ordinary interval's."""

    def run(rs: RandomState) -> Outcome:
        world = Errors(rps, b, a)
        drawn = world.draw(rs)
        one, held_all = Interval(b, world.span.dt), True
        every = round(60 / world.span.dt)
        low = high = 0.0
        for i, tick in enumerate(ticks_of(*drawn)):
            one.fold(*tick)
            if i % every == every - 1:
                low, high = one.bounds
                held_all = held_all and low <= a - b <= high
        (x, n), (y, m) = [(int(drawn[k].sum()), int(drawn[k + 1].sum())) for k in (0, 2)]
        p, q = x / n, y / m
        ordinary = 2 * 1.96 * math.sqrt(p * (1 - p) / n + q * (1 - q) / m)
        return {"covered": int(held_all), "width": round((high - low) / ordinary, 3) if ordinary else None}

    return run


# --- vectors of section 12 -------------------------------------------------------------------------------------------


def replay(evidence: Evidence) -> Outcome:
    """As a release of one metric, alpha 1 %: the point of a rollback (from 1), and the E it is told for."""
    seen = list(evidence)
    after = passing(seen, 100.0)
    return {
        "ticks": None if after is None else after + 1,
        "E": round(seen[after] if after is not None else max(seen), 3),
    }


def of_level(canary: Sequence[float], control: Sequence[float], *, both: bool = False) -> Run:
    """As a gauge; its spread from the control's ln values."""

    def run(rs: RandomState) -> Outcome:
        width = spread([math.log(v) for v in control], 0.03)
        assert width is not None
        level = Level(0.2, width, len(canary), low=both)

        def evidence() -> Evidence:
            for c, b in zip(canary, control, strict=True):
                level.fold(math.log(c / b))
                yield level.evidence

        return replay(evidence())

    return run


def of_counts(canary: Sequence[float], control: Sequence[float]) -> Run:
    """As events that must not rise: the arms are swapped."""

    def run(rs: RandomState) -> Outcome:
        one = np.ones(len(canary))
        drawn = (np.array(control), one, np.array(canary), one)
        return replay(fold_volume(Volume(0.9, 5.0, len(canary)), drawn))

    return run


def of_errors(ticks: Sequence[tuple[int, int, int, int]]) -> Run:
    """As bad events out of requests, with E'."""

    def run(rs: RandomState) -> Outcome:
        compare = Compare(DEFAULT, 5.0, len(ticks))
        found = replay(fold(compare, [np.array(column) for column in zip(*ticks, strict=True)]))
        return found | {"promote": round(compare.promote_evidence, 3)}

    return run


def of_kayenta(canary: Sequence[float], control: Sequence[float]) -> Run:
    """What Kayenta's port says: index into `peers.WORDS`."""

    def run(rs: RandomState) -> Outcome:
        return {"word": peers.WORDS.index(peers.kayenta(canary, control))}

    return run
