"""One release on the simulated world, cut off where a test says, and what the next command makes of it."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta

from onlyvips_release import guardian
from onlyvips_release.core import events
from onlyvips_release.core.events import Phase
from onlyvips_release.core.lifecycle import Release, fold
from onlyvips_release.core.model import Arm, Request
from onlyvips_release.core.plan import Accept, Step
from onlyvips_release.core.policy import after_takeover
from onlyvips_release.core.ports import Ports
from onlyvips_release.runner import Runner
from tests.test_runner import all_on, started
from tests.testing.plans import make_plan, service
from tests.testing.simulated_ports import SimClock, SimLease
from tests.testing.simulation import World
from tests.testing.tap import tapped

SECOND = timedelta(seconds=1)


class Crash(BaseException):
    """SIGKILL: nothing in the process goes on."""


@dataclass
class Point:
    """Where to cut off: at the call number `number` of all; counts, and remembers what was called."""

    number: int = -1
    seen: list[str] = field(default_factory=list)
    watch: Callable[[str], None] = lambda kind: None

    def __call__(self, kind: str) -> None:
        """One side of one call."""
        self.watch(kind)
        self.seen.append(kind)
        if len(self.seen) - 1 == self.number:
            raise Crash(kind)


def small(watch: timedelta = 2 * SECOND) -> World:
    """Two services and a bot, one short step: every kind of call in some hundred calls."""
    services = (service("backend-api", 0), service("miniapp", 1), service("flirt-bot", 9, routed=False))
    plan = make_plan(services=services, steps=(Step(10, 4 * SECOND),), watch=watch, accept=Accept.NO_EVIDENCE_OF_HARM)
    return World(plan, rps=20)


def good() -> World:
    """Promoted when nobody disturbs it."""
    return small()


def bad() -> World:
    """Rolled back: the canary fails its users."""
    world = small()
    world.rps, world.error_rate = 100, lambda _, revision, at: 1.0 if revision == "v2" else 0.0
    return world


def spoiled() -> World:
    """Restored: it breaks while it is watched (or wherever it is by then)."""
    world = small(watch=40 * SECOND)
    world.rps, world.error_rate = 100, lambda _, revision, at: float(revision == "v2" and at > 20)
    return world


def regretted() -> World:
    """`rollback`: v2 serves, v1 is brought back."""
    world = small()
    for name in [s.name for s in world.plan.services]:
        instance = world.spawn(name, Arm.STABLE, "v2")
        world.instances[name] = [instance]
        world.arms[Arm.STABLE][name] = [instance.endpoint] if instance.endpoint else []
    return world


WORLDS: dict[str, Callable[[], World]] = {"good": good, "bad": bad, "spoiled": spoiled, "regretted": regretted}


def begin(world: World, point: Point) -> Release:
    """`run` (or `rollback`) until its end or its crash."""
    ports = tapped(world.ports(), point)
    release, first = Release(), started(world.plan)
    then: list[events.Event] = []
    if all_on(world, "v2"):
        first = events.Started(first.release, first.target, first.plan, "", first.holder, first.revisions, restore=True)
        then = [events.RollbackStarted("rollback asked for by ops")]
    runner = Runner(release, ports)
    runner.record(first, *then)
    return runner.run()


def take_over(world: World, what: str, point: Point) -> Release | None:
    """`recover` or `resume` in a new process."""
    found = fold(world.journal)
    if not found.id or found.over:
        return None
    ports: Ports = tapped(world.ports(), point)
    return Runner(found, ports).run(*after_takeover(found, Request(what, "ops")))


def watch_over(world: World, point: Point) -> None:
    """The guardian's process, if one lives: until it has acted, or nobody holds the claim any more."""
    if not world.guarded:
        return
    fence, lease = world.guarded, SimLease(world)
    world.guarded = 0
    world_ports = tapped(world.ports_of(lease), point)
    guardian.guard(fence, world_ports.lease, world_ports.router, lambda fence: world_ports.journal, SimClock(world))


