"""The evidence of a release: the ticks of its clock, how long the weight was held, and the judge that weighs it all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

from onlyvips_release.core import judge as judging
from onlyvips_release.core.events import Sampled
from onlyvips_release.core.judge.service_history import ServiceHistory
from onlyvips_release.core.model import Arm, Counters, Percent, Series
from onlyvips_release.core.plan import ReleasePlan


@dataclass
class Evidence:
    """Folded from Started, Shifted, Sampled and Resumed.

    `bake`: how long observation is planned for; `history`: what earlier releases taught, by service. `first_tick`: of
    this weight, None = none came yet. `troubled_ticks`: ticks of this weight that were not judged; `troubled_total`:
    those of the whole release.
    """

    plan: ReleasePlan
    bake: timedelta
    history: Mapping[str, ServiceHistory]
    has_baseline: bool = False
    first_tick: int | None = None
    last_tick: int = -1
    troubled_ticks: int = 0
    troubled_total: int = 0

    @cached_property
    def judge(self) -> judging.ReleaseJudge:
        """Made when the first tick is folded: a journal that is read without its samples needs none."""
        names = [service.name for service in self.plan.routed]
        business = [service.name for service in self.plan.routed if service.business_calls]
        return judging.ReleaseJudge(self.plan.judge, names, self.bake, business, bool(self.plan.sticky), self.history)

    def begin(self) -> None:
        """Another weight is in force, or nobody held this one for a while: the bake clock begins at the next tick."""
        self.has_baseline, self.first_tick, self.troubled_ticks = False, None, 0

    def fold(self, event: Sampled, weight: Percent, *, watching: bool) -> None:
        """One tick."""
        self.last_tick = event.tick
        if self.first_tick is None:
            self.first_tick = event.tick
        if event.trouble:
            self.stop_bake_clock()
            self.judge.skip(event.tick, event.series or None)
            return
        counters = as_canary(event.series) if watching else event.series
        if not self.has_baseline:
            self.judge.begin_step(weight, counters)  # type: ignore[arg-type]  # its formulas take any number
            self.has_baseline = True
            return
        self.judge.fold(event.tick, counters)
        if self.judge.look().reason == judging.ENVIRONMENT:
            self.stop_bake_clock()

    def stop_bake_clock(self) -> None:
        """This tick is not judged: it does not count as bake time and is charged to the budget for such ticks."""
        self.troubled_ticks += 1
        self.troubled_total += 1

    @property
    def baked(self) -> float:
        """Seconds that this weight was surely held with evidence coming in: the first tick began before the shift,
        troubled ticks do not count."""
        if self.first_tick is None:
            return 0.0
        ticks = self.last_tick - self.first_tick - 1 - self.troubled_ticks
        return max(0, ticks) * self.plan.judge.tick.total_seconds()

    @property
    def troubled(self) -> timedelta:
        """How long the whole release was held because of trouble that was not the canary's."""
        return self.troubled_total * self.plan.judge.tick


def as_canary(series: Counters) -> dict[str, dict[Arm, tuple[Series, ...]]]:
    """After promotion nothing is left to compare with: stable's counts are judged alone, by the absolute guards."""
    return {service: {Arm.CANARY: arms.get(Arm.STABLE, ()), Arm.STABLE: ()} for service, arms in series.items()}
