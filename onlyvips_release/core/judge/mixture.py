"""E as a mixture over alternatives and over start times: valid for any number of looks.

Half of the weight starts at the first tick, the rest is spread over the planned ones, so that late faults are found
too. All weights together are 1, hence P(sup E >= 1/alpha) <= alpha (Ville 1939; Shin, Ramdas, Rinaldo 2203.03532).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

HUGE = 1e30


class Mixture:
    """Evidence E against a null; 1 = nothing seen. `planned`: ticks of the whole release."""

    __slots__ = ("A", "W", "pi", "planned", "t")

    def __init__(self, pi: Sequence[float], planned: int) -> None:
        self.pi, self.planned = pi, planned
        self.A = [0.0] * len(pi)
        self.W, self.t = 0.0, 0

    @property
    def evidence(self) -> float:
        """E = sum of pi_k A_k, and what has not started yet."""
        return sum([p * a for p, a in zip(self.pi, self.A, strict=True)]) + max(0.0, 1 - self.W)

    def pay(self, logs: Sequence[float]) -> None:
        """A judged tick: ln of the factor of each alternative."""
        w = self._start(1)
        self.A = [min((a + w) * math.exp(log), HUGE) for a, log in zip(self.A, logs, strict=True)]

    def idle(self, ticks: int = 1) -> None:
        """Ticks that were not judged: they change nothing but the time."""
        w = self._start(ticks)
        if w:
            self.A = [a + w for a in self.A]

    def _start(self, ticks: int) -> float:
        later = max(0, min(self.t + ticks, self.planned) - max(self.t, 1))
        w = (0.0 if self.t else 0.5) + (0.5 * later / (self.planned - 1) if later else 0.0)
        self.W += w
        self.t += ticks
        return w