def died(world: World) -> None:
    """The process that held the lease is gone."""
    world.holder_alive = False


def rebooted(world: World) -> None:
    """Nothing runs any more: controller, guardian, router, every service."""
    died(world)
    world.guarded, world.router_up = 0, False
    for name, mine in world.instances.items():
        world.instances[name] = [replace(instance, alive=False) for instance in mine]


def cut(number: int, make: Callable[[], World]) -> tuple[World, str]:
    """A world whose controller was killed at this call; which call it was, "" = it ended before."""
    world, point = make(), Point(number)
    try:
        begin(world, point)
    except Crash as crash:
        died(world)
        return world, str(crash)
    return world, ""


def fork(world: World) -> World:
    """The same moment once more; what happens to one does not happen to the other."""
    twin = copy.copy(world)
    twin.random = random.Random()
    twin.random.setstate(world.random.getstate())
    twin.arms = {arm: dict(where) for arm, where in world.arms.items()}
    twin.instances = {name: list(mine) for name, mine in world.instances.items()}
    twin.counts = {key: list(counts) for key, counts in world.counts.items()}
    twin.journal = list(world.journal)
    return twin


def state(world: World) -> str:
    """All that the next command could see of a world, but the time and the samples."""
    journal = [event for event in world.journal if not isinstance(event, events.Sampled | events.Judged)]
    instances = [(i.service, i.arm, i.revision, i.alive) for mine in world.instances.values() for i in mine]
    arms = {arm: {name: [e.revision for e in at] for name, at in where.items()} for arm, where in world.arms.items()}
    kinds = [(type(event).__name__, getattr(event, "weight", None)) for event in journal]
    rest = (world.weight, world.safe_weight, world.released, bool(world.guarded), world.router_up)
    return repr((kinds, instances, arms, rest))


def cuts(world: World, act: Callable[[World, Point], object]) -> list[tuple[str, World]]:
    """Every state in which a power cut before or after some call of `act` leaves the world, and the call."""
    found: dict[str, tuple[str, World]] = {}

    def watch(kind: str) -> None:
        found.setdefault(state(world), (kind, fork(world)))

    act(world, Point(watch=watch))
    return list(found.values())


def answered(world: World) -> bool:
    """No user is sent to an arm without a living instance."""
    for spec in world.plan.routed if world.router_up else ():
        alive = {i.endpoint for i in world.instances[spec.name] if i.alive}
        for arm, share in ((Arm.CANARY, world.weight), (Arm.STABLE, 100 - world.weight)):
            where = world.arms[arm].get(spec.name) or []
            if share and not (where and where[0] in alive):
                return False
    return True


def safe(world: World) -> bool:
    """Answered, and on a canary only from the point of no return until the new stable is proven, or in a restore."""
    return answered(world) and (world.weight == 0 or (world.weight == 100 and fold(world.journal).committed))


def end(world: World, release: Release | None) -> str:
    """The revision that a release ended on, exactly as an undisturbed one would have; else what is wrong."""
    if release is None:
        return next((revision for revision in ("v1", "v2") if all_on(world, revision)), "mixed")
    codes = {Phase.PROMOTED: ("v2", (0,)), Phase.ROLLED_BACK: ("v1", (0,) if release.restore else (1, 3))}
    wanted, exits = codes.get(release.phase, ("", ()))
    if release.finished is None or release.finished.exit not in exits or not fold(world.journal).over:
        return f"{release.phase} {release.finished}"
    return wanted if all_on(world, wanted) else f"{release.phase}, but instances or weight are wrong"


def expected(world: World, what: str) -> str:
    """What the next command must make of this journal (contract.md section 6)."""
    found = fold(world.journal)
    if not found.id:
        return "v2" if all_on(world, "v2") else "v1"
    if found.restore or found.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK):
        return "v1"
    return "v2" if what == "resume" or found.routed_on(found.new) else "v1"
