"""The release decision over all metrics and services.

R = sum of w_j E_j is valid under any dependence between metrics (Vovk, Wang, 1912.06116); promotion needs every
required metric's E' at once and no correction (Schultzberg et al., 2402.11609).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import Any

from onlyvips_release.core.judge import forecast, sentences
from onlyvips_release.core.judge.ingest import Ingest, Seen
from onlyvips_release.core.judge.metric import Kind, Setting
from onlyvips_release.core.judge.metrics import WEIGHTS, kinds
from onlyvips_release.core.judge.request_metrics import Errors
from onlyvips_release.core.judge.service_history import ServiceHistory
from onlyvips_release.core.model import Arm, Counters, Verdict
from onlyvips_release.core.plan import JudgePlan

ENVIRONMENT = "environment"
"""Reason of a look at an absolute guard that stable breaks too."""

SMOULDERING = 2.0
"""R at or above this forbids promotion."""

MOST_MISSED_TICKS = 10_000
"""A longer gap is folded as this one: by then nothing is left that could change."""

LARGER_WEIGHT = 50
"""The other weight that an undecided end tells the time for."""


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


@dataclass(slots=True)
class Judged:
    """One metric of one service under way; `weight`: w_j."""

    service: str
    kind: Kind
    weight: float

    @property
    def raw(self) -> float:
        """Its share w_j E_j of R."""
        return self.weight * self.kind.evidence

    def adjusted(self, threshold: float) -> float:
        """The same, but E counts at most 1 for a guard that stable breaches too."""
        return min(self.raw, self.weight) if self.kind.excused(threshold) else self.raw


@dataclass(slots=True)
class Step:
    """The weight under way, how long it was judged, and what came of each service: (canary, stable, judged ticks)."""

    weight: int = 0
    ticks: int = 0
    requests: dict[str, tuple[int, int, int]] = field(default_factory=dict)


@dataclass(slots=True)
class ReleaseJudge:
    """Folds raw counters of all services, tick by tick, and says at any moment what they mean. Pure.

    `business`: services whose business calls are told; `sticky`: users stay on their side, so that requests do not
    follow the weight; `known`: what earlier releases taught, by service.
    """

    plan: JudgePlan
    services: Sequence[str]
    bake: timedelta
    business: Sequence[str] = ()
    sticky: bool = False
    known: Mapping[str, ServiceHistory] = field(default_factory=dict)
    ingest: Ingest = field(default_factory=Ingest)
    metrics: list[Judged] = field(default_factory=list)
    step: Step = field(default_factory=Step)
    last: int | None = None

    def __post_init__(self) -> None:
        dt, planned = self.plan.tick.total_seconds(), max(1, round(self.bake / self.plan.tick))
        for service in self.services:
            setting = Setting(self.plan, dt, planned, self.known.get(service))
            for kind in kinds(setting, business=service in self.business, sticky=self.sticky):
                self.metrics.append(Judged(service, kind, WEIGHTS[kind.metric]))
        whole = sum(metric.weight for metric in self.metrics)
        for metric in self.metrics:
            metric.weight /= whole

    @property
    def threshold(self) -> float:
        """1/alpha."""
        return 1 / self.plan.alpha

    def begin_step(self, weight: int, counters: Counters) -> None:
        """A weight is in force; `counters` is the new baseline, so that nothing is counted across the shift."""
        self.step = Step(weight)
        self.take(counters)
        for metric in self.metrics:
            metric.kind.new_weight(weight)

    def fold(self, tick: int, counters: Counters) -> None:
        """One sample at its tick; ticks in between were without one. A tick that is not newer is a doubled sample."""
        if self.last is not None and tick <= self.last:
            return
        missed = 0 if self.last is None else min(tick - self.last - 1, MOST_MISSED_TICKS)
        self.last = tick
        seen = self.take(counters)
        self.step.ticks += missed + 1
        for metric in self.metrics:
            if missed:
                metric.kind.idle(missed)
            before = metric.kind.compare.judged if isinstance(metric.kind, Errors) else 0
            metric.kind.fold(seen[metric.service])
            if isinstance(metric.kind, Errors):
                self._count(metric.service, seen[metric.service], metric.kind.compare.judged - before)

    def skip(self, tick: int, counters: Counters | None) -> None:
        """A tick that must not be judged; what was counted in it is dropped."""
        self.last = tick if self.last is None else max(tick, self.last)
        if counters:
            self.take(counters)

    def take(self, counters: Counters) -> dict[str, Seen]:
        """What happened to each service since the last call."""
        found = {}
        for service in self.services:
            arms = counters.get(service, {})
            canary, stable = (self.ingest.take(service, arm, arms.get(arm, ())) for arm in (Arm.CANARY, Arm.STABLE))
            found[service] = Seen(canary, stable)
        return found

    def look(self) -> Judgement:
        """The decision so far: ROLLBACK, ENVIRONMENT, or continue."""
        tripped = next((metric for metric in self.metrics if metric.kind.tripped), None)
        raw, adjusted = self._sums()
        if tripped:
            sentence = f"{tripped.service}: {tripped.kind.tripped}"
            reason = f"limit:{tripped.kind.metric}"
            return Judgement(Verdict.FAIL, reason, sentence, True, raw, self.threshold, tripped.service, self.views())
        if adjusted >= self.threshold:
            return self._rollback(raw)
        if raw >= self.threshold:
            return self._environment(raw)
        return Judgement(Verdict.INCONCLUSIVE, "continue", "no decision yet", False, raw, self.threshold)

    def end(self) -> Judgement:
        """Asked when the bake is over: proof of every required metric, or what is missing for it."""
        word = self.look()
        if word.verdict is Verdict.FAIL:
            return word
        if word.reason == ENVIRONMENT:
            return replace(word, final=True)
        views = self.views()
        proven = all(v.promote_evidence is None or self._proven(v.promote_evidence) for v in views if v.required)
        if (unheard := self._unheard(views)) is not None:
            reason, sentence = unheard
        elif word.R >= SMOULDERING:
            reason, sentence = "smouldering", sentences.smouldering(views, word.R, self.threshold)
        elif proven:
            reason, sentence = "promote", sentences.promote(views, self.plan.errors.never_accept)
        else:
            reason, sentence = "not_enough_evidence", self._missing(views)
        verdict = Verdict.PASS if reason == "promote" else Verdict.INCONCLUSIVE
        return replace(word, verdict=verdict, reason=reason, sentence=sentence, final=True, metrics=views)

    def silent(self) -> tuple[str, ...]:
        """Services without a single judged canary tick at the current weight."""
        return tuple(service for service in self.services if not self.step.requests.get(service, (0, 0, 0))[2])

    def states(self) -> dict[str, str]:
        """Why a metric is not judged, by "service metric"; what is judged is left out."""
        return {f"{m.service} {m.kind.metric}": m.kind.state for m in self.metrics if m.kind.state}

    def views(self) -> tuple[MetricView, ...]:
        """Every metric as it stands."""
        sums = {metric.service: metric.kind.sums for metric in self.metrics if isinstance(metric.kind, Errors)}
        return tuple(self._view(metric, sums[metric.service]) for metric in self.metrics)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _count(self, service: str, seen: Seen, judged: int) -> None:
        canary, stable, ticks = self.step.requests.get(service, (0, 0, 0))
        self.step.requests[service] = (canary + seen.canary.total, stable + seen.stable.total, ticks + judged)

    def _sums(self) -> tuple[float, float]:
        """(R, R_adj)."""
        raw = adjusted = 0.0
        for metric in self.metrics:
            share = metric.raw
            raw += share
            guarded = share > metric.weight and metric.kind.excused(self.threshold)
            adjusted += metric.weight if guarded else share
        return raw, adjusted

    def _rollback(self, raw: float) -> Judgement:
        """The largest w_j E_j is blamed; current values throughout, never a mix of maxima over time (2501.19360)."""
        shares = [(metric.adjusted(self.threshold), metric) for metric in self.metrics]
        blame = max(shares, key=lambda pair: pair[0])[1]
        own = {name: sum(value for value, m in shares if m.service == name) for name in self.services}
        convicted = tuple(name for name, value in own.items() if value >= self.threshold)
        views = self.views()
        view = views[self.metrics.index(blame)]
        sentence = sentences.rollback(view, self.plan.alpha, convicted)
        reason = f"rollback:{blame.kind.metric}"
        return Judgement(
            Verdict.FAIL, reason, sentence, True, raw, self.threshold, blame.service, views, convicted=convicted
        )

    def _environment(self, raw: float) -> Judgement:
        """Names the guard that stable breaches too and that counts most."""
        views = self.views()
        _, view = max(zip(self.metrics, views, strict=True), key=lambda p: p[0].raw - p[0].adjusted(self.threshold))
        sentence = sentences.environment(view)
        return Judgement(Verdict.INCONCLUSIVE, ENVIRONMENT, sentence, False, raw, self.threshold, metrics=views)

    def _proven(self, evidence: float) -> bool:
        return evidence >= 1 / self.plan.beta

    def _unheard(self, views: Sequence[MetricView]) -> tuple[str, str] | None:
        """Reason and sentence where something required gave nothing to judge: silence proves nothing."""
        quiet = [view.service for view in views if view.metric == "errors" and not view.canary_total]
        if quiet or not self.services:
            return "no_traffic", sentences.no_traffic(quiet or ["any service"])
        alone = [m.service for m in self.metrics if isinstance(m.kind, Errors) and not m.kind.compare.judged]
        if alone:
            return "no_traffic", sentences.no_control(alone)
        dark = next((view for view in views if view.required and view.state), None)
        return ("not_seen", sentences.not_seen(dark)) if dark else None

    def _view(self, metric: Judged, sums: Sequence[int]) -> MetricView:
        kind = metric.kind
        xc, nc, xb, nb = sums
        return MetricView(
            metric.service,
            kind.metric,
            xc,
            nc,
            xb,
            nb,
            evidence=kind.evidence,
            promote_evidence=kind.proof,
            weight=metric.weight,
            phi=kind.phi,
            required=kind.required,
            story=kind.story(),
            limit=kind.limit(),
            state=kind.state,
        )

    def _missing(self, views: Sequence[MetricView]) -> str:
        """What the metric that needs most time lacks for promotion."""
        rows = []
        for metric, view in zip(self.metrics, views, strict=True):
            if view.required and not self._proven(view.promote_evidence or 0.0):
                rows.append((self._options(metric.service, metric.kind), view))
        options, slowest = max(rows, key=lambda row: (row[0][0].minutes, row[0][0].left))
        return sentences.not_enough(slowest, options)

    def _options(self, service: str, kind: Kind) -> list[sentences.Option]:
        """Requests and time still needed at this and at a larger weight, were the canary equal to stable."""
        canary, stable, _ = self.step.requests.get(service, (0, 0, 0))
        per_second = (canary + stable) / (max(self.step.ticks, 1) * self.plan.tick.total_seconds())
        options = []
        for weight in (self.step.weight, LARGER_WEIGHT):
            r = (100 - weight) / weight if weight else 99.0
            lines, rate, seen = kind.proving()
            left = forecast.to_promote(rate, r, lines, kind.phi, self.plan.beta) - seen
            pace = per_second * weight / 100
            options.append(sentences.Option(weight, left, left / pace / 60 if pace else float("inf")))
        return options
