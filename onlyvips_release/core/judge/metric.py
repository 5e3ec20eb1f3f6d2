"""What every metric of one service is: it turns counts of both arms into evidence, and describes them in words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from onlyvips_release.core.judge.compare import Lines
from onlyvips_release.core.judge.ingest import Seen
from onlyvips_release.core.judge.service_history import ServiceHistory
from onlyvips_release.core.plan import JudgePlan

ENOUGH = 200
"""Stable answers that tell where an absolute guard and the latency edges stand."""

NOT_TOLD = "not seen: the source does not tell"


@dataclass(frozen=True, slots=True)
class Setting:
    """What every metric of a service needs to begin. `planned`: ticks of the whole release."""

    plan: JudgePlan
    dt: float
    planned: int
    known: ServiceHistory | None = None


class Kind(ABC):
    """One metric of one service. `required`: promotion needs its proof."""

    metric: ClassVar[str]
    required = False
    state = ""
    tripped = ""
    """A fact that convicts without statistics."""

    @abstractmethod
    def fold(self, seen: Seen) -> None:
        """One tick."""

    @abstractmethod
    def idle(self, ticks: int) -> None:
        """Ticks without a sample."""

    @property
    @abstractmethod
    def evidence(self) -> float:
        """E against "within tolerance"."""

    @abstractmethod
    def story(self) -> str:
        """What was seen of canary and stable, in words."""

    @abstractmethod
    def limit(self) -> str:
        """What is tolerated, in words."""

    def new_weight(self, percent: int) -> None:  # noqa: B027 (most kinds keep nothing across a shift)
        """A shift: counts that wait belong to the weight before."""

    @property
    def proof(self) -> float | None:
        """E' against "beyond the never-accept line"; None = this metric proves nothing."""
        return None

    @property
    def phi(self) -> float:
        """The dispersion in use."""
        return 1.0

    def excused(self, threshold: float) -> bool:
        """Whether stable is beyond the same absolute limit."""
        return False

    def proving(self) -> tuple[Lines, float, int]:
        """Where a proof stands: its lines, stable's rate, canary requests so far."""
        raise NotImplementedError(f"{self.metric} proves nothing")
