"""A world in memory that implements every port: a 30-minute release in a second, for tests, dry runs and docs.

Users arrive at a rate per service, are split by the weight in force, and fail with a probability per service and
revision that may change over time. `World.on_call` is told of every port call before it happens and may raise.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from onlyvips_release.core.events import Event
from onlyvips_release.core.judge.buckets import bucket
from onlyvips_release.core.model import (
    Arm,
    Counters,
    Endpoint,
    Instance,
    Percent,
    Probe,
    Request,
    Series,
    SuiteResult,
    Verdict,
)
from onlyvips_release.core.plan import ReleasePlan, Revision
from onlyvips_release.core.ports import Claim, Ports, SuiteRequest
from onlyvips_release.errors import LeaseHeld, LeaseLost, NotReady, Unavailable

ErrorRate = Callable[[str, str, float], float]
"""(service, revision, seconds since the start) -> probability that a user's request fails."""


@dataclass
class World:
    """Everything that the ports act on. `rps`: users' requests per second and service, `milliseconds` each takes."""

    plan: ReleasePlan
    rps: float = 10.0
    error_rate: ErrorRate = lambda service, revision, at: 0.0
    milliseconds: float = 20.0
    seed: int = 0
    on_call: Callable[[str], None] = lambda name: None
    time: float = 0.0
    weight: Percent = 0
    router_up: bool = True
    arms: dict[Arm, dict[str, list[Endpoint]]] = field(default_factory=lambda: {arm: {} for arm in Arm})
    instances: dict[str, list[Instance]] = field(default_factory=dict)
    counts: dict[tuple[str, Arm], list[int]] = field(default_factory=dict)
    counted_until: float = 0.0
    epoch: int = 0
    journal: list[Event] = field(default_factory=list)
    smoke: Callable[[SuiteRequest], Verdict] = lambda request: Verdict.PASS
    requests: list[Request] = field(default_factory=list)
    never_ready: set[str] = field(default_factory=set)
    dies_at_start: set[tuple[str, str]] = field(default_factory=set)
    born: int = 0
    fence: int = 0
    safe_weight: int = 0
    released: bool = True
    holder_alive: bool = False
    what: str = ""
    deadline: float = 0.0
    guarded: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        for service in self.plan.services:
            assert service.stable is not None
            instance = self.spawn(service.name, Arm.STABLE, service.stable.name)
            self.instances[service.name] = [instance]
            self.arms[Arm.STABLE][service.name] = [instance.endpoint] if instance.endpoint else []

    def call(self, name: str) -> None:
        """Every port call passes here first."""
        self.on_call(name)

    def spawn(self, service: str, arm: Arm, revision: str) -> Instance:
        """A new living instance."""
        self.born += 1
        routed = any(s.name == service for s in self.plan.routed)
        endpoint = Endpoint("127.0.0.1", 20000 + self.born, revision) if routed else None
        return Instance(service, arm, revision, f"instance {self.born}", True, endpoint, self.born)

    def kill(self, service: str, arm: Arm) -> None:
        """One instance dies."""
        self.instances[service] = [replace(i, alive=i.alive and i.arm is not arm) for i in self.instances[service]]

    def pass_time(self, seconds: float) -> None:
        """Users go on while the tool waits."""
        self.time += seconds
        if self.router_up:
            elapsed = self.time - self.counted_until
            for service in self.plan.routed:
                self._count(service.name, elapsed)
        self.counted_until = self.time

    def _count(self, service: str, elapsed: float) -> None:
        for arm, share in ((Arm.CANARY, self.weight / 100), (Arm.STABLE, 1 - self.weight / 100)):
            where = self.arms[arm].get(service) or []
            requests = poisson(self.random, self.rps * elapsed * share) if where else 0
            rate = self.error_rate(service, where[0].revision, self.time) if where else 0.0
            bad = binomial(self.random, requests, rate)
            good, failed = self.counts.get((service, arm), [0, 0])
            self.counts[service, arm] = [good + requests - bad, failed + bad]

    def restart_router(self) -> None:
        """The router dies and comes back: its counters start again."""
        self.counts.clear()
        self.epoch += 1
        self.router_up = True

    def ports(self) -> Ports:
        """All ports over this world, with the lease taken."""
        lease = SimLease(self)
        lease.acquire("run")
        return self.ports_of(lease)

    def ports_of(self, lease: SimLease) -> Ports:
        """All ports of who has this lease, or may take it."""
        return Ports(
            router=SimRouter(self, lease),
            workloads={service.name: SimWorkload(self, service.name) for service in self.plan.services},
            source=SimSource(self),
            prober=SimProber(self),
            checks=SimChecks(self),
            journal=SimJournal(self),
            lease=lease,
            guardian=SimGuardian(self),
            notifier=SimNotifier(),
            operator=SimOperator(self),
            clock=SimClock(self),
        )


