"""What earlier releases taught about one service: the record alone, so that a journal can be read without a judge."""

from __future__ import annotations

from dataclasses import dataclass

from onlyvips_release.core.judge.dispersion import History, Three

Ratios = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ServiceHistory:
    """What is known of one service beforehand. phi0: None = not measured.

    `revision`: what stable was when it was recorded; `tick`: seconds; `rps`: users' requests per second on both arms;
    `latency`: stable's (bucket, count) pairs.
    `cpu`, `memory`: ln(canary / stable) by block; `*_own`: ln levels of stable alone; `memory_noise`: standard
    deviation and lag-1 autocorrelation of ln(canary / stable) by scrape.
    """

    release: str
    at: str
    revision: str
    tick: float
    seconds: float
    rps: float
    rate: float
    requests: float
    phi0: Three | None = None
    latency: tuple[tuple[int, int], ...] = ()
    latency_phi0: tuple[Three, ...] | None = None
    volume_phi0: Three | None = None
    share_phi0: Three | None = None
    cpu: Ratios = ()
    cpu_own: Ratios = ()
    memory: Ratios = ()
    memory_own: Ratios = ()
    memory_noise: tuple[float, float] | None = None

    @property
    def errors(self) -> History:
        """For the comparison of errors."""
        return History(self.rate, self.requests, self.phi0)
