"""The metrics of one service (judge.md section 5): each turns what was seen into evidence, and says it in words.

`state` tells a reader whether the metric was judged: "" = yes, else why not.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from onlyvips_release.core.judge import gauge, latency
from onlyvips_release.core.judge.buckets import bucket, edge
from onlyvips_release.core.judge.compare import Compare, Lines
from onlyvips_release.core.judge.gauge import Block, Gauge, Leak, levels
from onlyvips_release.core.judge.history import ServiceHistory
from onlyvips_release.core.judge.ingest import Reading, Seen, Side
from onlyvips_release.core.judge.latency import Latency
from onlyvips_release.core.judge.sentences import percent, share, times
from onlyvips_release.core.judge.volume import Volume
from onlyvips_release.core.limits import GaugeLimits, JudgePlan

ENOUGH = 200
"""Stable answers that tell where an absolute guard and the latency edges stand."""

MARGIN_KNOWN, MARGIN_UNKNOWN = 0.10, 0.25
"""How much slower is tolerated with dispersion from history, and without."""

SLACK = 5.0
"""Milliseconds that nobody feels: where answers take less than one, 25 % of that says nothing."""

OWN_BLOCKS = 5
"""Blocks of stable alone that tell how much a gauge wanders, where no earlier release tells it."""

NOT_TOLD = "not seen: the source does not tell"
STRIKES = 3
"""Ticks in a row beyond an absolute limit of a gauge."""


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


class Errors(Kind):
    """Failed requests, canary against stable."""

    metric = "errors"
    required = True

    def __init__(self, setting: Setting) -> None:
        inner, outer = setting.plan.errors.tolerated, setting.plan.errors.never_accept
        lines = Lines(inner.factor, inner.plus, outer.factor, outer.plus)
        history = setting.known.errors if setting.known else None
        self.compare = Compare(lines, setting.dt, setting.planned, history)
        self.sums = [0, 0, 0, 0]

    def fold(self, seen: Seen) -> None:
        self.sums = [have + more for have, more in zip(self.sums, seen.errors, strict=True)]
        self.compare.fold(*seen.errors)

    def idle(self, ticks: int) -> None:
        self.compare.idle(ticks)

    def new_weight(self, percent: int) -> None:
        self.compare.new_weight()

    @property
    def evidence(self) -> float:
        return self.compare.evidence

    @property
    def proof(self) -> float:
        return self.compare.promote_evidence

    @property
    def phi(self) -> float:
        return self.compare.dispersion.phi

    def story(self) -> str:
        xc, nc, xb, nb = self.sums
        return f"{share(xc, nc)} of canary requests failed against {share(xb, nb)} on stable"

    def proving(self) -> tuple[Lines, float, int]:
        return self.compare.lines, self.compare.guess.b1, self.sums[1]

    def limit(self) -> str:
        lines = self.compare.lines
        return f"you tolerate {percent(min(lines.rho * self.compare.guess.b1 + lines.delta, 1.0))}"


class Guard(Kind):
    """An absolute limit on a share of requests. Where stable misses it before anything is known, it is off.

    `twin`: the same test on stable's counts; `exact`: counts for the proof, where they differ from those that stop.
    """

    required = True

    def __init__(self, setting: Setting, most: float) -> None:
        self.most = most
        self.stop, self.twin = self._compare(setting), self._compare(setting)
        self.exact = self.stop
        self.sums = [0, 0, 0, 0]
        self.asked = False
        self.state = NOT_TOLD

    def _compare(self, setting: Setting) -> Compare:
        return Compare(Lines(0.0, self.most, 0.0, self.most), setting.dt, setting.planned)

    @abstractmethod
    def counts(self, seen: Seen) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]] | None:
        """(xc, nc, xb, nb) for stopping and for the proof; None = not seen."""

    def fold(self, seen: Seen) -> None:
        found = self.counts(seen)
        if found is None or self.state.startswith("off"):
            self.idle(1)
            return
        self.state = ""
        (xc, nc, xb, nb), proof = found
        self.sums = [have + more for have, more in zip(self.sums, (xc, nc, xb, nb), strict=True)]
        self.stop.fold(xc, nc, xb, nb)
        self.twin.fold(xb, nb, xc, nc)
        if self.exact is not self.stop:
            self.exact.fold(*proof)
        if not self.asked and self.sums[3] >= ENOUGH:
            self.asked = True
            if self.sums[2] > self.most * self.sums[3]:
                self.state = f"off: stable itself misses it ({share(self.sums[2], self.sums[3])})"
                self.required = False

    def idle(self, ticks: int) -> None:
        for compare in {self.stop, self.twin, self.exact}:
            compare.idle(ticks)

    @property
    def evidence(self) -> float:
        return 1.0 if self.state.startswith("off") else self.stop.evidence

    @property
    def proof(self) -> float:
        return self.exact.promote_evidence

    @property
    def phi(self) -> float:
        return self.stop.dispersion.phi

    def excused(self, threshold: float) -> bool:
        return self.twin.evidence >= threshold

    def proving(self) -> tuple[Lines, float, int]:
        return self.exact.lines, min(self.exact.guess.b1, self.most / 2), self.sums[1]

    def limit(self) -> str:
        return f"your absolute limit is {percent(self.most)}"


class SloErrors(Guard):
    """The share of failed requests."""

    metric = "slo_errors"

    def counts(self, seen: Seen) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
        return seen.errors, seen.errors

    def story(self) -> str:
        xc, nc, xb, nb = self.sums
        return f"{share(xc, nc)} of canary requests failed against {share(xb, nb)} on stable"


class SloLatency(Guard):
    """The share of answers slower than a limit: the first edge from it on stops, the last one up to it proves."""

    metric = "slo_latency"

    def __init__(self, setting: Setting, milliseconds: float, most: float) -> None:
        super().__init__(setting, most)
        self.ms = milliseconds
        self.beyond = next(k for k in range(1000) if edge(k) >= milliseconds)
        self.below = self.beyond if edge(self.beyond) == milliseconds else self.beyond - 1
        if self.below != self.beyond:
            self.exact = self._compare(setting)

    def counts(self, seen: Seen) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]] | None:
        c, b = seen.canary, seen.stable
        if c.latency is None and b.latency is None:
            return None
        return (*c.slower(self.beyond), *b.slower(self.beyond)), (*c.slower(self.below), *b.slower(self.below))

    def story(self) -> str:
        xc, nc, xb, nb = self.sums
        return f"{share(xc, nc)} of canary answers took longer than {self.ms:g} ms against {share(xb, nb)} on stable"


class Slower(Kind):
    """Answers slower than a few edges that come from stable's own past: from history, or from its first answers."""

    metric = "latency"

    def __init__(self, setting: Setting) -> None:
        self.setting, self.left = setting, setting.planned
        self.latency: Latency | None = None
        self.learnt: dict[int, int] = {}
        self.last: list[tuple[int, int]] = []
        self.sums: list[list[int]] = []
        self.state = NOT_TOLD
        known = setting.known
        if known and sum(count for _, count in known.latency) >= ENOUGH:
            self._begin(dict(known.latency), known.latency_phi0)

    def _begin(self, counts: dict[int, int], phi0: tuple[tuple[float, float, float], ...] | None) -> None:
        margin = self.setting.plan.slower or (MARGIN_KNOWN if phi0 else MARGIN_UNKNOWN)
        edges = latency.choose(latency.slower_than(counts), margin, SLACK)
        if phi0 and len(phi0) != len(edges):
            phi0 = None
        self.margin, self.learnt = margin, {}
        self.latency = Latency(edges, self.setting.dt, max(self.left, 1), sum(counts.values()), phi0)
        self.last = [(bucket(one.canary_ms), bucket(one.ms)) for one in edges]
        self.sums = [[0, 0, 0, 0] for _ in edges]

    def fold(self, seen: Seen) -> None:
        c, b = seen.canary, seen.stable
        self.left -= 1
        if c.latency is None and b.latency is None:
            self._still(1)
            return
        if self.latency is None:
            for k, count in (b.latency or {}).items():
                self.learnt[k] = self.learnt.get(k, 0) + count
            self.state = f"learning: {sum(self.learnt.values())} of {ENOUGH} answers of stable"
            if sum(self.learnt.values()) >= ENOUGH:
                self._begin(self.learnt, None)
            return
        self.state = ""
        canary, stable = [c.slower(k) for k, _ in self.last], [b.slower(k) for _, k in self.last]
        for sums, one, (k, _) in zip(self.sums, canary, self.last, strict=True):
            sums[:] = [have + more for have, more in zip(sums, (*one, *b.slower(k)), strict=True)]
        self.latency.fold([x for x, _ in canary], canary[0][1], [x for x, _ in stable], stable[0][1])

    def idle(self, ticks: int) -> None:
        self.left -= ticks
        self._still(ticks)

    def _still(self, ticks: int) -> None:
        if self.latency:
            self.latency.idle(ticks)

    def new_weight(self, percent: int) -> None:
        if self.latency:
            self.latency.new_weight()

    @property
    def evidence(self) -> float:
        return self.latency.evidence if self.latency else 1.0

    @property
    def phi(self) -> float:
        return max((c.dispersion.phi for c in self.latency.compares), default=1.0) if self.latency else 1.0

    def story(self) -> str:
        if not self.latency:
            return "no latency was seen"
        worst = self.latency.worst
        xc, nc, xb, nb = self.sums[worst]
        ms = self.latency.edges[worst].canary_ms
        return f"{share(xc, nc)} of canary answers took longer than {ms:.3g} ms against {share(xb, nb)} on stable"

    def limit(self) -> str:
        return f"you tolerate {percent(self.margin)} slower, at least {SLACK:g} ms" if self.latency else "no limit yet"


