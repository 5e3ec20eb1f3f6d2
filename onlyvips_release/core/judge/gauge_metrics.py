"""The metrics over gauges: CPU per request, and memory."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

from onlyvips_release.core.judge import gauge
from onlyvips_release.core.judge.gauge import Block, Gauge, Leak, levels
from onlyvips_release.core.judge.ingest import Reading, Seen, Side
from onlyvips_release.core.judge.metric import NOT_TOLD, Kind, Setting
from onlyvips_release.core.judge.sentences import percent, times
from onlyvips_release.core.judge.service_history import ServiceHistory
from onlyvips_release.core.limits import GaugeLimits

OWN_BLOCKS = 5
"""Blocks of stable alone that tell how much a gauge wanders, where no earlier release tells it."""

STRIKES = 3
"""Ticks in a row beyond an absolute limit of a gauge."""


class Level(Kind):
    """A gauge by blocks: canary against stable. How much it wanders comes from history, or from stable's own blocks.

    An absolute limit of the plan needs no history at all.
    """

    floor: ClassVar[float]

    def __init__(self, setting: Setting, limits: GaugeLimits) -> None:
        self.limits = limits
        self.block = max(4, round(setting.plan.block.total_seconds() / setting.dt))
        self.wait = round(setting.plan.warm_up.total_seconds() / setting.dt)
        self.left = setting.planned - self.wait
        self.gauge: Gauge | None = None
        self.own: list[float] = []
        self.part = (Block(), Block())
        self.ticks = self.strikes = 0
        self.ratio = 0.0
        self.blocks = 0
        self.source = ""
        self.state = NOT_TOLD
        pairs, own = self.past(setting.known) if setting.known else ((), ())
        for blocks, both, told in ((pairs, True, "earlier releases"), (own, False, "stable's own earlier blocks")):
            found = gauge.spread(blocks, self.floor, pairs=both)
            if found and not self.gauge:
                self._begin(found, told)

    @abstractmethod
    def past(self, known: ServiceHistory) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(ln ratios of equal arms, ln levels of stable alone), a block each."""

    @abstractmethod
    def reading(self, side: Side) -> Reading | None:
        """What a tick adds to the block; None = not seen."""

    @abstractmethod
    def absolute(self, side: Side) -> float | None:
        """The canary's value, in the unit of the plan's absolute limit."""

    @abstractmethod
    def shown(self, value: float) -> str:
        """Such a value in words."""

    def _begin(self, spread: float, source: str) -> None:
        self.source = source
        self.gauge = Gauge(self.limits.more, spread, max(self.left // self.block, 1))

    def fold(self, seen: Seen) -> None:
        self._strike(seen.canary)
        self.wait -= 1
        if self.wait >= 0:
            return
        self.left -= 1
        self.ticks += 1
        for block, side in zip(self.part, (seen.canary, seen.stable), strict=True):
            block.add(self.reading(side))
        if self.ticks >= self.block:
            self._close()

    def _strike(self, canary: Side) -> None:
        value, most = self.absolute(canary), self.limits.most
        if most is None or value is None:
            return
        self.strikes = self.strikes + 1 if value > most else 0
        if self.strikes >= STRIKES:
            self.tripped = (
                f"the canary's {self.metric} is {self.shown(value)} for {STRIKES} ticks in a row; your absolute limit "
                f"is {self.shown(most)}"
            )

    def _close(self) -> None:
        canary, stable = levels(*self.part)
        self.part, self.ticks = (Block(), Block()), 0
        if stable is None:
            return
        if self.gauge is None:
            self.own.append(math.log(stable))
            self.state = f"learning: {len(self.own)} of {OWN_BLOCKS} blocks of stable"
            found = gauge.spread(self.own, self.floor, pairs=False)
            if found and len(self.own) >= OWN_BLOCKS:
                self._begin(found, "stable's own blocks of this release")
            return
        self.state = ""
        if canary:
            self.ratio, self.blocks = canary / stable, self.blocks + 1
        self.gauge.fold(math.log(canary / stable) if canary else None)

    def idle(self, ticks: int) -> None:
        nothing = Seen(Side(), Side())
        for _ in range(ticks):
            self.fold(nothing)

    @property
    def evidence(self) -> float:
        return self.gauge.evidence if self.gauge else 1.0

    def story(self) -> str:
        return f"{self.metric} of the canary is {times(self.ratio)} stable's (last of {self.blocks} blocks)"

    def limit(self) -> str:
        return f"you tolerate {percent(self.limits.more)} more; how much it wanders is from {self.source}"


class Cpu(Level):
    """CPU seconds per request."""

    metric = "cpu"
    floor = 0.03

    def __init__(self, setting: Setting, limits: GaugeLimits) -> None:
        super().__init__(setting, limits)
        self.dt = setting.dt

    def past(self, known: ServiceHistory) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return known.cpu, known.cpu_own

    def reading(self, side: Side) -> Reading | None:
        return side.cpu_reading(self.dt)

    def absolute(self, side: Side) -> float | None:
        return None if side.cpu is None else side.cpu / self.dt

    def shown(self, value: float) -> str:
        return f"{value:.2g} of a core"


class Memory(Level):
    """Resident bytes per instance: level, and with history of promoted releases also slope; E is the mean of both."""

    metric = "memory"
    floor = 0.01

    def __init__(self, setting: Setting, limits: GaugeLimits) -> None:
        super().__init__(setting, limits)
        self.dt, self.scrape, self.age = setting.dt, max(1, self.block // 4), 0
        noise = setting.known.memory_noise if setting.known else None
        self.leak = Leak(*noise) if noise else None
        self.fine = (Block(), Block())

    def fold(self, seen: Seen) -> None:
        super().fold(seen)
        if self.wait >= 0 or not self.leak:
            return
        self.age += 1
        for block, side in zip(self.fine, (seen.canary, seen.stable), strict=True):
            block.add(self.reading(side))
        if self.age % self.scrape == 0:
            canary, stable = levels(*self.fine)
            self.fine = (Block(), Block())
            self.leak.fold(math.log(canary / stable) if canary and stable else None, self.age * self.dt / 60)

    @property
    def evidence(self) -> float:
        level = super().evidence
        return (level + self.leak.evidence) / 2 if self.leak else level

    def past(self, known: ServiceHistory) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return known.memory, known.memory_own

    def reading(self, side: Side) -> Reading | None:
        return side.memory_reading()

    def absolute(self, side: Side) -> float | None:
        return side.memory

    def shown(self, value: float) -> str:
        return f"{value / 1e6:.0f} MB"
