"""One release on the simulated world, cut off where a test says, and what the next command makes of it.

The judge of every end is the world itself: whom users reach, and the exit code. No sentence of the journal counts.
"""

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
from onlyvips_release.core.model import Arm
from onlyvips_release.core.plan import Accept, ReleasePlan, Step
from onlyvips_release.core.policy import after_takeover
from onlyvips_release.core.ports import Ports
from onlyvips_release.runner import Runner
from tests.testing.plans import make_plan, service
from tests.testing.simulated_ports import SimClock, SimLease
from tests.testing.simulation import Traits, World
from tests.testing.tap import tapped

SECOND = timedelta(seconds=1)
AWAY = 40.0
"""Seconds for which the control plane is away: less than a rollback tries."""


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


# --- worlds -----------------------------------------------------------------------------------------------------------


def small_plan(watch: timedelta = 2 * SECOND) -> ReleasePlan:
    """Two services and a bot, one short step: every kind of call in some hundred calls."""
    services = (service("backend-api", 0), service("miniapp", 1), service("flirt-bot", 9, routed=False))
    return make_plan(services=services, steps=(Step(10, 4 * SECOND),), watch=watch, accept=Accept.NO_EVIDENCE_OF_HARM)


def good(traits: Traits) -> World:
    """Promoted when nobody disturbs it."""
    return World(small_plan(), rps=20, traits=traits)


def bad(traits: Traits) -> World:
    """Rolled back: the canary fails its users."""
    return World(small_plan(), rps=100, traits=traits, error_rate=lambda _, revision, at: float(revision == "v2"))


def spoiled(traits: Traits) -> World:
    """Restored: it breaks while it is watched (or wherever it is by then)."""
    world = World(small_plan(watch=40 * SECOND), rps=100, traits=traits)
    world.error_rate = lambda _, revision, at: float(revision == "v2" and at > 20)
    return world


def regretted(traits: Traits) -> World:
    """`rollback`: v2 serves, v1 is brought back."""
    world = World(small_plan(), rps=20, traits=traits)
    for name in [s.name for s in world.plan.services]:
        instance = world.spawn(name, Arm.STABLE, "v2")
        world.instances[name] = [instance]
        world.arms[Arm.STABLE][name] = [instance.endpoint] if instance.endpoint else []
    return world


def first(traits: Traits) -> World:
    """A first installation of v2."""
    plan = small_plan()
    plan = replace(plan, services=tuple(replace(service, stable=None) for service in plan.services))
    return World(plan, rps=20, traits=traits, installed=False)


Make = Callable[[Traits], World]
WORLDS: dict[str, Make] = {"good": good, "bad": bad, "spoiled": spoiled, "regretted": regretted, "first": first}

TRAITS: dict[str, Traits] = {
    "roles are swapped": Traits(),
    "stable is replaced in place": Traits(in_place=True),
    "no revision is named": Traits(names_revision=False),
    "stable scales": Traits(in_place=True, scales=True, names_revision=False),
    "the control plane is away": Traits(in_place=True, away=(3.0, 3.0 + AWAY)),
    "one act": Traits(in_place=True, one_act=True),
}


# --- one release ------------------------------------------------------------------------------------------------------


def started(plan: ReleasePlan, *, restore: bool = False, first: bool = False, one_act: bool = False) -> events.Started:
    """The first event of a release of this plan."""
    revisions = {
        s.name: {Arm.STABLE: s.stable.name if s.stable else "", Arm.CANARY: s.canary.name} for s in plan.services
    }
    return events.Started(
        "r0001",
        "simulation",
        plan,
        "",
        {"user": "test"},
        revisions,
        restore=restore,
        first=first,
        one_act=one_act,
    )


def carry_out(world: World) -> Release:
    """One release on a world, from its first event to its end."""
    release = Release()
    runner = Runner(release, world.ports())
    runner.record(started(world.plan))
    return runner.run()


def begin(world: World, point: Point) -> Release:
    """`run` (or `rollback`, or `up`) until its end or its crash."""
    ports = tapped(world.ports(), point)
    release = Release()
    restore = bool(all_on(world, "v2"))
    then = [events.RollbackStarted("rollback asked for by ops")] if restore else []
    runner = Runner(release, ports)
    one_act = world.traits.one_act
    runner.record(started(world.plan, restore=restore, first=not world.installed, one_act=one_act), *then)
    return runner.run()


def take_over(world: World, what: str, point: Point) -> Release | None:
    """`recover` or `resume` in a new process."""
    found = fold(world.journal)
    if not found.id or found.over:
        return None
    ports: Ports = tapped(world.ports(), point)
    return Runner(found, ports).run(*after_takeover(found, events.Requested(what, "ops")))


def watch_over(world: World, point: Point) -> None:
    """The guardian's process, if one lives: until it has acted, or nobody holds the claim any more."""
    if not world.guarded:
        return
    fence, lease = world.guarded, SimLease(world)
    world.guarded = 0
    ports = tapped(world.ports_of(lease), point)
    guardian.guard(fence, ports.lease, ports.router, lambda fence: ports.journal, SimClock(world), ports.notifier)


# --- how it is cut off ------------------------------------------------------------------------------------------------


def died(world: World) -> None:
    """The process that held the lease is gone."""
    world.holder_alive = False


def hung(world: World) -> None:
    """It lives, and gives no sign of life until its deadline is over."""
    world.holder_alive = True
    world.pass_time(max(0.0, world.deadline - world.time) + 1)


