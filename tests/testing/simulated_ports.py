"""Every port over the simulated world (`tests.testing.simulation`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from onlyvips_release.core.events import Event, Requested
from onlyvips_release.core.judge.buckets import bucket
from onlyvips_release.core.model import (
    Arm,
    Instance,
    Percent,
    Probe,
    Sample,
    Series,
    SuiteResult,
    Verdict,
)
from onlyvips_release.core.plan import Revision
from onlyvips_release.core.ports import Claim, Endpoints, SuiteRequest
from onlyvips_release.errors import LeaseHeld, LeaseLost, NotReady, Unavailable
from tests.testing.simulation import World


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

    def point(self, arm: Arm, endpoints: Endpoints) -> None:
        """At once."""
        self.world.control("router.point")
        self._mine()
        self._up()
        for name, where in endpoints.items():
            before = self.world.where(arm, name)
            self.world.arms[arm][name] = list(where)
            self.world.drain([endpoint for endpoint in before if endpoint not in where])

    def points_at(self, arm: Arm) -> Endpoints | None:
        """As pointed; None where it selects instances by itself."""
        return (
            None
            if self.world.traits.scales
            else {s.name: self.world.where(arm, s.name) for s in self.world.plan.routed}
        )

    def set_weight(self, weight: Percent) -> None:
        """At once."""
        self.world.control("router.set_weight")
        self._mine()
        if weight > self.world.weight:
            self._up()
        self.world.weight = weight
        self._up()

    def prepare_safe_weights(self) -> None:
        """Nothing is needed, no claim either: a guardian that stands by has none yet."""
        self.world.call("router.prepare_safe_weights")

    def by_hand(self, weight: Percent) -> str:
        """In words."""
        return f"put {weight} % in force by hand"

    def read_weight(self) -> Percent:
        """As it is."""
        self.world.control("router.read_weight")
        self._up()
        return self.world.weight

    def reset(self) -> None:
        """Weight 0."""
        self.world.control("router.reset")
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

    def running(self) -> bool:
        """As it is."""
        return self.world.router_up

    def start(self) -> None:
        """At once."""
        self.world.call("router.start")
        self.world.router_up = True

    def stop(self) -> None:
        """At once."""
        self.world.call("router.stop")
        self.world.router_up = False

    def _mine(self) -> None:
        if self.lease:
            self.lease.check()

    def _up(self) -> None:
        if not self.world.router_up:
            raise Unavailable("the router does not answer")


@dataclass
class SimWorkload:
    """Instances in memory: roles are swapped as processes do, or stable is replaced in place."""

    world: World

    @property
    def replaces(self) -> bool:
        """As the world's target."""
        return self.world.traits.in_place

    @property
    def one_act(self) -> bool:
        """As the world's target."""
        return self.world.traits.one_act

    def resolve(self, wanted: Mapping[str, Revision]) -> dict[str, Revision]:
        """Names are immutable here."""
        self.world.control("workload.resolve")
        return dict(wanted)

    def inspect(self) -> tuple[Instance, ...]:
        """All that were started."""
        self.world.control("workload.inspect")
        return tuple(i for mine in self.world.instances.values() for i in mine)

    def start_canary(self, revisions: Mapping[str, Revision], weight: Percent) -> tuple[Instance, ...]:
        """At once, unless the world says never."""
        started: list[Instance] = []
        for name, revision in revisions.items():
            self.world.control(f"workload.start_canary {name}")
            if name in self.world.never_ready:
                raise NotReady(f"{name}: was not ready in 30 s")
            mine = self.world.instances[name]
            mine[:] = [self._again(i) if i.revision == revision.name and self._is_track(i) else i for i in mine]
            there = [i for i in mine if i.revision == revision.name and i.alive and self._is_track(i)]
            if not there:
                self.world.stop([i for i in mine if i.arm is Arm.CANARY])
                there = [self.world.spawn(name, Arm.CANARY, revision.name)]
                self.world.instances[name] = [i for i in mine if i.arm is Arm.STABLE] + there
            started += there
        return tuple(started)

    def _again(self, instance: Instance) -> Instance:
        """A dead one is started again in its place."""
        if instance.alive:
            return instance
        new = self.world.spawn(instance.service, instance.arm, instance.revision, instance.restarts + 1)
        return replace(new, endpoint=new.endpoint if self.world.traits.in_place else instance.endpoint)

    def _is_track(self, instance: Instance) -> bool:
        return instance.arm is Arm.CANARY or not self.world.traits.in_place

    def promote(self, revisions: Mapping[str, Revision]) -> tuple[Instance, ...]:
        """Routed: swapped or replaced in place. A service without traffic is stopped, then started."""
        promoted: list[Instance] = []
        for name, revision in revisions.items():
            self.world.control(f"workload.promote {name}")
            mine = self.world.instances[name]
            routed = any(service.name == name for service in self.world.plan.routed)
            if routed and not self.world.traits.in_place:
                self._swap(name, revision)
            elif not any(i.arm is Arm.STABLE and i.revision == revision.name and i.alive for i in mine):
                self._replace(name, revision)
            promoted += [i for i in self.world.instances[name] if i.arm is Arm.STABLE]
        return tuple(promoted)

    def _swap(self, name: str, revision: Revision) -> None:
        mine = self.world.instances[name]
        if not any(i.revision == revision.name and i.alive for i in mine):
            mine = [i for i in mine if i.revision != revision.name] + [
                self.world.spawn(name, Arm.CANARY, revision.name)
            ]
        arms = {True: Arm.STABLE, False: Arm.CANARY}
        self.world.instances[name] = [replace(i, arm=arms[i.revision == revision.name]) for i in mine]

    def _replace(self, name: str, revision: Revision) -> None:
        """Stop-first; between the two a power cut leaves no stable at all."""
        mine = self.world.instances[name]
        self.world.stop([i for i in mine if i.arm is Arm.STABLE])
        self.world.instances[name] = [i for i in mine if i.arm is Arm.CANARY]
        self.world.control(f"workload.stopped {name}")
        new = self.world.spawn(name, Arm.STABLE, revision.name)
        if (name, revision.name) in self.world.dies_at_start:
            self.world.instances[name].append(replace(new, alive=False))
            raise NotReady(f"{name}: {revision.name} exited before it became ready")
        self.world.instances[name].append(new)

    def remove_canary(self, keep_idle: Mapping[str, str]) -> None:
        """All but stable (and, where roles are swapped, the idle revision) is stopped."""
        for name, mine in self.world.instances.items():
            self.world.control(f"workload.remove_canary {name}")
            idle = "" if self.world.traits.in_place else keep_idle.get(name, "")
            gone = [i for i in mine if i.arm is Arm.CANARY and i.revision != idle]
            self.world.stop(gone)
            self.world.instances[name] = [i for i in mine if i not in gone]

    def revive(self) -> tuple[str, ...]:
        """A dead stable instance is replaced by a new one: at the same address, or (in place) at another."""
        self.world.control("workload.revive")
        revived = []
        for mine in self.world.instances.values():
            for instance in [i for i in mine if i.arm is Arm.STABLE and not i.alive]:
                mine[mine.index(instance)] = self._again(instance)
                revived.append(f"{instance.service} {instance.revision}")
        return tuple(revived)

    def within(self, command: str) -> timedelta:
        """A minute."""
        return timedelta(seconds=60)

    def stable(self) -> dict[str, Revision]:
        """By the plan's revisions."""
        known = {s.name: {r.name: r for r in (s.stable, s.canary) if r} for s in self.world.plan.services}
        stable = {i.service: i.revision for mine in self.world.instances.values() for i in mine if i.arm is Arm.STABLE}
        return {name: known[name][revision] for name, revision in {**self.world.stopped, **stable}.items()}

    def wait_ready(self) -> tuple[Instance, ...]:
        """At once."""
        return tuple(i for i in self.inspect() if i.arm is Arm.STABLE)

    def stop_all(self, *, forget: bool = False) -> None:
        """At once."""
        stable = {name: revision.name for name, revision in self.stable().items()}
        self.remove(list(self.world.instances))
        self.world.stopped = stable

    def remove(self, services: Iterable[str]) -> None:
        """At once."""
        self.world.control("workload.remove")
        for name in services:
            self.world.stop(self.world.instances[name])
            self.world.instances[name] = []
            self.world.stopped.pop(name, None)


