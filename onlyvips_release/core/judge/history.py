"""What one release teaches the next: starting guesses, and how much equal arms differ.

The bakes of a promoted release are the best teacher: canary and stable were equal there, at the same ticks. Of any
other release only what stable alone did is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import correlation, stdev

from onlyvips_release.core.judge import dispersion
from onlyvips_release.core.judge.buckets import bucket
from onlyvips_release.core.judge.dispersion import Three
from onlyvips_release.core.judge.gauge import Block, levels
from onlyvips_release.core.judge.ingest import Reading, Seen
from onlyvips_release.core.judge.latency import choose, slower_than
from onlyvips_release.core.judge.service_history import Ratios, ServiceHistory

LEAST_TICKS = 30
"""A shorter record teaches nothing."""


@dataclass(frozen=True, slots=True)
class Record:
    """One tick of a bake: the weight it was held at, and what was seen of the service."""

    weight: int
    seen: Seen


def learn(
    name: str, at: str, revision: str, dt: float, records: Sequence[Record], block: int, *, equal: bool
) -> ServiceHistory | None:
    """The lesson of one service. `equal`: the release was promoted; `block`: ticks of a gauge's block.

    None where it was too short, or stable had no traffic.
    """
    counts = [record.seen.errors for record in records]
    if len(records) < LEAST_TICKS or not any(nb for _, _, _, nb in counts):
        return None
    rate, requests = dispersion.start([(xb, nb) for _, _, xb, nb in counts], dt)
    latency: dict[int, int] = {}
    for record in records:
        for k, count in (record.seen.stable.latency or {}).items():
            latency[k] = latency.get(k, 0) + count
    sides = [(record.seen.canary, record.seen.stable) for record in records]
    cpu, cpu_own = _blocks([(c.cpu_reading(dt), b.cpu_reading(dt)) for c, b in sides], block)
    levels = [(c.memory_reading(), b.memory_reading()) for c, b in sides]
    memory, memory_own = _blocks(levels, block)
    scrapes, _ = _blocks(levels, max(1, block // 4))
    return ServiceHistory(
        release=name,
        at=at,
        revision=revision,
        tick=dt,
        seconds=len(records) * dt,
        rps=sum(nc + nb for _, nc, _, nb in counts) / (len(records) * dt),
        rate=rate,
        requests=requests,
        phi0=dispersion.phi0(counts, dt) if equal else None,
        latency=tuple(sorted(latency.items())),
        latency_phi0=_by_edge(latency, records, dt) if equal and latency else None,
        volume_phi0=dispersion.phi0([_volume(record.seen) for record in records], dt) if equal else None,
        share_phi0=dispersion.phi0([_share(record) for record in records], dt) if equal else None,
        cpu=cpu if equal else (),
        cpu_own=cpu_own,
        memory=memory if equal else (),
        memory_own=memory_own,
        memory_noise=_noise(scrapes) if equal else None,
    )


def _by_edge(latency: dict[int, int], records: Sequence[Record], dt: float) -> tuple[Three, ...]:
    """phi0 at each edge that this histogram leads to."""
    found = []
    for one in choose(slower_than(latency), 0.0):
        last = bucket(one.ms)
        ticks = [(*record.seen.canary.slower(last), *record.seen.stable.slower(last)) for record in records]
        found.append(dispersion.phi0(ticks, dt))
    return tuple(found)


def _volume(seen: Seen) -> tuple[float, float, float, float]:
    c, b = seen.canary, seen.stable
    return c.business or 0, c.business_of, b.business or 0, b.business_of


def _share(record: Record) -> tuple[float, float, float, float]:
    weight, nc, nb = record.weight, record.seen.canary.total, record.seen.stable.total
    return nc, weight * 1e4, nb, (100 - weight) * 1e4


def _blocks(ticks: Sequence[tuple[Reading | None, Reading | None]], block: int) -> tuple[Ratios, Ratios]:
    """(ln canary / stable, ln stable) of every whole block where both, or stable, were seen."""
    ratios, own = [], []
    for begin in range(0, len(ticks) - block + 1, block):
        arms = Block(), Block()
        for readings in ticks[begin : begin + block]:
            for arm, reading in zip(arms, readings, strict=True):
                arm.add(reading)
        canary, stable = levels(*arms)
        if stable:
            own.append(math.log(stable))
            if canary:
                ratios.append(math.log(canary / stable))
    return tuple(ratios[-60:]), tuple(own[-60:])


def _noise(scrapes: Ratios) -> tuple[float, float] | None:
    """Standard deviation and lag-1 autocorrelation, where there are enough."""
    if len(scrapes) < 10:
        return None
    sd = stdev(scrapes)
    before, after = scrapes[:-1], scrapes[1:]
    again = correlation(before, after) if stdev(before) > 0 and stdev(after) > 0 else 0.0
    return max(sd, 0.005), again
