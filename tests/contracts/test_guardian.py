"""What every guardian must do (ports.Guardian), over the simulation and as a process beside a real Envoy."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from onlyvips_release.core import events
from onlyvips_release.core.model import Arm
from onlyvips_release.core.ports import Guardian, Lease, Router
from onlyvips_release.environment import Environment
from onlyvips_release.errors import LeaseLost
from onlyvips_release.state.journal import FileJournal
from onlyvips_release.state.layout import Layout
from onlyvips_release.state.lease import FileLease
from onlyvips_release.targets.process_guardian import ProcessGuardian
from tests.testing.crash_world import Point, watch_over
from tests.testing.plans import make_plan
from tests.testing.router_rig import TOKEN, bench
from tests.testing.simulated_ports import SimLease
from tests.testing.simulation import World

MINUTE = timedelta(minutes=1)


@dataclass
class Kind:
    """A guardian with what it guards; `wait` lets seconds pass, `acted` = what it journalled."""

    guardian: Guardian
    lease: Lease
    router: Router
    wait: Callable[[float], None]
    acted: Callable[[], list[events.GuardianActed]]
    seconds: float


@pytest.fixture(params=["simulation", pytest.param("process", marks=pytest.mark.slow)])
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    """The lease is held, the weight is 0."""
    if request.param == "simulation":
        yield simulated()
        return
    with bench() as made:
        made.lease.release()
        plan = replace(made.plan, lease=timedelta(seconds=2))
        lease = FileLease(made.state / "live", made.clock, plan.lease)
        made.lease = made.router.files = lease
        lease.acquire("run")
        folder = made.state / "releases" / "r0001"
        folder.mkdir(parents=True)
        (folder / "token").write_text(TOKEN)
        journal = FileJournal(folder / "journal.jsonl", made.clock, lease.fence)
        names = {"backend-api": {Arm.STABLE: "v1", Arm.CANARY: "v2"}}
        journal.append(events.Started("r0001", "embedded", plan, "", {"user": "test"}, names))
        environment = Environment(made.state.parent, made.state.parent, dict(os.environ))
        guardian = ProcessGuardian(Layout.at(made.state), "r0001", lambda: lease.fence, environment)

        def acted() -> list[events.GuardianActed]:
            return [event for event in journal.read() if isinstance(event, events.GuardianActed)]

        yield Kind(guardian, lease, made.router, time.sleep, acted, 2.0)
        lease.release()
        guardian.stop()
        assert json.loads((made.state / "live" / "lease.json").read_text())["released"]


def simulated() -> Kind:
    """Its loop is run as soon as there is something to do."""
    world = World(make_plan())
    ports = world.ports()

    def wait(seconds: float) -> None:
        world.pass_time(seconds)
        claim = SimLease(world).look()
        if claim and claim.expired:
            watch_over(world, Point())

    def acted() -> list[events.GuardianActed]:
        return [event for event in world.journal if isinstance(event, events.GuardianActed)]

    return Kind(ports.guardian, ports.lease, ports.router, wait, acted, SimLease.SECONDS)


def test_it_says_once_who_watches(kind: Kind) -> None:
    assert "guardian" in kind.guardian.start()
    assert kind.guardian.start() == ""


def test_it_never_acts_while_the_lease_is_renewed_and_ends_when_it_is_given_back(kind: Kind) -> None:
    kind.guardian.start()
    kind.router.set_weight(10)
    for _ in range(5):
        kind.lease.renew(MINUTE, 0)
        kind.wait(kind.seconds / 2)
    assert kind.router.read_weight() == 10
    kind.router.set_weight(0)
    kind.lease.release()
    kind.guardian.stop()
    kind.wait(kind.seconds)
    assert kind.acted() == []


@pytest.mark.parametrize(("weight", "safe"), [(10, 0), (100, 100), (100, 0)])
def test_it_puts_the_safe_weight_in_force_when_the_lease_is_over_takes_the_claim_and_ends(
    kind: Kind, weight: int, safe: int
) -> None:
    kind.guardian.start()
    kind.router.set_weight(weight)
    kind.lease.renew(timedelta(0), safe)
    kind.wait(kind.seconds + 1)
    assert kind.router.read_weight() == safe
    assert [(event.weight, event.confirmed) for event in kind.acted()] == [(safe, True)]
    with pytest.raises(LeaseLost):
        kind.lease.renew(MINUTE, 0)
    with pytest.raises(LeaseLost):
        kind.router.set_weight(50)
    assert kind.router.read_weight() == safe
    kind.guardian.stop()
    claim = kind.lease.look()
    assert claim is not None
    assert claim.released