@dataclass
class SimClock:
    """Virtual time."""

    world: World

    def now(self) -> datetime:
        """Virtual wall clock."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.world.time)

    def monotonic(self) -> float:
        """Virtual seconds."""
        return self.world.time

    def sleep(self, seconds: float) -> None:
        """Nothing waits; the world goes on."""
        self.world.call("clock.sleep")
        self.world.pass_time(seconds)


@dataclass
class SimRouter:
    """Weights and endpoints in memory. `lease`: whose claim every write needs, None = nobody's."""

    world: World
    lease: SimLease | None = None

    def point(self, arm: Arm, endpoints: Mapping[str, Sequence[Endpoint]]) -> None:
        """At once."""
        self.world.call("router.point")
        self._mine()
        self._up()
        self.world.arms[arm].update({name: list(where) for name, where in endpoints.items()})

    def set_weight(self, percent: Percent) -> None:
        """At once."""
        self.world.call("router.set_weight")
        self._mine()
        if percent > self.world.weight:
            self._up()
        self.world.weight = percent
        self._up()

    def brace(self) -> None:
        """Nothing is needed, no claim either: a guardian that stands by has none yet."""
        self.world.call("router.brace")

    def by_hand(self, percent: int) -> str:
        """In words."""
        return f"put {percent} % in force by hand"

    def read_weight(self) -> Percent:
        """As it is."""
        self.world.call("router.read_weight")
        self._up()
        return self.world.weight

    def reset(self) -> None:
        """Weight 0."""
        self.world.call("router.reset")
        self._mine()
        self._up()
        self.world.weight = 0

    def revive(self) -> tuple[str, ...]:
        """Back at once, with counters at zero."""
        self.world.call("router.revive")
        if self.world.router_up:
            return ()
        self.world.restart_router()
        return ("router",)

    def _mine(self) -> None:
        if self.lease:
            self.lease.check()

    def _up(self) -> None:
        if not self.world.router_up:
            raise Unavailable("the router does not answer")


