"""The dispersion guard phi: how much more failures clump than independent requests would.

Residuals of the canary's share of bad events, given the total, at three scales (blocks of 5, 30 and 120 s). They count
2 to 4 minutes late, so that a new fault cannot mute its own alarm.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from onlyvips_release.core.judge.numbers import clip

SECONDS = (5.0, 30.0, 120.0)
"""Block lengths."""

DECAY = (0.8, 0.6, 0.4)
"""What is left of the earlier blocks' sums when the next block is full."""

PHI_MAX = 200.0
HALF_LIFE = 345.0
"""Seconds (with stable traffic) after which stable's past counts half in the guess of its rate."""

Counts = Sequence[float]
"""(xc, nc, xb, nb): bad events and requests of canary and stable."""

Three = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class History:
    """What earlier samples said: stable's rate, the requests behind it, and phi0 of the three scales if measured."""

    rate: float
    requests: float
    phi0: Three | None = None


@dataclass(slots=True)
class Scale:
    """One block length. `length` in ticks, `lag` in blocks; `earlier` are decayed sums of the blocks before.

    `queue`: residuals that wait, NaN where a block had none.
    """

    length: int
    lag: int
    decay: float
    phi0: float
    nu: float
    cap: float
    block: list[float] = field(default_factory=lambda: [0.0] * 4)
    ticks: int = 0
    earlier: list[float] = field(default_factory=lambda: [0.0] * 4)
    queue: array[float] = field(default_factory=lambda: array("d"))
    Z: float = 0.0
    K: int = 0

    def fold(self, counts: Counts) -> None:
        """One tick."""
        (a, n, b, m), (xc, nc, xb, nb) = self.block, counts
        self.block = [a + xc, n + nc, b + xb, m + nb]
        self.ticks += 1
        if self.ticks >= self.length:
            self.ticks = 0
            self._close()

    def idle(self, ticks: int) -> None:
        """`ticks` empty ticks at once."""
        blocks, self.ticks = divmod(self.ticks + ticks, self.length)
        told = min(blocks, self.lag + 1)  # by then the queue holds nothing but empty blocks
        for _ in range(told):
            self._close()
        self.earlier = [old * self.decay ** (blocks - told) for old in self.earlier]

    def drain(self) -> None:
        """Count the residuals that still wait."""
        while self.queue:
            self._count(self.queue.pop(0))

    def _close(self) -> None:
        self.queue.append(residual(self.block, self.earlier, self.cap))
        if len(self.queue) > self.lag:
            self._count(self.queue.pop(0))
        decay = self.decay
        self.earlier = [old * decay + new for old, new in zip(self.earlier, self.block, strict=True)]
        self.block = [0.0] * 4

    def _count(self, z2: float) -> None:
        if not math.isnan(z2):
            self.Z += z2
            self.K += 1

    @property
    def phi(self) -> float:
        """Prior and residuals together."""
        return (self.nu * self.phi0 + self.Z) / (self.nu + self.K)


def residual(block: Counts, earlier: Counts, cap: float) -> float:
    """Squared standardised residual of a block, NaN where there is too little to say anything."""
    a, n, b, m = block
    ea, en, eb, em = earlier
    events = a + b
    if events < 1 or ea + eb < 3 or n <= 0 or m <= 0 or en <= 0 or em <= 0:
        return math.nan
    r = ((ea + 0.5) / en) / ((eb + 0.5) / em)
    th = n * r / (n * r + m)
    u = th * (1 - th)
    v = events * u * (1 - min(events / (n + m), 0.999)) + 1e-12
    v += (events * u) ** 2 * ((1 - min(ea / en, 0.999)) / (ea + 0.5) + (1 - min(eb / em, 0.999)) / (eb + 0.5))
    return min((a - events * th) ** 2 / v, cap)


def scales(dt: float, phi0: Three, nu: Three, cap: Three) -> list[Scale]:
    """The three scales for ticks of `dt` seconds; residuals count 2, 4 and 4 minutes late."""
    lengths = [max(1, round(seconds / dt)) for seconds in SECONDS]
    lags = (max(1, round(120 / (dt * lengths[0]))), 8, 2)
    return [Scale(*row) for row in zip(lengths, lags, DECAY, phi0, nu, cap, strict=True)]


class Dispersion:
    """phi, known before each tick. `dt`: seconds of a tick; `phi0`: measured before, None = the cautious default."""

    __slots__ = ("phi", "scales")

    def __init__(self, dt: float, phi0: Three | None = None) -> None:
        if phi0:
            self.scales = scales(dt, phi0, (96.0, 24.0, 10.0), (100.0, 9 * phi0[1], 9 * phi0[2]))
        else:
            self.scales = scales(dt, (2.0, 2.0, 2.0), (24.0, 8.0, 4.0), (100.0, 100.0, 100.0))
        self.phi = max(scale.phi0 for scale in self.scales)

    def fold(self, counts: Counts) -> None:
        """One tick's own (unpooled) counts; phi is used from the next tick on."""
        for scale in self.scales:
            scale.fold(counts)
        self._update()

    def idle(self, ticks: int) -> None:
        """`ticks` empty ticks at once."""
        for scale in self.scales:
            scale.idle(ticks)
        self._update()

    def _update(self) -> None:
        self.phi = clip(max([scale.phi for scale in self.scales]), 1.0, PHI_MAX)


def phi0(ticks: Iterable[Counts], dt: float) -> Three:
    """phi0 of the three scales from counts of two arms that were equal, in ticks of `dt` seconds."""
    guard = scales(dt, (1.0, 1.0, 1.0), (6.0, 2.0, 1.0), (100.0, 100.0, 100.0))
    for tick in ticks:
        for scale in guard:
            scale.fold(tick)
    for scale in guard:
        scale.drain()
    small, middle, large = (max(1.0, scale.phi) for scale in guard)
    return small, middle, large


def start(stable: Sequence[tuple[float, float]], dt: float) -> tuple[float, float]:
    """Stable's rate and the requests behind it from (bad, all) of each tick, the newest last and heaviest."""
    q = 2 ** (-dt / HALF_LIFE)
    bad = total = 0.0
    for x, n in stable:
        bad, total = bad * q + x, total * q + n
    return (bad + 0.5) / (total + 1), total


def measure(pods: Sequence[Sequence[tuple[float, float]]], dt: float) -> History | None:
    """What 10-30 min of stable before the release teach: per instance the (bad, all) requests of each tick of `dt` s.

    Each instance in turn plays the canary against the rest. None for fewer than two: one instance alone says nothing
    of how instances differ.
    """
    if len(pods) < 2:
        return None
    sums = [(sum(bad for bad, _ in tick), sum(total for _, total in tick)) for tick in zip(*pods, strict=True)]
    found = [
        phi0([(x, n, bad - x, total - n) for (x, n), (bad, total) in zip(pod, sums, strict=True)], dt) for pod in pods
    ]
    small, middle, large = (sum(column) / len(pods) for column in zip(*found, strict=True))
    return History(*start(sums, dt), (small, middle, large))
