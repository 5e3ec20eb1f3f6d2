"""The metrics over requests: failures, latency, good business calls, and the share of the traffic."""

from __future__ import annotations

from abc import abstractmethod

from onlyvips_release.core.judge import latency
from onlyvips_release.core.judge.buckets import bucket, edge
from onlyvips_release.core.judge.compare import Compare, Lines
from onlyvips_release.core.judge.ingest import Seen
from onlyvips_release.core.judge.latency import Latency
from onlyvips_release.core.judge.metric import ENOUGH, NOT_TOLD, Kind, Setting
from onlyvips_release.core.judge.sentences import percent, share
from onlyvips_release.core.judge.volume import Volume

MARGIN_KNOWN, MARGIN_UNKNOWN = 0.10, 0.25
"""How much slower is tolerated with dispersion from history, and without."""

SLACK = 5.0
"""Milliseconds that nobody feels: where answers take less than one, 25 % of that says nothing."""


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