@dataclass
class SimSource:
    """Counts of the world's users."""

    world: World
    lag: float = 0.0

    def sample(self) -> Sample:
        """Cumulative since the router began."""
        self.world.call("source.sample")
        if not self.world.router_up:
            raise Unavailable("the router does not answer")
        arms = {s.name: {arm: (self._series(s.name, arm),) for arm in Arm} for s in self.world.plan.routed}
        return Sample(arms, dict(self.world.lost))

    def _series(self, service: str, arm: Arm) -> Series:
        good, bad = self.world.counts.get((service, arm), [0, 0])
        latency = ((bucket(self.world.milliseconds), good + bad),) if good + bad else ()
        return Series(f"{service} {arm}", f"epoch {self.world.epoch}", good, bad, latency)


@dataclass
class SimProber:
    """Pinned requests answer as the endpoints are."""

    world: World
    proof: int = 20

    def probe(self, arm: Arm | None, count: int) -> tuple[Probe, ...]:
        """200 from a living instance, 503 else; no answer when the router is down."""
        self.world.call("prober.probe")
        arm = arm or (Arm.CANARY if self.world.weight >= 100 else Arm.STABLE)
        return tuple(self._one(arm, service.name) for service in self.world.plan.routed for _ in range(min(count, 2)))

    def _one(self, arm: Arm, service: str) -> Probe:
        if not self.world.router_up:
            return Probe(service, None, error="ConnectionRefusedError")
        where = self.world.where(arm, service)
        alive = {i.endpoint for i in self.world.instances[service] if i.alive}
        if not where or where[0] not in alive:
            return Probe(service, 503)
        return Probe(service, 200, arm, where[0].revision if self.world.traits.names_revision else None)


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
    """Suites end as the world's `smoke` says, where the arm under test answers."""

    world: World

    def start(self, request: SuiteRequest) -> SimRun:
        """Begin and end."""
        self.world.call(f"checks.start {request.name} {request.arm}")
        answers = not any(who.startswith(f"{request.arm} ") for who in self.world.dead_arms())
        verdict = self.world.smoke(request) if answers else Verdict.FAIL
        return SimRun(SuiteResult(request.name, request.arm, request.weight, verdict, f"simulated {verdict}", 1, 1))


