"""What every workload, journal and lease must do (ports.py), over the simulation and over the real adapters."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from onlyvips_release.clock import SystemClock
from onlyvips_release.core import events
from onlyvips_release.core.model import Arm
from onlyvips_release.core.plan import Health, Revision, Service
from onlyvips_release.core.ports import Journal, Workload
from onlyvips_release.state.journal import FileJournal
from onlyvips_release.state.lease import FileLease
from onlyvips_release.targets.embedded_plan import External, Process
from onlyvips_release.workloads.external import ExternalWorkload
from onlyvips_release.workloads.process import ProcessWorkload
from tests.testing.plans import make_plan
from tests.testing.simulation import SimWorkload, World
from tests.workloads.test_process import revision, two_ports


@pytest.fixture(params=["simulation", "process", "external"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Workload, Revision, Revision]]:
    """A workload with its first revision stable, and both revisions."""
    lease = FileLease(tmp_path / "live", SystemClock())
    lease.acquire("test")
    if request.param == "simulation":
        world = World(make_plan())
        service = world.plan.services[0]
        assert service.stable is not None
        yield SimWorkload(world, service.name), service.stable, service.canary
    elif request.param == "process":
        old, new = revision("v1"), revision("v2")
        process = Process(two_ports(), timedelta(seconds=2), ("SECRET",))
        service = Service("web", canary=new, stable=old, health=Health("/"), runs=process)
        workload = ProcessWorkload(service, tmp_path, lease, SystemClock(), {"SECRET": "x"})
        workload.start_canary(old)
        workload.promote(old)
        yield workload, old, new
        workload.stop_all()
    else:
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
            old, new = (
                Revision(name, url=f"http://127.0.0.1:{server.getsockname()[1]}")
                for name, server in (("v1", one), ("v2", two))
            )
            outside = ExternalWorkload(Service("web", canary=new, stable=old, runs=External()), tmp_path, lease)
            outside.promote(old)
            yield outside, old, new
    lease.release()


def stable_of(workload: Workload) -> list[str]:
    """Revisions of the living stable instances."""
    return [i.revision for i in workload.inspect() if i.arm is Arm.STABLE and i.alive]


def test_starting_a_canary_leaves_stable_alone_and_may_be_repeated(made: tuple[Workload, Revision, Revision]) -> None:
    workload, old, new = made
    first = workload.start_canary(new)
    assert workload.start_canary(new) == first
    assert [i.revision for i in first] == [new.name]
    assert all(i.alive and i.endpoint for i in first)
    assert stable_of(workload) == [old.name]


def test_promotion_makes_it_stable_and_may_be_repeated(made: tuple[Workload, Revision, Revision]) -> None:
    workload, _, new = made
    workload.start_canary(new)
    first = workload.promote(new)
    assert workload.promote(new) == first
    assert stable_of(workload) == [new.name]


def test_way_back_is_the_same_way(made: tuple[Workload, Revision, Revision]) -> None:
    workload, old, new = made
    workload.start_canary(new)
    workload.promote(new)
    workload.remove_canary(spare=old.name)
    workload.start_canary(old)
    workload.promote(old)
    workload.remove_canary()
    assert stable_of(workload) == [old.name]


def test_removing_the_canary_keeps_stable_and_may_be_repeated(made: tuple[Workload, Revision, Revision]) -> None:
    workload, old, new = made
    workload.start_canary(new)
    workload.remove_canary()
    workload.remove_canary()
    assert stable_of(workload) == [old.name]


def test_nothing_to_revive_while_stable_lives(made: tuple[Workload, Revision, Revision]) -> None:
    assert made[0].revive() == ()


@pytest.fixture(params=["simulation", "file"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Journal]:
    """Opens the same journal again and again."""
    if request.param == "file":
        return lambda: FileJournal(tmp_path / "journal.jsonl", SystemClock(), 1)
    ports = World(make_plan()).ports()
    return lambda: ports.journal


def test_journal_gives_back_what_was_appended_in_order(journal: Callable[[], Journal]) -> None:
    told: list[events.Event] = [
        events.Noted("one"),
        events.Shifted(10, "2026-01-01T00:00:00Z", 3.5),
        events.Committed(100),
    ]
    for event in told:
        journal().append(event)
    assert list(journal().read()) == told