@dataclass
class SimWorkload:
    """Instances in memory, with the roles of the process workload."""

    world: World
    service: str

    def inspect(self) -> tuple[Instance, ...]:
        """All that were started."""
        return tuple(self.world.instances[self.service])

    def start_canary(self, revision: Revision, size: int = 1) -> tuple[Instance, ...]:
        """At once, unless the world says never."""
        self.world.call(f"workload.start_canary {self.service}")
        if self.service in self.world.never_ready:
            raise NotReady(f"{self.service}: was not ready in 30 s")
        mine = self.world.instances[self.service]
        found = [i for i in mine if i.revision == revision.name and i.alive]
        if not found:
            found = [self.world.spawn(self.service, Arm.CANARY, revision.name)]
            self.world.instances[self.service] = [i for i in mine if i.arm is Arm.STABLE] + found
        return tuple(found)

    def promote(self, revision: Revision) -> tuple[Instance, ...]:
        """Roles change; a service without traffic is replaced."""
        self.world.call(f"workload.promote {self.service}")
        mine = self.world.instances[self.service]
        if not any(i.endpoint for i in mine) and not any(i.revision == revision.name and i.alive for i in mine):
            mine = [self.world.spawn(self.service, Arm.STABLE, revision.name)]
            if (self.service, revision.name) in self.world.dies_at_start:
                self.world.instances[self.service] = [replace(mine[0], alive=False)]
                raise NotReady(f"{self.service}: {revision.name} exited before it became ready")
        if not any(i.revision == revision.name and i.alive for i in mine):
            raise NotReady(f"{self.service}: no living instance of {revision.name} to promote")
        roles = [replace(i, arm=Arm.STABLE if i.revision == revision.name else Arm.CANARY) for i in mine]
        self.world.instances[self.service] = roles
        return tuple(i for i in roles if i.arm is Arm.STABLE)

    def remove_canary(self, spare: str = "") -> None:
        """All but stable (and the spare revision) is gone."""
        self.world.call(f"workload.remove_canary {self.service}")
        mine = self.world.instances[self.service]
        self.world.instances[self.service] = [i for i in mine if i.arm is Arm.STABLE or i.revision == spare]

    def revive(self) -> tuple[str, ...]:
        """A dead stable instance is replaced by a new one at the same place."""
        self.world.call(f"workload.revive {self.service}")
        mine, revived = self.world.instances[self.service], []
        for instance in [i for i in mine if i.arm is Arm.STABLE and not i.alive]:
            new = self.world.spawn(self.service, Arm.STABLE, instance.revision)
            mine[mine.index(instance)] = replace(new, endpoint=instance.endpoint)
            revived.append(f"{self.service} {instance.revision}")
        return tuple(revived)


@dataclass
class SimSource:
    """Counts of the world's users."""

    world: World

    def sample(self) -> Counters:
        """Cumulative since the router began."""
        self.world.call("source.sample")
        if not self.world.router_up:
            raise Unavailable("the router does not answer")
        return {s.name: {arm: (self._series(s.name, arm),) for arm in Arm} for s in self.world.plan.routed}

    def _series(self, service: str, arm: Arm) -> Series:
        good, bad = self.world.counts.get((service, arm), [0, 0])
        latency = ((bucket(self.world.milliseconds), good + bad),) if good + bad else ()
        return Series(f"{service} {arm}", f"epoch {self.world.epoch}", good, bad, latency)


@dataclass
class SimProber:
    """Pinned requests answer as the endpoints say."""

    world: World

    def probe(self, arm: Arm, count: int) -> tuple[Probe, ...]:
        """200 from a living instance, 503 else."""
        self.world.call("prober.probe")
        return tuple(self._one(arm, service.name) for service in self.world.plan.routed for _ in range(min(count, 2)))

    def _one(self, arm: Arm, service: str) -> Probe:
        where = self.world.arms[arm].get(service) or []
        alive = {i.endpoint for i in self.world.instances[service] if i.alive}
        if not where or where[0] not in alive:
            return Probe(service, 503)
        return Probe(service, 200, arm, where[0].revision)


@dataclass
class SimRun:
    """A suite that ends at once."""

    result: SuiteResult

    def poll(self) -> SuiteResult | None:
        """Ended."""
        return self.result

    def stop(self) -> None:
        """Ended."""


@dataclass
class SimChecks:
    """Suites say what the world's `smoke` says."""

    world: World

    def start(self, request: SuiteRequest) -> SimRun:
        """Begin and end."""
        self.world.call(f"checks.start {request.name} {request.arm}")
        verdict = self.world.smoke(request)
        return SimRun(SuiteResult(request.name, request.arm, request.weight, verdict, f"simulated {verdict}", 1, 1))