class Business(Kind):
    """Good business calls per request must not fall."""

    metric = "volume"

    def __init__(self, setting: Setting) -> None:
        self.least = setting.plan.volume or 0.0
        self.volume = Volume(
            self.least, setting.dt, setting.planned, setting.known.volume_phi0 if setting.known else None
        )
        self.sums = [0, 0, 0, 0]
        self.state = "not seen: no business calls were told"

    def fold(self, seen: Seen) -> None:
        c, b = seen.canary, seen.stable
        counts = (c.business or 0, c.business_of, b.business or 0, b.business_of)
        if c.business is None and b.business is None:
            self.volume.idle(1)
            return
        self.state = ""
        self.sums = [have + more for have, more in zip(self.sums, counts, strict=True)]
        self.volume.fold(*counts)

    def idle(self, ticks: int) -> None:
        self.volume.idle(ticks)

    @property
    def evidence(self) -> float:
        return self.volume.evidence

    @property
    def phi(self) -> float:
        return self.volume.dispersion.phi

    def story(self) -> str:
        yc, nc, yb, nb = self.sums
        return (
            f"{share(yc, nc)} of canary requests were good business calls against {share(yb, nb)} on stable: "
            "users get less done"
        )

    def limit(self) -> str:
        return f"you tolerate no less than {percent(self.least)} of stable's share"


