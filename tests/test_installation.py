"""A first installation on the simulated world: no user before its smoke suite passed, nothing left where it failed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onlyvips_release.core import events
from onlyvips_release.core.events import Phase
from onlyvips_release.core.lifecycle import Release, fold
from onlyvips_release.core.model import Arm, Verdict
from onlyvips_release.core.policy import after_takeover
from onlyvips_release.core.ports import SuiteRequest
from onlyvips_release.installation import WATCH, installation, new_services
from onlyvips_release.runner import Runner
from tests.testing.plans import make_plan
from tests.testing.simulation import Traits, World


class Cut(BaseException):
    """The power goes."""


ROLES_SWAP = Traits()


def empty(traits: Traits = ROLES_SWAP, *installed: str) -> World:
    """Nothing serves but the services that are named, on v1."""
    world = World(make_plan(), rps=100, installed=False, traits=traits)
    for service in world.plan.services:
        if service.name in installed and service.stable is not None:
            instance = world.spawn(service.name, Arm.STABLE, service.stable.name)
            world.instances[service.name] = [instance]
            world.arms[Arm.STABLE][service.name] = [instance.endpoint] if instance.endpoint else []
    return world


def started(world: World) -> events.Started:
    """The first event of the installation."""
    serving = {s.name: s.stable for s in world.plan.services if s.stable is not None and world.instances[s.name]}
    plan, revisions = installation(world.plan, serving, new_services(world.plan, serving))
    return events.Started("r0001", "simulation", plan, "", {"user": "test"}, revisions, first=True)


def install(world: World) -> Release:
    """To its end."""
    release, ports = Release(), world.ports()
    first = started(world)
    release.apply(first)
    ports.journal.append(first)
    return Runner(release, ports).run()


def recover(world: World) -> Release:
    """What `recover` makes of it."""
    world.holder_alive = False
    release = fold(world.journal)
    return Runner(release, world.ports()).run(*after_takeover(release, events.Requested("recover", "test")))


def left(world: World) -> list[str]:
    """Instances that still run."""
    return [f"{i.service} {i.revision}" for mine in world.instances.values() for i in mine if i.alive]


@pytest.mark.parametrize("traits", [Traits(), Traits(in_place=True), Traits(one_act=True)], ids=str)
def test_it_ends_promoted_with_every_service_served_by_its_stable_revision(traits: Traits) -> None:
    world = empty(traits)
    release = install(world)
    assert release.finished is not None
    assert (release.phase, release.finished.exit) == (Phase.PROMOTED, 0)
    assert release.finished.sentence.startswith("INSTALLED")
    assert left(world) == [f"{s.name} v1" for s in world.plan.services]
    assert world.weight == 0
    assert world.unanswered() == ""
    assert world.cut == []
    phases = {type(event) for event in world.journal}
    assert {events.Prepared, events.CanaryStarted, events.Committed, events.Promoted, events.Watched} <= phases


def test_no_ordinary_request_is_served_before_the_smoke_suite_passed() -> None:
    world, served = empty(), []

    def smoke(request: SuiteRequest) -> Verdict:
        world.pass_time(10)
        served.append(sum(good for good, _ in world.counts.values()))
        return Verdict.PASS

    world.smoke = smoke
    assert install(world).phase is Phase.PROMOTED
    assert served[0] == 0
    assert sum(world.lost.values()) > 0


@pytest.mark.parametrize("traits", [Traits(), Traits(in_place=True)], ids=str)
@pytest.mark.parametrize("run", [1, 2, 3], ids=["before any user", "beside the bot", "on the new stable"])
def test_failed_smoke_suite_leaves_nothing_behind_and_ends_with_3(run: int, traits: Traits) -> None:
    world, runs = empty(traits), list[SuiteRequest]()

    def smoke(request: SuiteRequest) -> Verdict:
        runs.append(request)
        return Verdict.FAIL if len(runs) == run else Verdict.PASS

    world.smoke = smoke
    release = install(world)
    assert release.finished is not None
    assert (release.phase, release.finished.exit) == (Phase.ROLLED_BACK, 3)
    assert "NOT INSTALLED" in release.finished.sentence
    assert left(world) == []
    assert world.weight == 0
    assert not any(where for arm in world.arms.values() for where in arm.values())


@pytest.mark.parametrize("name", ["miniapp", "flirt-bot"])
def test_service_that_does_not_come_up_leaves_nothing_behind_and_ends_with_3(name: str) -> None:
    world = empty()
    world.never_ready = {"miniapp"} - ({"miniapp"} - {name})
    world.dies_at_start = {("flirt-bot", "v1")} if name == "flirt-bot" else set()
    release = install(world)
    assert release.finished is not None
    assert release.finished.exit == 3
    assert left(world) == []


def test_plan_without_a_stable_revision_installs_its_canary() -> None:
    plan = make_plan()
    plan = replace(plan, services=tuple(replace(s, stable=None) for s in plan.services))
    assert {name: revision.name for name, revision in new_services(plan, {}).items()} == dict.fromkeys(
        (s.name for s in plan.services), "v2"
    )


def test_watch_is_short_however_long_the_plan_wants_it() -> None:
    plan = replace(make_plan(), watch=10 * WATCH)
    assert installation(plan, {}, new_services(plan, {}))[0].watch == WATCH


@pytest.mark.parametrize("verdict", [Verdict.PASS, Verdict.FAIL])
@pytest.mark.parametrize("traits", [Traits(), Traits(in_place=True)], ids=str)
def test_new_service_is_installed_beside_others_whose_users_notice_nothing(traits: Traits, verdict: Verdict) -> None:
    world = empty(traits, "backend-api", "miniapp")
    before = {name: world.instances[name][0].identity for name in ("backend-api", "miniapp")}
    seen: list[str] = []
    world.on_call = lambda name: seen.append(world.unanswered())
    world.smoke = lambda request: verdict
    release = install(world)
    assert release.finished is not None
    assert release.finished.exit == (0 if verdict is Verdict.PASS else 3)
    assert {name: world.instances[name][0].identity for name in before} == before
    assert not any(name in trouble for trouble in seen for name in before)
    assert not any(i.service in before for i in release.canary)
    assert world.cut == []
    new = {"showcu-panel v1", "flirt-bot v1"} if verdict is Verdict.PASS else set()
    assert set(left(world)) == {"backend-api v1", "miniapp v1", *new}


@pytest.mark.parametrize("traits", [Traits(), Traits(in_place=True)], ids=str)
@pytest.mark.parametrize("last", range(5, 240, 11))
def test_whatever_call_is_the_last_recover_ends_it_installed_or_removed(last: int, traits: Traits) -> None:
    world = empty(traits)

    def cut(name: str) -> None:
        if world.calls == last:
            raise Cut

    world.on_call = cut
    with pytest.raises(Cut):
        install(world)
    world.on_call = lambda name: None
    release = recover(world)
    assert release.finished is not None
    assert release.finished.exit == (0 if release.phase is Phase.PROMOTED else 3), release.finished
    assert len(left(world)) == (4 if release.phase is Phase.PROMOTED else 0)
    assert world.weight == 0