@dataclass
class SimJournal:
    """A list."""

    world: World

    def append(self, event: Event) -> None:
        """Kept."""
        self.world.call(f"journal.append {type(event).__name__}")
        self.world.journal.append(event)

    def read(self) -> Iterator[Event]:
        """All of it."""
        return iter(self.world.journal)


@dataclass
class SimLease:
    """The claim of one holder on the world; its heartbeat is as good as its deadline."""

    world: World
    fence: int = 0
    first: tuple[int, int] | None = None

    SECONDS = 15.0

    def acquire(self, what: str) -> int:
        """Waits a silent claim out; time passes meanwhile."""
        self.world.call("lease.acquire")
        self.first = None
        while (found := self.look()) and not (found.released or found.expired):
            if found.renewed:
                raise LeaseHeld(f"held by {found.who}")
            self.world.pass_time(1.0)
        world = self.world
        world.fence += 1
        self.fence, world.what, world.released, world.holder_alive = world.fence, what, False, True
        world.deadline = world.time + 60
        return self.fence

    def renew(self, within: timedelta, safe_weight: int) -> None:
        """Noted."""
        self.world.call("lease.renew")
        self.check()
        self.world.deadline = self.world.time + within.total_seconds()
        self.world.safe_weight = safe_weight

    def look(self) -> Claim | None:
        """Silent since the deadline, or dead."""
        world = self.world
        if not world.fence:
            return None
        silent = world.time - world.deadline
        mark = (world.fence, 0 if silent > 0 else int(world.time))
        self.first = self.first or mark
        expired = not world.holder_alive or silent >= self.SECONDS
        return Claim(
            world.fence, world.what, world.what, world.safe_weight, world.released, expired, mark != self.first
        )

    def stand_by(self, fence: int, what: str) -> None:
        """Nothing is needed."""
        self.world.call("lease.stand_by")

    def release(self) -> None:
        """Given back."""
        self.world.call("lease.release")
        if self.fence and self.fence == self.world.fence:
            self.world.released, self.fence = True, 0

    def check(self) -> None:
        """Raises LeaseLost when somebody else took over."""
        if self.fence != self.world.fence:
            raise LeaseLost("the claim was taken over")


@dataclass
class SimGuardian:
    """Notes that it was started: a test runs `guardian.guard` over this world when the controller is dead."""

    world: World

    def start(self) -> str:
        """Watches the fence of now."""
        self.world.call("guardian.start")
        told = "" if self.world.guarded == self.world.fence else "a guardian watches"
        self.world.guarded = self.world.fence
        return told

    def stop(self) -> None:
        """It ended."""


class SimNotifier:
    """Nobody to tell."""

    def notify(self, event: Event) -> None:
        """Dropped."""


@dataclass
class SimOperator:
    """What a test asks for."""

    world: World

    def pending(self) -> Request | None:
        """In order."""
        return self.world.requests.pop(0) if self.world.requests else None


def poisson(source: random.Random, mean: float) -> int:
    """A Poisson number: by waiting times when small, by the normal approximation above 50."""
    if mean > 50:
        return max(0, round(source.gauss(mean, math.sqrt(mean))))
    count, total = 0, source.expovariate(1.0)
    while total < mean:
        count, total = count + 1, total + source.expovariate(1.0)
    return count


def binomial(source: random.Random, trials: int, share: float) -> int:
    """Successes in `trials`: exact for few expected successes (geometric gaps), normal above 50 of both kinds."""
    if share <= 0 or trials <= 0:
        return 0
    if share >= 1:
        return trials
    if share > 0.5:
        return trials - binomial(source, trials, 1 - share)
    if trials * share > 50:
        return min(trials, max(0, round(source.gauss(trials * share, math.sqrt(trials * share * (1 - share))))))
    count, position = 0, 0
    while (position := position + 1 + int(math.log(1 - source.random()) / math.log1p(-share))) <= trials:
        count += 1
    return count
