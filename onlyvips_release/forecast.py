"""What a plan can find out with the traffic there is: before the release, in words (judge.md section 9). Pure.

Traffic is the plan's `traffic`, else what history saw; without either, requests are told instead of times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from onlyvips_release.core.judge import ReleaseJudge, ServiceHistory, forecast
from onlyvips_release.core.judge.compare import Lines
from onlyvips_release.core.judge.sentences import percent, round_up, span
from onlyvips_release.core.model import Percent
from onlyvips_release.core.plan import ReleasePlan, Service

UNKNOWN_RATE, UNKNOWN_PHI = 0.001, 2.0
"""What is taken where no history tells stable's share of errors and how much it clumps."""

FAULTS = ((0.01, "+1 point of errors"), (0.1, "+10 points"), (1.0, "every request fails"))
WEIGHTS = (25, 50)
"""Larger weights that are named where the plan's is too small."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """One service. `rps`: users' requests per second, None = unknown; `n`: canary requests in the whole bake.

    `threshold`: evidence that its errors alone need to convict.
    """

    rate: float
    phi: float
    rps: float | None
    weight: Percent
    bake: float
    threshold: float
    plan: ReleasePlan

    @property
    def lines(self) -> Lines:
        """Both lines of the errors."""
        inner, outer = self.plan.judge.errors.tolerated, self.plan.judge.errors.never_accept
        return Lines(inner.factor, inner.plus, outer.factor, outer.plus)

    def r(self, weight: Percent) -> float:
        """Stable requests per canary request."""
        return (100 - weight) / weight

    def n_to_find(self, more: float, q: float = 0.5) -> float:
        """Canary requests until `more` points above stable are found with probability q."""
        bad = min(self.rate + more, 0.999)
        return forecast.to_find(bad, self.rate, self.r(self.weight), self.lines, self.phi, self.threshold, q)

    def seconds(self, n: float) -> float:
        """Until so many canary requests came, at the plan's weight."""
        dt = self.plan.judge.tick.total_seconds()
        return forecast.seconds(n, (self.rps or 0) * self.weight / 100, dt, self.phi, self.threshold)

    def n_to_promote(self, weight: Percent, q: float = 0.9) -> float:
        """Canary requests until an equal canary is proven, in errors and slow answers."""
        judge = self.plan.judge
        n = forecast.to_promote(self.rate, self.r(weight), self.lines, self.phi, judge.beta, q)
        if judge.slo.slower_than is not None:
            guard = Lines(0.0, judge.slo.share, 0.0, judge.slo.share)
            n = max(n, forecast.to_promote(judge.slo.share / 20, 1.0, guard, UNKNOWN_PHI, judge.beta, q))
        return n


def outlook(plan: ReleasePlan, service: Service, known: ServiceHistory | None) -> Outlook:
    """What is known of a service before the release."""
    judge = ReleaseJudge(plan.judge, [s.name for s in plan.routed], plan.bake, sticky=bool(plan.sticky))
    share = next(m.weight for m in judge.metrics if m.service == service.name and m.kind.metric == "errors")
    step = max(plan.steps, key=lambda step: step.weight * step.bake)
    bake = sum(one.weight * one.bake.total_seconds() for one in plan.steps) / step.weight
    return Outlook(
        rate=max(known.rate, 1e-6) if known else UNKNOWN_RATE,
        phi=max(known.phi0) if known and known.phi0 else UNKNOWN_PHI,
        rps=service.traffic or (known.rps if known else None),
        weight=step.weight,
        bake=bake,
        threshold=1 / (plan.judge.alpha * share),
        plan=plan,
    )


def describe(plan: ReleasePlan, known: Mapping[str, ServiceHistory]) -> list[str]:
    """The forecast of every routed service, a few lines each."""
    lines = ["forecast (an equal canary; wrong guesses of traffic shift all times alike):"]
    for service in plan.routed:
        seen = outlook(plan, service, known.get(service.name))
        base = f"{percent(seen.rate)} errors on stable" if service.name in known else "0.1 % errors on stable assumed"
        if seen.rps is None:
            lines.append(f"  {service.name}: no traffic figure (give `traffic: REQUESTS_PER_SECOND`); {base}")
            lines += [f"    {text}" for text in in_requests(seen)]
        else:
            lines.append(f"  {service.name}: {seen.rps:g} requests/s, {seen.weight} % of them on the canary; {base}")
            lines += [f"    {text}" for text in in_time(seen)]
    return lines


def in_requests(seen: Outlook) -> list[str]:
    """Without a traffic figure."""
    found = ", ".join(f"{what} {requests(seen.n_to_find(more))}" for more, what in FAULTS)
    return [
        f"canary requests to promote it with 90 %: {requests(seen.n_to_promote(seen.weight))}",
        f"canary requests to find a fault in half of all cases: {found}",
    ]


def in_time(seen: Outlook) -> list[str]:
    """With one."""
    n = (seen.rps or 0) * seen.weight / 100 * seen.bake
    smallest = forecast.smallest(seen.rate, seen.r(seen.weight), seen.lines, seen.phi, seen.threshold, n)
    found = ", ".join(f"{what} after {duration(seen.seconds(seen.n_to_find(more)))}" for more, what in FAULTS)
    told = "none" if math.isinf(smallest) else f"+{100 * (smallest - seen.rate):.2g} points"
    return [
        f"smallest fault that this bake finds with 90 %: {told}; in half of all cases: {found}",
        promotion(seen),
    ]


def promotion(seen: Outlook) -> str:
    """When it is proven, and what would be enough where this bake is not."""
    wanted = seen.n_to_promote(seen.weight)
    pace = (seen.rps or 0) * seen.weight / 100
    needed = wanted / pace if pace else math.inf
    if needed <= seen.bake:
        return f"promoted with 90 % once {requests(wanted)} canary requests came, after {duration(needed)}"
    enough = [f"{duration(needed)} at {seen.weight} %"]
    for weight in WEIGHTS:
        if weight > seen.weight and pace:
            enough.append(f"{duration(seen.n_to_promote(weight) / (seen.rps or 1) / weight * 100)} at {weight} %")
    return f"too short to promote it with 90 %: that takes {' or '.join(enough)} (or a wider `never_accept`)"


def requests(n: float) -> str:
    """A number of requests; two digits are enough."""
    return "never" if math.isinf(n) else f"{round_up(n):,}"


def duration(seconds: float) -> str:
    """Time in words; seconds where they matter."""
    if math.isinf(seconds):
        return "never"
    return f"{seconds:.0f} s" if seconds < 600 else span(timedelta(seconds=seconds) / timedelta(minutes=1))
