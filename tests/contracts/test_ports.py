"""What every workload, journal and lease must do (ports.py), over the simulation and over the real adapters."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from onlyvips_release.clock import SystemClock
from onlyvips_release.core import events
from onlyvips_release.core.model import Arm, Instance
from onlyvips_release.core.plan import Health, Revision, Service
from onlyvips_release.core.ports import Journal, Workload
from onlyvips_release.state.journal import FileJournal
from onlyvips_release.state.layout import Layout
from onlyvips_release.state.lease import FileLease
from onlyvips_release.targets.embedded_plan import External, Process
from onlyvips_release.workloads.external import ExternalWorkload
from onlyvips_release.workloads.process import ProcessWorkload
from onlyvips_release.workloads.services import PerService
from tests.testing.plans import make_plan
from tests.testing.simulated_ports import SimWorkload
from tests.testing.simulation import Traits, World
from tests.workloads.test_process import revision, two_ports


@dataclass
class Kind:
    """A workload of one service, "web" or the simulation's first, and its two revisions; v1 is stable."""

    workload: Workload
    service: str
    old: Revision
    new: Revision

    def start(self, revision: Revision) -> tuple[Instance, ...]:
        """The canary track, sized for a tenth."""
        return self.workload.start_canary({self.service: revision}, 10)

    def promote(self, revision: Revision) -> tuple[Instance, ...]:
        """Stable."""
        return self.workload.promote({self.service: revision})

    def stable(self) -> list[str]:
        """Revisions of the ready stable instances of this service."""
        mine = (i for i in self.workload.inspect() if i.service == self.service)
        return [i.revision for i in mine if i.arm is Arm.STABLE and i.serves]


@pytest.fixture(params=["simulation", "simulation in place", "process", "external"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kind]:
    """A workload with its first revision stable."""
    lease = FileLease(tmp_path / "live", SystemClock())
    lease.acquire("test")
    if request.param.startswith("simulation"):
        world = World(make_plan(), traits=Traits(in_place=request.param.endswith("place")))
        service = world.plan.services[0]
        assert service.stable is not None
        yield Kind(SimWorkload(world), service.name, service.stable, service.canary)
    elif request.param == "process":
        old, new = revision("v1"), revision("v2")
        process = Process(two_ports(), timedelta(seconds=2), ("SECRET",))
        service = Service("web", canary=new, stable=old, health=Health("/"), runs=process)
        one = ProcessWorkload(service, Layout.at(tmp_path), lease, SystemClock(), {"SECRET": "x"})
        one.start_canary(old)
        one.promote(old)
        yield Kind(PerService({"web": one}, one.clock), "web", old, new)
        one.remove()
    else:
        with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
            old, new = (
                Revision(name, url=f"http://127.0.0.1:{server.getsockname()[1]}")
                for name, server in (("v1", first), ("v2", second))
            )
            outside = ExternalWorkload(
                Service("web", canary=new, stable=old, runs=External()), Layout.at(tmp_path), lease
            )
            outside.promote(old)
            yield Kind(PerService({"web": outside}, SystemClock()), "web", old, new)
    lease.release()


def test_starting_a_canary_leaves_stable_alone_and_may_be_repeated(kind: Kind) -> None:
    first = kind.start(kind.new)
    assert kind.start(kind.new) == first
    assert [i.revision for i in first] == [kind.new.name]
    assert all(i.serves and i.endpoint for i in first)
    assert kind.stable() == [kind.old.name]


def test_promotion_makes_it_stable_and_may_be_repeated(kind: Kind) -> None:
    kind.start(kind.new)
    first = kind.promote(kind.new)
    assert kind.promote(kind.new) == first
    assert kind.stable() == [kind.new.name]


def test_way_back_is_the_same_way(kind: Kind) -> None:
    kind.start(kind.new)
    kind.promote(kind.new)
    kind.workload.remove_canary({kind.service: kind.old.name})
    kind.start(kind.old)
    kind.promote(kind.old)
    kind.workload.remove_canary({})
    assert kind.stable() == [kind.old.name]


def test_old_revision_is_promoted_again_while_the_new_one_serves_from_the_canary_track(kind: Kind) -> None:
    kind.start(kind.new)
    kind.promote(kind.new)
    kind.promote(kind.old)
    assert kind.stable() == [kind.old.name]


def test_removing_the_canary_keeps_stable_and_may_be_repeated(kind: Kind) -> None:
    kind.start(kind.new)
    kind.workload.remove_canary({})
    kind.workload.remove_canary({})
    assert kind.stable() == [kind.old.name]


def test_nothing_to_revive_while_stable_lives(kind: Kind) -> None:
    assert kind.workload.revive() == ()


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