def rebooted(world: World) -> None:
    """Nothing runs any more: controller, guardian, router, every service."""
    died(world)
    world.guarded, world.router_up = 0, False
    world.in_flight.clear()
    for name, mine in world.instances.items():
        world.instances[name] = [replace(instance, alive=False) for instance in mine]


STRIKES: dict[str, Callable[[World], None]] = {"crash": died, "hang": hung, "reboot": rebooted}


def fork(world: World) -> World:
    """The same moment once more; what happens to one does not happen to the other."""
    twin = copy.copy(world)
    twin.random = random.Random()
    twin.random.setstate(world.random.getstate())
    twin.arms = {arm: dict(where) for arm, where in world.arms.items()}
    twin.instances = {name: list(mine) for name, mine in world.instances.items()}
    twin.counts = {key: list(counts) for key, counts in world.counts.items()}
    twin.in_flight, twin.cut, twin.lost = set(world.in_flight), list(world.cut), dict(world.lost)
    twin.journal = list(world.journal)
    return twin


def state(world: World) -> str:
    """All that the next command could see of a world, but the time and the samples."""
    left_out = events.Sampled | events.Judged | events.Observed
    kinds = [(type(e).__name__, getattr(e, "weight", None)) for e in world.journal if not isinstance(e, left_out)]
    instances = [(i.service, i.arm, i.revision, i.alive) for mine in world.instances.values() for i in mine]
    arms = {arm: {name: [e.revision for e in at] for name, at in where.items()} for arm, where in world.arms.items()}
    rest = (world.weight, world.safe_weight, world.released, bool(world.guarded), world.router_up)
    return repr((kinds, sorted(instances), arms, rest))


def cuts(world: World, act: Callable[[World, Point], object]) -> list[tuple[str, World]]:
    """Every state in which a power cut before or after some call of `act` leaves the world, and the call."""
    found: dict[str, tuple[str, World]] = {}

    def watch(kind: str) -> None:
        found.setdefault(state(world), (kind, fork(world)))

    act(world, Point(watch=watch))
    return list(found.values())


# --- what is right ----------------------------------------------------------------------------------------------------


def all_on(world: World, revision: str) -> bool:
    """Every service serves this revision from a living stable instance, users go nowhere else, nothing is left over."""
    mine = [i for instances in world.instances.values() for i in instances]
    routed = {e.revision for s in world.plan.routed for e in world.where(Arm.STABLE, s.name)}
    alone = world.traits.scales or len(mine) == len(world.plan.services)
    right = all(i.arm is Arm.STABLE and i.alive and i.revision == revision for i in mine)
    everywhere = {i.service for i in mine} == set(world.instances)
    return right and alone and everywhere and routed == {revision} and not world.weight


def nothing_left(world: World) -> bool:
    """Nothing was installed, or everything was removed again."""
    return not any(world.instances.values()) and world.weight == 0


def safe(world: World) -> bool:
    """Answered, and on a canary only from the point of no return until the new stable is proven, or in a restore."""
    if not world.installed:
        return True
    committed = fold(world.journal).committed
    return not world.unanswered() and (world.weight == 0 or (world.weight == 100 and committed))


def end(world: World, release: Release | None) -> str:
    """The revision that users are on, if the exit code says the same; else what is wrong."""
    where = next((revision for revision in ("v1", "v2") if all_on(world, revision)), "mixed")
    where = "none" if nothing_left(world) else where
    if release is None:
        return where
    code = release.finished.exit if release.finished else None
    wanted = {Phase.PROMOTED: ("v2", (0,)), Phase.ROLLED_BACK: ("v1", (0,) if release.restore else (1, 3))}
    revision, codes = wanted.get(release.phase, ("", ()))
    if release.first and release.phase is Phase.ROLLED_BACK:
        revision = "none"
    if code not in codes or where != revision or not fold(world.journal).over:
        return f"{release.phase} with exit {code} while users are on {where}"
    return where


def expected(world: World, what: str) -> str:
    """What the next command must make of this journal."""
    found = fold(world.journal)
    before = "v1" if world.installed else "none"
    if not found.id:
        return "v2" if all_on(world, "v2") else before
    if found.restore or found.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK):
        return before
    return "v2" if what == "resume" or (found.committed and found.routed_on(found.new)) else before


def wrong_end(world: World, what: str) -> str:
    """What is wrong with what the next command makes of a world, "" = nothing; users are answered all the time."""
    cut_before, hurt, answered = len(world.cut), list[str](), list[str]()

    def watch(kind: str) -> None:
        """From the moment on at which everybody is answered nobody may be refused again."""
        who = world.unanswered()
        if answered and world.installed and who:
            hurt.append(f"{kind}: {who}")
        if world.router_up and not who:
            answered.append(kind)

    watch("before it")

    wanted = expected(world, what)
    before = "v1" if world.installed else "none"
    lenient = world.error_rate("x", "v2", 1e9) or world.time < world.traits.away[1]
    allowed = {wanted, before} if lenient else {wanted}
    got = end(world, take_over(world, what, Point(watch=watch)))
    problems = [] if got in allowed else [f"{what} ended on {got}, {allowed} wanted"]
    problems += [f"unanswered at {hurt[0]}"] if hurt else []
    return "; ".join([*problems, *(world.cut[cut_before:] if world.installed else ())])
