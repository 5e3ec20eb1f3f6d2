"""Measure `up` and `down` against their limits, and look for what is left behind."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tests.cluster import machine
from tests.cluster.cluster import Cluster
from tests.cluster.place import Place, reserved

UP_LIMIT, NODE_LIMIT, DOWN_LIMIT = 40.0, 15.0, 10.0
MEMORY_LIMIT = 1024


@dataclass(frozen=True)
class Cycle:
    """One `up` and `down`: seconds, MiB, and what was left."""

    up: float
    node: float
    gateways: float
    down: float
    memory: int
    left: tuple[str, ...]

    @property
    def faults(self) -> list[str]:
        """Return which limits this cycle broke."""
        found = [f"left behind: {what}" for what in self.left]
        limits = {
            "up": (self.up, UP_LIMIT, "s"),
            "node Ready after up": (self.node, NODE_LIMIT, "s"),
            "down": (self.down, DOWN_LIMIT, "s"),
            "memory": (self.memory, MEMORY_LIMIT, "MiB"),
        }
        return found + [
            f"{what}: {value:.1f} {unit}, at most {limit:g} {unit}"
            for what, (value, limit, unit) in limits.items()
            if value > limit
        ]


def run(slot: int) -> Cycle:
    """Start and remove a cluster of this slot, which must not exist."""
    place = Place(slot)
    cluster = Cluster(place)
    rules = machine.iptables_rules()
    try:
        moments = cluster.up().moments
        memory = cluster.memory()
    finally:
        begun = time.monotonic()
        cluster.down()
        down = time.monotonic() - begun
    left = machine.left_over(place)
    left += [f"iptables rule {rule}" for rule in machine.iptables_rules() if rule not in rules]
    up, node = moments["started"], moments["node"] - moments["started"]
    return Cycle(up, node, moments["gateways"] - moments["node"], down, memory, tuple(left))


def report(count: int) -> int:
    """Print a table of cycles; return 1 when a limit was broken. A cluster that runs already is left alone."""
    print(f"limits: up {UP_LIMIT:g} s, node {NODE_LIMIT:g} s later, down {DOWN_LIMIT:g} s, {MEMORY_LIMIT} MiB (PSS)")
    print("cycle     up   node  gateways   down  memory  left behind")
    faults: list[str] = []
    with reserved() as slot:
        for number in range(1, count + 1):
            cycle = run(slot + 1)
            times = f"{cycle.up:6.1f} {cycle.node:6.1f} {cycle.gateways:9.1f} {cycle.down:6.1f}"
            print(f"{number:>5} {times} {cycle.memory:7d}  {', '.join(cycle.left) or 'nothing'}", flush=True)
            faults += cycle.faults
    print("\n".join(faults) or "all limits kept")
    return 1 if faults else 0