@dataclass
class SimJournal:
    """A list."""

    world: World

    def append(self, event: Event) -> None:
        """Kept."""
        self.world.call(f"journal.append {type(event).__name__}")
        self.world.journal.append(event)

    def read(self, *, samples: bool = True) -> Iterator[Event]:
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
        while (claim := self.look()) and not (claim.released or claim.expired):
            if claim.renewed:
                raise LeaseHeld(f"held by {claim.who}")
            self.world.pass_time(1.0)
        world = self.world
        world.fence += 1
        self.fence, world.what, world.released, world.holder_alive = world.fence, what, False, True
        world.deadline = world.time + 60
        return self.fence

    def renew(self, within: timedelta, safe_weight: int) -> None:
        """Noted."""
        self.world.control("lease.renew")
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
        message = "" if self.world.guarded == self.world.fence else "a guardian watches"
        self.world.guarded = self.world.fence
        return message

    def stop(self) -> None:
        """It ended."""


class SimNotifier:
    """Nobody is notified."""

    def notify(self, event: Event) -> None:
        """Dropped."""

    def delivered(self) -> tuple[tuple[str, str], ...]:
        """Nothing."""
        return ()


@dataclass
class SimRequests:
    """What a test asks for."""

    world: World

    def take(self) -> Requested | None:
        """In order."""
        return self.world.requests.pop(0) if self.world.requests else None

    def ask(self, request: Requested) -> None:
        """Queued."""
        self.world.requests.append(request)

    def waits(self) -> bool:
        """Whether one is queued."""
        return bool(self.world.requests)

    def withdraw(self) -> None:
        """The queue is emptied."""
        self.world.requests.clear()
