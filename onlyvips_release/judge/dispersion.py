"""The dispersion guard phi (judge.md section 3): how much more failures clump than independent requests would.

Residuals of the canary's share of bad events, given the total, at three scales (blocks of 5, 30 and 120 s). They count
2 to 4 minutes late, so that a new fault cannot mute its own alarm.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

SECONDS = (5.0, 30.0, 120.0)
DECAY = (0.8, 0.6, 0.4)
PHI_MAX = 200.0


@dataclass(frozen=True, slots=True)
class History:
    """What earlier samples of stable said: its error rate, the requests behind it, and phi0 of the three scales."""

    rate: float
    requests: float
    phi0: tuple[float, float, float]


@dataclass(slots=True)
class Scale:
    """One block length. `length` in ticks, `lag` in blocks; e_* are decayed sums of the earlier blocks."""

    length: int
    lag: int
    decay: float
    phi0: float
    nu: float
    cap: float
    block: list[float] = field(default_factory=lambda: [0.0] * 4)
    ticks: int = 0
    earlier: list[float] = field(default_factory=lambda: [0.0] * 4)
    queue: deque[float | None] = field(default_factory=deque)
    Z: float = 0.0
    K: int = 0

    def fold(self, counts: Sequence[float]) -> None:
        """One tick of (xc, nc, xb, nb)."""
        self.block = [have + more for have, more in zip(self.block, counts, strict=True)]
        self.ticks += 1
        if self.ticks < self.length:
            return
        self.queue.append(residual(self.block, self.earlier, self.cap))
        if len(self.queue) > self.lag:
            oldest = self.queue.popleft()
            if oldest is not None:
                self.Z += oldest
                self.K += 1
        self.earlier = [old * self.decay + new for old, new in zip(self.earlier, self.block, strict=True)]
        self.block, self.ticks = [0.0] * 4, 0

    @property
    def phi(self) -> float:
        """Prior and residuals together."""
        return (self.nu * self.phi0 + self.Z) / (self.nu + self.K)


def residual(block: Sequence[float], earlier: Sequence[float], cap: float) -> float | None:
    """Squared standardised residual of a block, None where there is too little to say anything."""
    a, n, b, m = block
    ea, en, eb, em = earlier
    events = a + b
    if events < 1 or min(n, m, en, em) <= 0 or ea + eb < 3:
        return None
    r = ((ea + 0.5) / en) / ((eb + 0.5) / em)
    th = n * r / (n * r + m)
    u = th * (1 - th)
    v = events * u * (1 - min(events / (n + m), 0.999)) + 1e-12
    v += (events * u) ** 2 * ((1 - min(ea / en, 0.999)) / (ea + 0.5) + (1 - min(eb / em, 0.999)) / (eb + 0.5))
    return min((a - events * th) ** 2 / v, cap)


class Dispersion:
    """phi, known before each tick. `dt`: seconds of a tick."""

    __slots__ = ("phi", "scales")

    def __init__(self, dt: float, history: History | None = None) -> None:
        phi0 = history.phi0 if history else (2.0, 2.0, 2.0)
        nus = (96.0, 24.0, 10.0) if history else (24.0, 8.0, 4.0)
        caps = (100.0, 9 * phi0[1], 9 * phi0[2]) if history else (100.0, 100.0, 100.0)
        lengths = [max(1, round(seconds / dt)) for seconds in SECONDS]
        lags = (max(1, round(120 / (dt * lengths[0]))), 8, 2)
        self.scales = [Scale(*row) for row in zip(lengths, lags, DECAY, phi0, nus, caps, strict=True)]
        self.phi = max(phi0)

    def fold(self, counts: Sequence[float]) -> None:
        """One tick's own (unpooled) counts; phi is used from the next tick on."""
        for scale in self.scales:
            scale.fold(counts)
        self.phi = min(PHI_MAX, max(1.0, *(scale.phi for scale in self.scales)))
