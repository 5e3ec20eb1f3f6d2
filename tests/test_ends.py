"""What an exit code may claim, and states that must not lead users or commands astray; on the simulated world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from onlyvips_release.core import events
from onlyvips_release.core.events import Phase
from onlyvips_release.core.lifecycle import Release, fold
from onlyvips_release.core.model import Arm
from onlyvips_release.core.policy import after_takeover
from onlyvips_release.errors import Interrupted, Refused, Unavailable
from onlyvips_release.runner import Runner
from tests.testing.crash_world import (
    Crash,
    Point,
    all_on,
    bad,
    carry_out,
    died,
    good,
    rebooted,
    small_plan,
    spoiled,
    started,
    take_over,
)
from tests.testing.plans import make_plan, service
from tests.testing.simulated_ports import SimWorkload
from tests.testing.simulation import Traits, World

BOTH = pytest.mark.parametrize("traits", [Traits(), Traits(in_place=True)], ids=["swapped", "in place"])


class Unrevived(SimWorkload):
    """What died stays dead."""

    def revive(self) -> tuple[str, ...]:
        """Nothing is started again."""
        return ()


def crashed(world: World, at: Callable[[str], bool]) -> None:
    """A release whose controller died at the first call for which `at` holds."""

    def crash(name: str) -> None:
        if at(name):
            raise Crash(name)

    world.on_call = crash
    with pytest.raises(Crash):
        carry_out(world)
    world.on_call = lambda name: None
    died(world)


def last(world: World, kind: type) -> bool:
    """Whether the newest event is of this kind."""
    return bool(world.journal) and isinstance(world.journal[-1], kind)


# --- what an end claims -----------------------------------------------------------------------------------------------


def test_stable_that_dies_after_the_shift_back_and_stays_dead_is_exit_4() -> None:
    world, release = bad(Traits()), Release()

    def kill(name: str) -> None:
        if last(world, events.Shifted) and release.stable_proven:
            world.kill("miniapp", Arm.STABLE)

    world.on_call = kill
    runner = Runner(release, replace(world.ports(), workload=Unrevived(world)))
    runner.record(started(world.plan))
    assert runner.run().finished is not None
    assert world.unanswered()
    assert (release.finished and release.finished.exit) == 4


def test_clean_up_that_fails_for_a_minute_behind_a_proven_stable_is_exit_3() -> None:
    world = bad(Traits())

    def fail(name: str) -> None:
        if name.startswith("workload.remove_canary"):
            raise Unavailable("the engine does not answer")

    world.on_call = fail
    release = carry_out(world)
    assert (release.finished and release.finished.exit) == 3


@pytest.mark.parametrize("make", [good, bad], ids=["promoted", "rolled back"])
def test_router_that_dies_for_good_at_the_very_end_is_exit_4(make: Callable[[Traits], World]) -> None:
    world = make(Traits())

    def die(name: str) -> None:
        if fold(world.journal).phase in (Phase.PROMOTED, Phase.ROLLED_BACK):
            world.router_up = False
            if name == "router.revive":
                raise Unavailable("its port is taken")

    world.on_call = die
    release = carry_out(world)
    assert (release.finished and release.finished.exit) == 4


def test_signal_while_a_release_is_taken_over_ends_it_as_confirmed() -> None:
    world = good(Traits())
    crashed(world, lambda name: last(world, events.Shifted))
    rebooted(world)
    left = [1]

    def stop(name: str) -> None:
        if name == "prober.probe" and left:
            left.pop()
            raise Interrupted(15)

    world.on_call = stop
    found = fold(world.journal)
    release = Runner(found, world.ports()).run(*after_takeover(found, events.Requested("resume", "ops")))
    assert (release.phase, release.finished and release.finished.exit) == (Phase.ROLLED_BACK, 143)
    assert all_on(world, "v1")


@BOTH
@pytest.mark.parametrize("call", ["workload.start_canary miniapp", "workload.promote miniapp", "guardian.start"])
def test_act_that_is_refused_in_the_middle_of_a_release_takes_users_back(call: str, traits: Traits) -> None:
    world, calls = good(traits), list[str]()

    def refuse(name: str) -> None:
        if name == call and call not in calls:
            calls.append(name)
            raise Refused("SECRET_KEY is not set in the environment")

    world.on_call = refuse
    release = carry_out(world)
    assert (release.phase, release.finished and release.finished.exit) == (Phase.ROLLED_BACK, 3)
    assert all_on(world, "v1")


# --- where users are sent ---------------------------------------------------------------------------------------------


@BOTH
def test_installation_of_a_service_without_traffic_leaves_users_on_stable_to_its_end(traits: Traits) -> None:
    """The routed services stay as they are: nothing of them is replaced behind the point of no return."""
    plan = small_plan()
    world, release = World(plan, rps=20, traits=traits), Release()
    world.instances["flirt-bot"] = []
    kept = {s.name: s.stable for s in plan.routed if s.stable}
    services = tuple(replace(s, stable=None, canary=kept.get(s.name, s.canary)) for s in plan.services)
    world.plan = replace(plan, services=services)
    old = {s.name: {Arm.STABLE: "v1" if s.name in kept else "", Arm.CANARY: s.canary.name} for s in services}
    runner, dangers = Runner(release, world.ports()), set[str]()

    def look(name: str) -> None:
        if release.safe_weight and any(dead.startswith("canary") for dead in world.dead_arms()):
            dangers.add(f"{name} in {release.phase}")

    world.on_call = look
    runner.record(replace(started(world.plan, first=True), revisions=old))
    assert runner.run().phase is Phase.PROMOTED
    assert not dangers


@BOTH
@pytest.mark.parametrize("name", ["backend-api", "flirt-bot"])
def test_error_of_the_tool_in_the_clean_up_of_a_promotion_sends_nobody_to_the_emptied_track(
    name: str, traits: Traits
) -> None:
    world, unanswered, failed = good(traits), set[str](), list[str]()

    def fail(call: str) -> None:
        unanswered.add(world.unanswered())
        if call == f"workload.remove_canary {name}" and not failed:
            failed.append(call)
            raise RuntimeError("a bug")

    world.on_call = fail
    release = carry_out(world)
    assert (release.phase, unanswered) == (Phase.ROLLED_BACK, {""})
    assert all_on(world, "v1")


# --- what a state keeps -----------------------------------------------------------------------------------------------


def test_watch_that_was_taken_over_still_ends_when_the_new_stable_dies() -> None:
    world = spoiled(Traits())
    world.error_rate = lambda *_: 0.0
    crashed(world, lambda name: fold(world.journal).phase is Phase.WATCHING and name == "clock.sleep")
    seen: list[str] = []

    def kill(name: str) -> None:
        seen.append(name)
        if last(world, events.Sampled) and len(seen) % 50 == 0:
            world.kill("miniapp", Arm.STABLE)

    world.on_call = kill
    release = take_over(world, "resume", Point())
    assert release is not None
    assert release.phase is Phase.ROLLED_BACK
    assert "new stable: miniapp" in (release.cause.cause if release.cause else "")


def test_rollback_that_keeps_one_service_without_traffic_brings_the_other_ones_back() -> None:
    web, bot, new = service("web", 0), service("bot", 8, routed=False), service("bot2", 9, routed=False)
    world = World(make_plan(services=(web, bot, new)), rps=20)
    for name in ("web", "bot"):
        instance = world.spawn(name, Arm.STABLE, "v2")
        world.instances[name] = [instance]
        world.arms[Arm.STABLE][name] = [instance.endpoint] if instance.endpoint else []
    assert new.stable is not None
    world.plan = replace(world.plan, services=(web, bot, replace(new, stable=None, canary=new.stable)))
    begun = started(world.plan, restore=True)
    begun = replace(begun, revisions={**begun.revisions, "bot2": {Arm.STABLE: "v1", Arm.CANARY: "v1"}})
    release = Release()
    runner = Runner(release, world.ports())
    runner.record(begun, events.RollbackStarted("asked for by ops"))
    runner.run()
    assert (release.phase, release.finished and release.finished.exit) == (Phase.ROLLED_BACK, 0)
    assert all_on(world, "v1")
