"""The release decision over all metrics and services (judge.md section 6).

R = sum of w_j E_j is valid under any dependence between metrics (Vovk, Wang, 1912.06116); promotion needs every
required metric's E' at once and no correction (Schultzberg et al., 2402.11609).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from onlyvips_release.judge import forecast, sentences
from onlyvips_release.judge.compare import Compare, Lines
from onlyvips_release.judge.ingest import Ingest
from onlyvips_release.judge.judgement import Judgement, MetricView
from onlyvips_release.model import Arm, Counters, Verdict
from onlyvips_release.plan import JudgePlan

WEIGHTS = {"errors": 0.30, "slo_errors": 0.15}
"""Of a metric within its service; further kinds (latency, volume, gauges) get theirs here."""

ENVIRONMENT = "environment"
"""Reason of a look at an absolute guard that stable breaks too."""

SMOULDERING = 2.0
"""R at or above this forbids promotion."""

MOST_MISSED_TICKS = 10_000


@dataclass(slots=True)
class Judged:
    """One metric of one service under way. `twin`: the same absolute guard on stable's own counts."""

    service: str
    metric: str
    compare: Compare
    weight: float
    twin: Compare | None = None

    def fold(self, counts: Sequence[int]) -> None:
        """One tick of (xc, nc, xb, nb)."""
        xc, nc, xb, nb = counts
        self.compare.fold(xc, nc, xb, nb)
        if self.twin:
            self.twin.fold(xb, nb, xc, nc)

    def adjusted(self, threshold: float) -> float:
        """E; at most 1 for a guard that stable breaches too."""
        evidence = self.compare.evidence
        return min(evidence, 1.0) if self.twin and self.twin.evidence >= threshold else evidence


@dataclass(slots=True)
class Totals:
    """Counts of one service. `step_*`: since the current weight was set."""

    canary_bad: int = 0
    canary_total: int = 0
    stable_bad: int = 0
    stable_total: int = 0
    step_canary: int = 0
    step_stable: int = 0
    step_judged: int = 0

    def add(self, counts: Sequence[int]) -> None:
        """One tick."""
        xc, nc, xb, nb = counts
        self.canary_bad += xc
        self.canary_total += nc
        self.stable_bad += xb
        self.stable_total += nb
        self.step_canary += nc
        self.step_stable += nb


@dataclass(slots=True)
class Step:
    """The weight under way, and how long it was judged."""

    weight: int = 0
    ticks: int = 0


