"""What the judge says, as values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from onlyvips_release.core.model import Verdict


@dataclass(frozen=True, slots=True)
class MetricView:
    """What one metric says now.

    `evidence` E against "within tolerance", `promote_evidence` E' against "beyond the never-accept line" (None = this
    metric proves nothing); `weight`: w_j of R; `story` and `limit`: what was seen and what is tolerated, in words;
    `state`: "" = judged, else why not. Counts are the service's requests since the first step.
    """

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
    story: str
    limit: str
    state: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One look. `R` = sum of w_j E_j, `threshold` = 1/alpha; `blame` "" = nobody.

    `convicted`: services whose own share of R reaches the threshold (family-wise error <= alpha). `metrics` are filled
    in where the look decides something.
    """

    verdict: Verdict
    reason: str
    sentence: str
    final: bool
    R: float
    threshold: float
    blame: str = ""
    metrics: tuple[MetricView, ...] = ()
    convicted: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For the journal and `--json`."""
        metrics = [asdict(view) for view in self.metrics]
        return {**asdict(self), "verdict": str(self.verdict), "metrics": metrics, "convicted": list(self.convicted)}
