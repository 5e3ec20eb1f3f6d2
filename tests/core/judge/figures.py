"""Figures of every formula of the judge on drawn inputs: `python -m tests.core.judge.figures` writes figures.json.

They hold what an independent implementation once confirmed (`benchmarks/judge/peers.py`): whoever changes a formula on
purpose writes them anew, and says in the commit which of them changed and why.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

from onlyvips_release.core.judge import dispersion, forecast, gauge, history, latency, numbers
from onlyvips_release.core.judge.compare import Compare, Lines, likelihood_ratios, project
from onlyvips_release.core.judge.dispersion import Dispersion, History
from onlyvips_release.core.judge.ingest import Seen, Side
from onlyvips_release.core.judge.interval import Interval
from onlyvips_release.core.judge.mixture import Mixture
from onlyvips_release.core.judge.volume import Volume

FILE = Path(__file__).parent / "figures.json"
Counts = tuple[float, float, float, float]
LINES = {
    "default": Lines(1.5, 0.001, 2.0, 0.005),
    "loose": Lines(3.0, 0.02, 4.0, 0.1),
    "guard": Lines(0.0, 0.05),
    "proves nothing": Lines(1.1, 0.0),
}
PHI0 = (1.2, 2.5, 4.0)


def drawn(seed: str, ticks: int, rates: tuple[float, float], sizes: tuple[int, int] = (20, 180)) -> list[Counts]:
    """(xc, nc, xb, nb) of each tick; failures of stable come in clumps, some ticks lack one arm."""
    draw, found = random.Random(seed), list[Counts]()
    for tick in range(ticks):
        nc, nb = (0 if draw.random() < 0.05 else draw.randint(size // 2, size) for size in sizes)
        clump = 4 if tick % 9 == 0 else 0.6
        xc = sum(draw.random() < rates[0] for _ in range(nc))
        xb = sum(draw.random() < min(rates[1] * clump, 1) for _ in range(nb))
        found.append((xc, nc, xb, nb))
    return found


def compares() -> Iterator[tuple[str, list[float]]]:
    """Evidence both ways, phi and guess along the way; with silence and a new weight in between."""
    worlds = {"equal": (0.01, 0.01), "worse": (0.05, 0.01), "dead": (0.9, 0.002), "better": (0.0, 0.03)}
    for (name, lines), (world, rates), known in product(LINES.items(), worlds.items(), (False, True)):
        found = Compare(lines, 2.0, 150, History(0.01, 900.0, PHI0) if known else None)
        row = []
        for tick, counts in enumerate(drawn(f"{name} {world}", 90, rates)):
            found.fold(*counts)
            if tick == 40:
                found.idle(20)
            if tick == 60:
                found.fold(1, 10, 0, 0)
                found.new_weight()
            if tick % 15 == 14:
                row += [math.log(found.evidence), math.log(found.promote_evidence), found.dispersion.phi]
                row += [found.guess.b1, found.guess.ah, found.judged]
        yield f"compare, {name}, {world}, {'history' if known else 'no history'}", row


def formulas() -> Iterator[tuple[str, list[float]]]:
    """Functions of numbers alone."""
    shares = (0.0, 1e-9, 0.003, 0.02, 0.2, 0.7, 1.0)
    yield "logit", [numbers.logit(numbers.clip(p, 1e-6, 1 - 1e-6)) for p in shares]
    yield "kl", [numbers.kl(p, q) for p, q in product(shares, shares)]
    a1s = (0.01, 0.05, 0.3, 0.95)
    grid = list(product((0.001, 0.02, 0.4), (1.0, 9.0), (0.0, 1.5, 3.0), (0.0, 0.01)))
    yield "project", [v for b1, r, rho, delta in grid for v in project(a1s, b1, 1.0, r, rho, delta)]
    rows = [((2, 40, 3, 300), *g) for g in grid] + [((30, 40, 0, 300), *g) for g in grid]
    yield "likelihood ratios", [v for c, b1, _, rho, delta in rows for v in likelihood_ratios(c, a1s, b1, rho, delta)]
    yield (
        "residual",
        [
            dispersion.residual(block, (10, 1000, 90, 9000), cap)
            for block in ((1, 10, 1, 90), (5, 10, 0, 90), (1, 10, 9, 90), (9, 10, 90, 90))
            for cap in (9.0, 100.0)
        ],
    )
    levels = [(10.0, 0.6), (20.0, 0.3), (50.0, 0.08), (100.0, 0.02), (300.0, 0.004), (900.0, 0.0)]
    edges = [
        one for margin, slack in ((0.1, 0.0), (0.25, 5.0), (0.25, 0.0)) for one in latency.choose(levels, margin, slack)
    ]
    yield "edges", [v for one in edges for v in (one.ms, one.share, one.rho, one.canary_ms)]
    yield "share at", [latency.share_at(levels, ms) for ms in (1, 10, 14, 20, 33, 100, 250, 900, 5000)]
    yield (
        "spread",
        [gauge.spread((0.1, 0.3, 0.2, 0.15), floor, pairs=p) or 0 for floor, p in product((0.01, 0.2), (True, False))],
    )


def forecasts() -> Iterator[tuple[str, list[float]]]:
    """Requests and time that a decision needs."""
    for name, lines in LINES.items():
        row = []
        for rate, phi in product((0.0, 0.003, 0.05), (1.0, 4.0)):
            row += [
                forecast.to_find(bad, rate, 9.0, lines, phi, 1000.0, late=n)
                for bad in (0.02, 0.2, 1.0)
                for n in (0, 900)
            ]
            row.append(forecast.smallest(rate, 9.0, lines, phi, 1000.0, 2000.0))
            if lines.delta_p is not None:
                row.append(forecast.to_promote(rate, 9.0, lines, phi, 0.05))
        yield f"forecast, {name}", [v if math.isfinite(v) else -1 for v in row]
    yield (
        "forecast in seconds",
        [
            forecast.seconds(n, rps, 2.0, phi, threshold, late=late)
            for n, rps, phi, threshold, late in product((1, 500), (0.5, 10.0), (1.0, 9.0), (100.0, 1e5), (False, True))
        ],
    )


def folds() -> Iterator[tuple[str, list[float]]]:
    """What is built up over ticks, besides comparisons."""
    for world, rates in {"equal": (0.01, 0.01), "worse": (0.06, 0.01)}.items():
        counts = drawn(world, 200, rates)
        for known in (None, PHI0):
            phi, row = Dispersion(2.0, known), list[float]()
            for tick, one in enumerate(counts):
                phi.fold(one)
                if tick == 150:
                    phi.idle(25)
                row += [phi.phi, *(scale.phi for scale in phi.scales)] if tick % 25 == 24 else []
            yield f"dispersion, {world}, {known}", row
        yield f"phi0, {world}", list(dispersion.phi0(counts, 2.0))
        yield f"start, {world}", list(dispersion.start([(xb, nb) for _, _, xb, nb in counts], 2.0))
        interval, row = Interval(0.01, 2.0), list[float]()
        for tick, one in enumerate(counts[:60]):
            interval.fold(*one, phi=1.0 + tick % 3)
            row += interval.bounds if tick % 20 == 19 else ()
        yield f"interval, {world}", row
        volume, row = Volume(0.9, 2.0, 150), list[float]()
        for tick, (xc, nc, xb, nb) in enumerate(counts[:90]):
            volume.fold(nc / 2 - xc, nc, nb / 2 - xb if tick % 7 else math.nan, nb)
            row += [math.log(volume.evidence)] if tick % 15 == 14 else []
        yield f"volume, {world}", row
    yield from mixtures()
    yield from gauges()


def mixtures() -> Iterator[tuple[str, list[float]]]:
    """Starts spread over the planned ticks, and beyond them."""
    found, row = Mixture((0.5, 0.3, 0.2), 12), list[float]()
    for tick in range(20):
        found.idle(1 + tick % 2) if tick % 3 == 2 else found.pay((0.5, -0.2, 0.1 * tick - 1))
        row += [found.evidence, found.W, found.t]
    yield "mixture", row


def gauges() -> Iterator[tuple[str, list[float]]]:
    """Levels, and growth."""
    draw = random.Random("gauges")
    for low, shift in product((False, True), (0.0, 0.15, 0.6, -0.7)):
        level, row = gauge.Gauge(0.2, 0.1, 40, low=low), list[float]()
        for block in range(40):
            level.fold(None if block % 11 == 10 else shift + draw.gauss(0, 0.05))
            row += [math.log(level.evidence)] if block % 10 == 9 else []
        yield f"gauge, low {low}, {shift}", row
    for again, growth in product((0.0, 0.6), (0.0, 0.002, 0.02)):
        leak, row = gauge.Leak(0.01, again), list[float]()
        for scrape in range(60):
            leak.fold(None if scrape == 31 else growth * scrape / 4 + draw.gauss(0, 0.01), scrape / 4)
            row += [math.log(leak.evidence)] if scrape % 12 == 11 else []
        yield f"leak, {again}, {growth}", row


def lessons() -> Iterator[tuple[str, list[float]]]:
    """What a bake leaves to the next release."""
    draw, records = random.Random("lessons"), list[history.Record]()
    for xc, nc, xb, nb in drawn("lessons", 240, (0.01, 0.01)):
        sides = []
        for bad, total, level in ((xc, nc, 1.02), (xb, nb, 1.0)):
            slow = {bucket: draw.randint(0, 9) for bucket in (40, 60, 80)}
            cpu, memory = 0.01 * total + draw.random() / 50, 1e8 * level * draw.uniform(0.98, 1.02)
            sides.append(Side(int(bad), int(total), slow, int(total) // 3, int(total), cpu, memory))
        records.append(history.Record(10, Seen(*sides)))
    for equal in (True, False):
        found = history.learn("r1", "", "v1", 2.0, records, 15, equal=equal)
        assert found is not None
        several = (found.phi0, found.volume_phi0, found.share_phi0, *(found.latency_phi0 or ()), found.memory_noise)
        row: list[float] = [found.seconds, found.rps, found.rate, found.requests]
        row += [v for one in several if one for v in one]
        row += [*found.cpu, *found.cpu_own, *found.memory, *found.memory_own]
        yield f"lesson, equal {equal}", row


SOURCES: Sequence[Callable[[], Iterator[tuple[str, list[float]]]]] = (compares, formulas, forecasts, folds, lessons)


def figures() -> dict[str, list[float]]:
    """All of them, by what they are figures of."""
    return {name: row for source in SOURCES for name, row in source()}


if __name__ == "__main__":
    lines = [f"{json.dumps(name)}: {json.dumps([float(f'{v:.12g}') for v in row])}" for name, row in figures().items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