@dataclass(slots=True)
class ReleaseJudge:
    """Folds raw counters of all services, tick by tick, and says at any moment what they mean. Pure."""

    plan: JudgePlan
    services: Sequence[str]
    bake: timedelta
    ingest: Ingest = field(default_factory=Ingest)
    metrics: list[Judged] = field(default_factory=list)
    totals: dict[str, Totals] = field(default_factory=dict)
    step: Step = field(default_factory=Step)
    last: int | None = None

    def __post_init__(self) -> None:
        dt = self.plan.tick.total_seconds()
        planned = max(1, round(self.bake / self.plan.tick))
        limits, slo = self.plan.errors, self.plan.slo.errors
        inner, outer = limits.tolerated, limits.never_accept
        kinds = {"errors": Lines(inner.factor, inner.plus, outer.factor, outer.plus)}
        if slo is not None:
            kinds["slo_errors"] = Lines(0.0, slo, 0.0, slo)
        whole = sum(WEIGHTS[kind] for kind in kinds) * len(self.services)
        for service in self.services:
            self.totals[service] = Totals()
            for kind, lines in kinds.items():
                twin = Compare(lines, dt, planned) if lines.rho == 0 else None
                self.metrics.append(Judged(service, kind, Compare(lines, dt, planned), WEIGHTS[kind] / whole, twin))

    @property
    def threshold(self) -> float:
        """1/alpha."""
        return 1 / self.plan.alpha

    def begin_step(self, weight: int, counters: Counters) -> None:
        """A weight is in force; `counters` is the new baseline, so that nothing is counted across the shift."""
        self.step = Step(weight)
        self._increments(counters)
        for metric in self.metrics:
            metric.compare.new_weight()
        for totals in self.totals.values():
            totals.step_canary = totals.step_stable = totals.step_judged = 0

    def fold(self, tick: int, counters: Counters) -> None:
        """One sample at its tick; ticks in between were without one. A tick that is not newer is a doubled sample."""
        if self.last is not None and tick <= self.last:
            return
        missed = 0 if self.last is None else min(tick - self.last - 1, MOST_MISSED_TICKS)
        self.last = tick
        increments = self._increments(counters)
        for _ in range(missed):
            self._tick(dict.fromkeys(self.services, (0, 0, 0, 0)))
        self._tick(increments)

    def skip(self, tick: int, counters: Counters | None) -> None:
        """A tick that must not be judged; what was counted in it is dropped."""
        self.last = tick if self.last is None else max(tick, self.last)
        if counters:
            self._increments(counters)

    def look(self) -> Judgement:
        """The decision so far: ROLLBACK, ENVIRONMENT, or continue."""
        evidence = [(m.weight * m.adjusted(self.threshold), m) for m in self.metrics]
        adjusted = sum(value for value, _ in evidence)
        raw = sum(m.weight * m.compare.evidence for m in self.metrics)
        if adjusted >= self.threshold:
            blame = max(evidence, key=lambda pair: pair[0])[1]
            sentence = sentences.rollback(self._view(blame), self.plan.alpha)
            return self._word(Verdict.FAIL, f"rollback:{blame.metric}", sentence, raw, blame.service, final=True)
        if raw >= self.threshold:
            shared = [m for m in self.metrics if m.adjusted(self.threshold) < m.compare.evidence]
            guard = max(shared, key=lambda m: m.weight * m.compare.evidence)
            return self._word(Verdict.INCONCLUSIVE, ENVIRONMENT, sentences.environment(self._view(guard)), raw)
        return self._word(Verdict.INCONCLUSIVE, "continue", "no decision yet", raw)

    def end(self) -> Judgement:
        """Asked when the bake is over: proof on every service, or what is missing for it."""
        word = self.look()
        if word.verdict is Verdict.FAIL:
            return word
        required = [m for m in self.metrics if m.metric == "errors"]
        missing = [m for m in required if m.compare.promote_evidence < 1 / self.plan.beta]
        if word.reason == ENVIRONMENT:
            return self._word(Verdict.INCONCLUSIVE, ENVIRONMENT, word.sentence, word.R, final=True)
        silent = [m.service for m in required if self.totals[m.service].canary_total == 0]
        if silent:
            return self._word(Verdict.INCONCLUSIVE, "no_traffic", sentences.no_traffic(silent), word.R, final=True)
        if word.R >= SMOULDERING:
            sentence = sentences.smouldering(word.metrics, word.R, self.threshold)
            return self._word(Verdict.INCONCLUSIVE, "smouldering", sentence, word.R, final=True)
        if not missing:
            sentence = sentences.promote([self._view(m) for m in required], self.plan.errors.never_accept)
            return self._word(Verdict.PASS, "promote", sentence, word.R, final=True)
        needs = [self._need(m) for m in missing]
        sentence = sentences.not_enough(max(needs, key=lambda need: need.missing))
        return self._word(Verdict.INCONCLUSIVE, "not_enough_evidence", sentence, word.R, final=True)

    def silent(self) -> tuple[str, ...]:
        """Services without a single judged canary tick at the current weight."""
        return tuple(service for service in self.services if not self.totals[service].step_judged)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _increments(self, counters: Counters) -> dict[str, tuple[int, int, int, int]]:
        found = {}
        for service in self.services:
            arms = counters.get(service, {})
            canary = self.ingest.take(service, Arm.CANARY, arms.get(Arm.CANARY, ()))
            stable = self.ingest.take(service, Arm.STABLE, arms.get(Arm.STABLE, ()))
            found[service] = (*canary, *stable)
        return found

    def _tick(self, increments: dict[str, tuple[int, int, int, int]]) -> None:
        self.step.ticks += 1
        for service, counts in increments.items():
            self.totals[service].add(counts)
        for metric in self.metrics:
            before = metric.compare.judged
            metric.fold(increments[metric.service])
            if metric.metric == "errors":
                self.totals[metric.service].step_judged += metric.compare.judged - before

    def _word(
        self, verdict: Verdict, reason: str, sentence: str, R: float, blame: str = "", *, final: bool = False
    ) -> Judgement:
        views = tuple(self._view(metric) for metric in self.metrics)
        return Judgement(verdict, reason, sentence, final, R, self.threshold, blame, views)

    def _view(self, metric: Judged) -> MetricView:
        totals, compare = self.totals[metric.service], metric.compare
        b1 = compare.guess.b1
        return MetricView(
            metric.service,
            metric.metric,
            totals.canary_bad,
            totals.canary_total,
            totals.stable_bad,
            totals.stable_total,
            compare.evidence,
            compare.promote_evidence,
            metric.weight,
            compare.dispersion.phi,
            required=metric.metric == "errors",
            tolerated=compare.lines.rho * b1 + compare.lines.delta,
            stable_rate=b1,
        )

    def _need(self, metric: Judged) -> sentences.Need:
        """What this metric lacks for promotion: requests, and minutes at this and at a larger weight."""
        totals, compare = self.totals[metric.service], metric.compare
        seconds = max(self.step.ticks, 1) * self.plan.tick.total_seconds()
        per_second = (totals.step_canary + totals.step_stable) / seconds
        options = []
        for weight in (self.step.weight, 50):
            r = (100 - weight) / weight if weight else 99.0
            needed = forecast.to_promote(compare.guess.b1, r, compare.lines, compare.dispersion.phi, self.plan.beta)
            rate = per_second * weight / 100
            left = needed - totals.canary_total
            options.append((weight, left, left / rate / 60 if rate else float("inf")))
        return sentences.Need(metric.service, totals.canary_total, options)