class TrafficShare(Kind):
    """The canary must get the share of requests that the weight gives it."""

    metric = "share"

    def __init__(self, setting: Setting) -> None:
        self.least = setting.plan.traffic_share or 0.0
        self.volume = Volume(
            self.least, setting.dt, setting.planned, setting.known.share_phi0 if setting.known else None
        )
        self.weight = 0
        self.sums = [0, 0]

    def fold(self, seen: Seen) -> None:
        nc, nb, weight = seen.canary.total, seen.stable.total, self.weight
        self.sums = [self.sums[0] + nc, self.sums[1] + nb]
        exposures = (weight * 1e4, (100 - weight) * 1e4) if nc + nb else (0.0, 0.0)
        self.volume.fold(nc, exposures[0], nb, exposures[1])

    def idle(self, ticks: int) -> None:
        self.volume.idle(ticks)

    def new_weight(self, percent: int) -> None:
        self.weight, self.sums = percent, [0, 0]

    @property
    def evidence(self) -> float:
        return self.volume.evidence

    @property
    def phi(self) -> float:
        return self.volume.dispersion.phi

    def story(self) -> str:
        return f"the canary got {share(self.sums[0], sum(self.sums))} of users' requests where {self.weight} % was set"

    def limit(self) -> str:
        return f"you tolerate no less than {percent(self.least)} of that"


