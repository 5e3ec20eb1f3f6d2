"""What the judge says, as values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from onlyvips_release.model import Verdict


@dataclass(frozen=True, slots=True)
class MetricView:
    """What one metric says now. Counts are cumulative since the first step; `weight` is w_j of R."""

    service: str
    metric: str
    canary_bad: int
    canary_total: int
    stable_bad: int
    stable_total: int
    evidence: float
    promote_evidence: float | None
    weight: float
    phi: float
    required: bool
    tolerated: float
    stable_rate: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """One look. `R` is what counts against the canary, `threshold` what it takes to convict; `blame` "" = nobody."""

    verdict: Verdict
    reason: str
    sentence: str
    final: bool
    R: float
    threshold: float
    blame: str
    metrics: tuple[MetricView, ...]

    def to_dict(self) -> dict[str, Any]:
        """For the journal and `--json`."""
        return {**asdict(self), "verdict": str(self.verdict), "metrics": [asdict(view) for view in self.metrics]}
