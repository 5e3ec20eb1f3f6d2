"""Raw cumulative counts become increments: resets, gaps and nonsense are settled here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from onlyvips_release.core.judge.numbers import sound
from onlyvips_release.core.model import Series

NAMES = 64
"""Instances remembered per arm at least; of older ones, the longest unseen is forgotten (memory stays constant)."""


FREE_CPU = 0.02
"""Share of a core that a process may use without requests."""

Reading = tuple[float, float, float]
"""What a tick adds to a gauge's block: amount, per, and the least amount that is told from nothing."""


@dataclass(slots=True)
class Side:
    """One arm of one service in one tick. None: nobody saw it.

    `latency`: answers by log bucket; `business` good business calls out of `business_of` requests; `cpu`: seconds used;
    `memory`: bytes per instance.
    """

    bad: int = 0
    total: int = 0
    latency: dict[int, int] | None = None
    business: int | None = None
    business_of: int = 0
    cpu: float | None = None
    memory: float | None = None

    def slower(self, last: int) -> tuple[int, int]:
        """(answers in a bucket beyond `last`, all)."""
        counts = self.latency or {}
        return sum(count for k, count in counts.items() if k > last), sum(counts.values())

    def cpu_reading(self, dt: float) -> Reading | None:
        """Seconds of CPU per request in a tick of `dt` s; what a process costs without requests is not counted."""
        free = FREE_CPU * dt
        return None if self.cpu is None else (self.cpu - free, self.total, free)

    def memory_reading(self) -> Reading | None:
        """Bytes."""
        return None if self.memory is None else (self.memory, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Seen:
    """Both arms of one service in one tick."""

    canary: Side
    stable: Side

    @property
    def errors(self) -> tuple[int, int, int, int]:
        """(xc, nc, xb, nb)."""
        return self.canary.bad, self.canary.total, self.stable.bad, self.stable.total


@dataclass(slots=True)
class Ingest:
    """Increments of one source. `last`: (service, arm) -> instance -> what was seen of it last, kind by kind."""

    last: dict[tuple[str, str], dict[str, Known]] = field(default_factory=dict)

    def take(self, service: str, arm: str, series: Iterable[Series]) -> Side:
        """What happened since the last call, summed over instances.

        The first value of a name is a baseline. Same name with a new start, or a smaller value, is a reset: the
        increment is the new value. What is not a finite count >= 0 is skipped, and the next increment carries it.
        """
        known, fresh = self.last.setdefault((service, arm), {}), dict[str, Known]()
        side, memory = Side(), []
        for one in series:
            if one.name in fresh or not (sound(one.good) and sound(one.bad)):
                continue
            before = known.pop(one.name, None)
            fresh[one.name] = before.add(one, side) if before else Known.of(one)
            if sound(one.memory):
                memory.append(float(one.memory or 0))
        if memory:
            side.memory = sum(memory) / len(memory)
        while known and len(known) + len(fresh) > NAMES:
            del known[next(iter(known))]
        known.update(fresh)
        return side

    def heard(self, service: str, arm: str) -> bool:
        """Whether any count of this arm ever came."""
        return bool(self.last.get((service, arm)))


@dataclass(frozen=True, slots=True)
class Known:
    """Last values of one instance.

    `asked`: what the business calls are a share of, as of when `business` was seen last: answers with a latency where
    that is told (both are then read from the same record), else all requests.
    """

    start: str
    good: int
    bad: int
    latency: Mapping[int, int] | None = None
    business: int | None = None
    asked: int = 0
    cpu: float | None = None

    @classmethod
    def of(cls, one: Series) -> Known:
        """A baseline."""
        business, latency = (one.business if sound(one.business) else None), buckets(one.latency)
        asked = int(one.good) + int(one.bad) if latency is None else sum(latency.values())
        cpu = one.cpu if sound(one.cpu) else None
        return cls(one.start, int(one.good), int(one.bad), latency, business, asked, cpu)

    def add(self, one: Series, side: Side) -> Known:
        """Book the increments since then; the new last values."""
        old, new = self, Known.of(one)
        if one.start != old.start or new.good < old.good or new.bad < old.bad:
            old = Known(one.start, 0, 0, {} if old.latency is not None else None, old.business and 0, 0, old.cpu)
        side.bad += new.bad - old.bad
        side.total += new.bad - old.bad + new.good - old.good
        if new.latency is None:
            new = replace(new, latency=old.latency)
        elif old.latency is not None:
            side.latency = side.latency if side.latency is not None else {}
            for k, count in new.latency.items():
                more = count - old.latency.get(k, 0)
                if more:
                    side.latency[k] = side.latency.get(k, 0) + (more if more > 0 else count)
        if new.business is None:
            new = replace(new, business=old.business, asked=old.asked)
        elif old.business is not None:
            more = new.business - old.business
            side.business = (side.business or 0) + (more if more >= 0 else new.business)
            side.business_of += new.asked - old.asked
        if new.cpu is None:
            new = replace(new, cpu=old.cpu)
        elif old.cpu is not None:
            side.cpu = (side.cpu or 0.0) + (new.cpu - old.cpu if new.cpu >= old.cpu else new.cpu)
        return new


def buckets(pairs: Iterable[tuple[int, int]] | None) -> dict[int, int] | None:
    """Counts by bucket; what is no count is left out."""
    if pairs is None:
        return None
    return {int(k): int(count) for k, count in pairs if sound(k) and sound(count)}
