"""A world in memory in which every port can be acted on: a 30-minute release in a second.

Users arrive at a rate per service, are split by the weight in force, and fail with a probability per service and
revision that may change over time. `World.on_call` is called before every port call and may raise. The world is its
own judge: `unanswered` names users whom nobody answers now, `cut` those whose instance was stopped under them.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from onlyvips_release.core.events import Event, Requested
from onlyvips_release.core.model import Arm, Endpoint, Instance, Percent, Verdict
from onlyvips_release.core.plan import ReleasePlan
from onlyvips_release.core.ports import Ports, SuiteRequest
from onlyvips_release.errors import Unavailable
from tests.testing.chance import binomial, poisson

ErrorRate = Callable[[str, str, float], float]
"""(service, revision, seconds since the start) -> probability that a user's request fails."""


@dataclass(frozen=True)
class Traits:
    """What tells targets apart.

    `in_place`: promotion stops stable's instances and starts others at other addresses; else roles are swapped.
    `names_revision`: the router's answers name the revision. `scales`: stable's instances come and go, and the router
    selects them by itself. `away`: from when to when the control plane does not answer (traffic goes on).
    """

    in_place: bool = False
    names_revision: bool = True
    scales: bool = False
    away: tuple[float, float] = (0.0, 0.0)
    one_act: bool = False