class Level(Kind):
    """A gauge by blocks: canary against stable. How much it wanders comes from history, or from stable's own blocks.

    An absolute limit of the plan needs no history at all.
    """

    floor: ClassVar[float]

    def __init__(self, setting: Setting, limits: GaugeLimits) -> None:
        self.limits = limits
        self.block = max(4, round(setting.plan.block.total_seconds() / setting.dt))
        self.wait = round(setting.plan.warm_up.total_seconds() / setting.dt)
        self.left = setting.planned - self.wait
        self.gauge: Gauge | None = None
        self.own: list[float] = []
        self.part = (Block(), Block())
        self.ticks = self.strikes = 0
        self.ratio = 0.0
        self.blocks = 0
        self.source = ""
        self.state = NOT_TOLD
        pairs, own = self.past(setting.known) if setting.known else ((), ())
        for blocks, both, told in ((pairs, True, "earlier releases"), (own, False, "stable's own earlier blocks")):
            found = gauge.spread(blocks, self.floor, pairs=both)
            if found and not self.gauge:
                self._begin(found, told)

    @abstractmethod
    def past(self, known: ServiceHistory) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(ln ratios of equal arms, ln levels of stable alone), a block each."""

    @abstractmethod
    def reading(self, side: Side) -> Reading | None:
        """What a tick adds to the block; None = not seen."""

    @abstractmethod
    def absolute(self, side: Side) -> float | None:
        """The canary's value, in the unit of the plan's absolute limit."""

    @abstractmethod
    def shown(self, value: float) -> str:
        """Such a value in words."""

    def _begin(self, spread: float, source: str) -> None:
        self.source = source
        self.gauge = Gauge(self.limits.more, spread, max(self.left // self.block, 1))

    def fold(self, seen: Seen) -> None:
        self._strike(seen.canary)
        self.wait -= 1
        if self.wait >= 0:
            return
        self.left -= 1
        self.ticks += 1
        for block, side in zip(self.part, (seen.canary, seen.stable), strict=True):
            block.add(self.reading(side))
        if self.ticks >= self.block:
            self._close()

    def _strike(self, canary: Side) -> None:
        value, most = self.absolute(canary), self.limits.most
        if most is None or value is None:
            return
        self.strikes = self.strikes + 1 if value > most else 0
        if self.strikes >= STRIKES:
            self.tripped = (
                f"the canary's {self.metric} is {self.shown(value)} for {STRIKES} ticks in a row; your absolute limit "
                f"is {self.shown(most)}"
            )

    def _close(self) -> None:
        canary, stable = levels(*self.part)
        self.part, self.ticks = (Block(), Block()), 0
        if stable is None:
            return
        if self.gauge is None:
            self.own.append(math.log(stable))
            self.state = f"learning: {len(self.own)} of {OWN_BLOCKS} blocks of stable"
            found = gauge.spread(self.own, self.floor, pairs=False)
            if found and len(self.own) >= OWN_BLOCKS:
                self._begin(found, "stable's own blocks of this release")
            return
        self.state = ""
        if canary:
            self.ratio, self.blocks = canary / stable, self.blocks + 1
        self.gauge.fold(math.log(canary / stable) if canary else None)

    def idle(self, ticks: int) -> None:
        nothing = Seen(Side(), Side())
        for _ in range(ticks):
            self.fold(nothing)

    @property
    def evidence(self) -> float:
        return self.gauge.evidence if self.gauge else 1.0

    def story(self) -> str:
        return f"{self.metric} of the canary is {times(self.ratio)} stable's (last of {self.blocks} blocks)"

    def limit(self) -> str:
        return f"you tolerate {percent(self.limits.more)} more; how much it wanders is from {self.source}"


class Cpu(Level):
    """CPU seconds per request."""

    metric = "cpu"
    floor = 0.03

    def __init__(self, setting: Setting, limits: GaugeLimits) -> None:
        super().__init__(setting, limits)
        self.dt = setting.dt

    def past(self, known: ServiceHistory) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return known.cpu, known.cpu_own

    def reading(self, side: Side) -> Reading | None:
        return side.cpu_reading(self.dt)

    def absolute(self, side: Side) -> float | None:
        return None if side.cpu is None else side.cpu / self.dt

    def shown(self, value: float) -> str:
        return f"{value:.2g} of a core"


class Memory(Level):
    """Resident bytes per instance: level, and with history of promoted releases also slope; E is the mean of both."""

    metric = "memory"
    floor = 0.01

    def __init__(self, setting: Setting, limits: GaugeLimits) -> None:
        super().__init__(setting, limits)
        self.dt, self.scrape, self.age = setting.dt, max(1, self.block // 4), 0
        noise = setting.known.memory_noise if setting.known else None
        self.leak = Leak(*noise) if noise else None
        self.fine = (Block(), Block())

    def fold(self, seen: Seen) -> None:
        super().fold(seen)
        if self.wait >= 0 or not self.leak:
            return
        self.age += 1
        for block, side in zip(self.fine, (seen.canary, seen.stable), strict=True):
            block.add(self.reading(side))
        if self.age % self.scrape == 0:
            canary, stable = levels(*self.fine)
            self.fine = (Block(), Block())
            self.leak.fold(math.log(canary / stable) if canary and stable else None, self.age * self.dt / 60)

    @property
    def evidence(self) -> float:
        level = super().evidence
        return (level + self.leak.evidence) / 2 if self.leak else level

    def past(self, known: ServiceHistory) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return known.memory, known.memory_own

    def reading(self, side: Side) -> Reading | None:
        return side.memory_reading()

    def absolute(self, side: Side) -> float | None:
        return side.memory

    def shown(self, value: float) -> str:
        return f"{value / 1e6:.0f} MB"


WEIGHTS = {
    "errors": 0.30,
    "latency": 0.20,
    "slo_errors": 0.15,
    "slo_latency": 0.10,
    "volume": 0.10,
    "share": 0.05,
    "cpu": 0.05,
    "memory": 0.05,
}
"""Of a metric within its service (judge.md section 6)."""


def kinds(setting: Setting, *, business: bool, sticky: bool) -> list[Kind]:
    """The metrics that the plan asks for. With sticky users requests do not follow the weight."""
    plan = setting.plan
    found: list[Kind] = [Errors(setting)]
    if plan.slower != 0:
        found.append(Slower(setting))
    if plan.slo.errors is not None:
        found.append(SloErrors(setting, plan.slo.errors))
    if plan.slo.slower_than is not None:
        found.append(SloLatency(setting, plan.slo.slower_than.total_seconds() * 1000, plan.slo.share))
    if plan.volume is not None and business:
        found.append(Business(setting))
    if plan.traffic_share is not None and not sticky:
        found.append(TrafficShare(setting))
    if plan.cpu is not None:
        found.append(Cpu(setting, plan.cpu))
    if plan.memory is not None:
        found.append(Memory(setting, plan.memory))
    return found
