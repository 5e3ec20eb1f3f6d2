"""Volume and traffic share: events per exposure must not fall.

Given all events of both arms, the canary's number is binomial; null: its rate is at least rho times stable's.
Source: Lindon, Malek, Anytime-valid inference for multinomial count data, 2011.03567.
"""

from __future__ import annotations

import math

from onlyvips_release.core.judge.compare import CAP
from onlyvips_release.core.judge.dispersion import Dispersion, Three
from onlyvips_release.core.judge.mixture import Mixture
from onlyvips_release.core.judge.numbers import sound

FALLS = (0.93, 0.85, 0.7, 0.5, 0.3, 0.1, 0.01)
"""Alternatives: the canary's rate is this times the tolerated one."""


class Volume:
    """`rho`: tolerated share of stable's rate. For events that must not *rise*, swap the arms."""

    __slots__ = ("dispersion", "judged", "mixture", "rho")

    def __init__(self, rho: float, dt: float, planned: int, phi0: Three | None = None) -> None:
        self.rho = rho
        self.mixture = Mixture((1 / len(FALLS),) * len(FALLS), planned)
        self.dispersion = Dispersion(dt, phi0)
        self.judged = 0

    @property
    def evidence(self) -> float:
        """E: how strongly the data speak against "at least rho times stable's rate"; 1 = nothing seen."""
        return self.mixture.evidence

    def fold(self, yc: float, nc: float, yb: float, nb: float) -> None:
        """One tick: events and exposures (requests; or weight, time) of canary and stable."""
        if not all(map(sound, (yc, nc, yb, nb))):
            yc = nc = yb = nb = 0.0
        if nc > 0 and nb > 0:
            phi = self.dispersion.phi
            cap = CAP / math.sqrt(phi)
            c, b = nc * self.rho, nb
            null = c / (c + b)
            logs = []
            for g in FALLS:
                t = c * g / (c * g + b)
                llr = yc * math.log(t / null) + yb * math.log((1 - t) / (1 - null))
                logs.append(max(min(llr / phi, cap), -60.0))
            self.mixture.pay(logs)
            self.judged += 1
        else:
            self.mixture.idle()
        self.dispersion.fold((yc, max(nc, yc), yb, max(nb, yb)))

    def idle(self, ticks: int) -> None:
        """`ticks` ticks without anything, at once."""
        self.mixture.idle(ticks)
        self.dispersion.idle(ticks)
