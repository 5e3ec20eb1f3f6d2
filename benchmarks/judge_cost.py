"""CPU and memory of the judge per metric and tick, and of one look at many services (row X1)."""

from __future__ import annotations

import math
import random
import sys
import time
import tracemalloc
from datetime import timedelta

from benchmarks.table import Row, show
from onlyvips_release.core.judge import Compare, Lines, ReleaseJudge
from onlyvips_release.core.model import Arm, Series
from onlyvips_release.core.plan import JudgePlan, SloLimits
from tests.testing.chance import binomial
from tests.testing.crash_world import carry_out
from tests.testing.plans import make_plan
from tests.testing.simulation import World

LINES = Lines(1.2, 0.001, 1.5, 0.005)


def main() -> int:
    """Best of three."""
    cost = measured()
    begun = time.process_time()
    carry_out(World(make_plan(), rps=100))
    release = time.process_time() - begun
    rows = [
        Row("one comparison with E', per tick", f"{cost['us']:.0f} us CPU", "<= 300 us", cost["us"] <= 300),
        Row("memory of one comparison", f"{cost['kb']:.1f} KB", "<= 16 KB", cost["kb"] <= 16),
        Row("200 services x 8 metrics, one tick and look", f"{cost['look']:.2f} s CPU", "<= 1 s", cost["look"] <= 1),
        Row("its growth with the services", f"n^{cost['slope']:.2f}", "<= n^1.15", cost["slope"] <= 1.15),
        Row("a 5-minute release of 4 services in simulation", f"{1000 * release:.0f} ms CPU", "-", True),
    ]
    return show("Judge (`python -m benchmarks.judge_cost`)", rows)


def measured() -> dict[str, float]:
    """us and KB of one comparison, seconds of a look at 200 services, exponent of its growth from 25 services on."""
    small, large = (min(look(n) for _ in range(3)) for n in (25, 200))
    slope = math.log(large / small) / math.log(8)
    found = {"us": min(per_tick() for _ in range(3)), "kb": kilobytes(), "look": large, "slope": slope}
    return {name: round(value, 3) for name, value in found.items()}


def per_tick() -> float:
    """Microseconds of CPU."""
    source, compare = random.Random(1), Compare(LINES, 2, 900)
    ticks = [(binomial(source, 20, 0.01), 20, binomial(source, 180, 0.01), 180) for _ in range(2000)]
    begun = time.process_time()
    for tick in ticks:
        compare.fold(*tick)
    return (time.process_time() - begun) / len(ticks) * 1e6


def kilobytes() -> float:
    """Of one comparison with four minutes of data."""
    tracemalloc.start()
    kept = [Compare(LINES, 2, 900) for _ in range(20)]
    for compare in kept:
        for _ in range(200):
            compare.fold(1, 20, 2, 180)
    size = tracemalloc.get_traced_memory()[0] / len(kept) / 1024
    tracemalloc.stop()
    return size


def look(services: int) -> float:
    """Seconds of CPU for one tick of the eight metrics of every service, and a look at them."""
    names = [f"s{i}" for i in range(services)]
    plan = JudgePlan(slo=SloLimits(slower_than=timedelta(milliseconds=500)), warm_up=timedelta(0))
    judge = ReleaseJudge(plan, names, bake=timedelta(minutes=30), business=names)
    assert len(judge.metrics) == 8 * services

    def counters(tick: int) -> dict[str, dict[Arm, tuple[Series, ...]]]:
        arms: dict[Arm, tuple[Series, ...]] = {}
        for arm, each in ((Arm.CANARY, 10), (Arm.STABLE, 90)):
            n = each * tick
            slow = tuple((k, n) for k in range(70, 90))
            arms[arm] = (Series(arm, "0", 20 * n, tick, slow, n, 0.1 * n, 10**8),)
        return dict.fromkeys(names, arms)

    judge.begin_step(10, counters(0))
    for tick in range(1, 10):
        judge.fold(tick, counters(tick))
    begun = time.process_time()
    judge.fold(10, counters(10))
    judge.look()
    return time.process_time() - begun


if __name__ == "__main__":
    sys.exit(main())