@dataclass
class World:
    """Everything that the ports act on. `rps`: users' requests per second and service, `milliseconds` each takes."""

    plan: ReleasePlan
    rps: float = 10.0
    error_rate: ErrorRate = lambda service, revision, at: 0.0
    milliseconds: float = 20.0
    seed: int = 0
    traits: Traits = Traits()
    on_call: Callable[[str], None] = lambda name: None
    time: float = 0.0
    weight: Percent = 0
    router_up: bool = True
    arms: dict[Arm, dict[str, list[Endpoint]]] = field(default_factory=lambda: {arm: {} for arm in Arm})
    instances: dict[str, list[Instance]] = field(default_factory=dict)
    in_flight: set[Endpoint] = field(default_factory=set)
    cut: list[str] = field(default_factory=list)
    counts: dict[tuple[str, Arm], list[int]] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    counted_until: float = 0.0
    epoch: int = 0
    journal: list[Event] = field(default_factory=list)
    smoke: Callable[[SuiteRequest], Verdict] = lambda request: Verdict.PASS
    requests: list[Requested] = field(default_factory=list)
    never_ready: set[str] = field(default_factory=set)
    dies_at_start: set[tuple[str, str]] = field(default_factory=set)
    installed: bool = True
    stopped: dict[str, str] = field(default_factory=dict)
    born: int = 0
    calls: int = 0
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
            self.instances[service.name] = []
            if self.installed and service.stable is not None:
                instance = self.spawn(service.name, Arm.STABLE, service.stable.name)
                self.instances[service.name] = [instance]
                self.arms[Arm.STABLE][service.name] = [instance.endpoint] if instance.endpoint else []

    # --- what happens -----------------------------------------------------------------------------------------------

    def call(self, name: str) -> None:
        """Every port call passes here first."""
        self.calls += 1
        self.on_call(name)
        if self.traits.scales and self.calls % 5 == 0:
            self._scale()
        self._serve()

    def control(self, name: str) -> None:
        """A call that needs the control plane."""
        self.call(name)
        start, end = self.traits.away
        if start <= self.time < end:
            raise Unavailable("the control plane does not answer")

    def spawn(self, service: str, arm: Arm, revision: str, restarts: int = 0) -> Instance:
        """A new living instance, at an address of its own."""
        self.born += 1
        routed = any(s.name == service for s in self.plan.routed)
        endpoint = Endpoint("127.0.0.1", 20000 + self.born, revision) if routed else None
        return Instance(service, arm, revision, f"instance {self.born}", True, endpoint, self.born, restarts=restarts)

    def stop(self, instances: list[Instance]) -> None:
        """They end; whoever was served by one of them at this moment is cut off."""
        for instance in instances:
            if instance.alive and instance.endpoint in self.in_flight:
                self.cut.append(f"{instance.service} {instance.revision} was stopped with requests in flight")

    def kill(self, service: str, arm: Arm) -> None:
        """One instance dies."""
        self.instances[service] = [replace(i, alive=i.alive and i.arm is not arm) for i in self.instances[service]]

    def restart_router(self) -> None:
        """The router dies and comes back: its counters start again."""
        self.counts.clear()
        self.epoch += 1
        self.router_up = True

    def pass_time(self, seconds: float) -> None:
        """Users go on while the tool waits."""
        self.time += seconds
        if self.router_up:
            elapsed = self.time - self.counted_until
            for service in self.plan.routed:
                self._count(service.name, elapsed)
        self.counted_until = self.time
        self._serve()

    def _scale(self) -> None:
        """The autoscaler adds an instance of stable, or takes the oldest one; requests on it are finished."""
        for name in [service.name for service in self.plan.routed]:
            mine = [i for i in self.instances[name] if i.arm is Arm.STABLE and i.alive]
            if len(mine) == 1:
                self.instances[name].append(self.spawn(name, Arm.STABLE, mine[0].revision))
            elif mine:
                self.instances[name].remove(mine[0])

    # --- users ------------------------------------------------------------------------------------------------------

    def where(self, arm: Arm, service: str) -> list[Endpoint]:
        """Where the router sends users of this arm."""
        if self.traits.scales:
            mine = self.instances[service]
            return [i.endpoint for i in mine if i.arm is arm and i.alive and i.endpoint]
        return self.arms[arm].get(service) or []

    def share(self, arm: Arm) -> float:
        """Of users' requests."""
        return (self.weight if arm is Arm.CANARY else 100 - self.weight) / 100

    def unanswered(self) -> str:
        """Whose users are sent to an arm without a living instance now, "" = nobody's."""
        for dead in self.dead_arms() if self.router_up else ():
            arm, service = dead.split()
            if share := self.share(Arm(arm)):
                return f"{service}: {share:.0%} of users are sent to {arm}, which does not answer"
        return ""

    def dead_arms(self) -> list[str]:
        """`<arm> <service>` for each arm that answers nobody."""
        found = []
        for service in self.plan.routed:
            alive = {i.endpoint for i in self.instances[service.name] if i.alive}
            for arm in Arm:
                where = self.where(arm, service.name)
                if not self.router_up or not where or where[0] not in alive:
                    found.append(f"{arm} {service.name}")
        return found

    def _serve(self) -> None:
        """Requests are under way wherever users are sent."""
        for service in self.plan.routed if self.router_up else ():
            for arm in Arm:
                if self.share(arm):
                    self.in_flight |= set(self.where(arm, service.name))

    def drain(self, endpoints: list[Endpoint]) -> None:
        """Requests in flight there are finished."""
        self.in_flight -= set(endpoints)
        self._serve()

    def _count(self, service: str, elapsed: float) -> None:
        for arm in Arm:
            where = self.where(arm, service)
            requests = poisson(self.random, self.rps * elapsed * self.share(arm))
            if not where:
                self.lost[service] = self.lost.get(service, 0) + requests
                continue
            bad = binomial(self.random, requests, self.error_rate(service, where[0].revision, self.time))
            good, failed = self.counts.get((service, arm), [0, 0])
            self.counts[service, arm] = [good + requests - bad, failed + bad]

    # --- ports ------------------------------------------------------------------------------------------------------

    def ports(self) -> Ports:
        """All ports over this world, with the lease taken."""
        from tests.testing.simulated_ports import SimLease  # noqa: PLC0415 - they know the world, and it makes them

        lease = SimLease(self)
        lease.acquire("run")
        return self.ports_of(lease)

    def ports_of(self, lease: object) -> Ports:
        """All ports of who has this lease, or may take it."""
        from tests.testing import simulated_ports as sim  # noqa: PLC0415 - as above

        assert isinstance(lease, sim.SimLease)
        return Ports(
            router=sim.SimRouter(self, lease),
            workload=sim.SimWorkload(self),
            source=sim.SimSource(self),
            prober=sim.SimProber(self),
            checks=sim.SimChecks(self),
            journal=sim.SimJournal(self),
            lease=lease,
            guardian=sim.SimGuardian(self),
            notifier=sim.SimNotifier(),
            requests=sim.SimRequests(self),
            clock=sim.SimClock(self),
        )
