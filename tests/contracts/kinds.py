"""One row per adapter: what a new one needs to be held to the contracts."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from onlyvips_release.clock import SystemClock
from onlyvips_release.core.model import Arm, Endpoint, Instance
from onlyvips_release.core.plan import Health, Revision, Service
from onlyvips_release.core.ports import Endpoints, Router, Source, Workload
from onlyvips_release.environment import Environment
from onlyvips_release.state.layout import Layout
from onlyvips_release.state.lease import FileLease
from onlyvips_release.targets.embedded_plan import External, Process
from onlyvips_release.workloads.external import ExternalWorkload
from onlyvips_release.workloads.process import ProcessWorkload
from onlyvips_release.workloads.services import PerService
from tests.testing.plans import make_plan
from tests.testing.router_rig import bench
from tests.testing.simulated_ports import SimWorkload
from tests.testing.simulation import Traits, World
from tests.testing.toy_target import Shelf, ToyTarget, open_target
from tests.workloads.test_process import revision, two_ports


@dataclass
class WorkloadKind:
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


@dataclass
class RouterKind:
    """A router with its source, and endpoints to point at."""

    router: Router
    source: Source
    endpoints: dict[Arm, Endpoints]


@contextmanager
def simulated_workload(folder: Path, traits: Traits) -> Iterator[WorkloadKind]:
    """Of the world in memory."""
    world = World(make_plan(), traits=traits)
    service = world.plan.services[0]
    assert service.stable is not None
    yield WorkloadKind(SimWorkload(world), service.name, service.stable, service.canary)


@contextmanager
def held(folder: Path) -> Iterator[FileLease]:
    """The lease of a platform in this folder."""
    lease = FileLease(folder / "live", SystemClock())
    lease.acquire("test")
    yield lease
    lease.release()


@contextmanager
def processes(folder: Path) -> Iterator[WorkloadKind]:
    """Of this machine."""
    with held(folder) as lease:
        old, new = revision("v1"), revision("v2")
        process = Process(two_ports(), timedelta(seconds=2), ("SECRET",))
        service = Service("web", canary=new, stable=old, health=Health("/"), runs=process)
        one = ProcessWorkload(service, Layout.at(folder), lease, SystemClock(), {"SECRET": "x"})
        one.start_canary(old)
        one.promote(old)
        yield WorkloadKind(PerService({"web": one}, one.clock), "web", old, new)
        one.remove()


@contextmanager
def addresses(folder: Path) -> Iterator[WorkloadKind]:
    """Two that somebody else keeps."""
    with (
        held(folder) as lease,
        socket.create_server(("127.0.0.1", 0)) as first,
        socket.create_server(("127.0.0.1", 0)) as second,
    ):
        old, new = (
            Revision(name, url=f"http://127.0.0.1:{server.getsockname()[1]}")
            for name, server in (("v1", first), ("v2", second))
        )
        outside = ExternalWorkload(Service("web", canary=new, stable=old, runs=External()), Layout.at(folder), lease)
        outside.promote(old)
        yield WorkloadKind(PerService({"web": outside}, SystemClock()), "web", old, new)


@contextmanager
def toy(folder: Path) -> Iterator[ToyTarget]:
    """A toy platform with one service on v1, its lease held."""
    old, new = Revision("v1", image="one"), Revision("v2", image="two")
    service = Service("web", canary=new, stable=old, health=Health("/"), runs=Shelf(2))
    plan = replace(make_plan(), services=(service,), target="toy")
    target = open_target(plan, Environment(folder, folder, {}), SystemClock())
    target.lease.acquire("test")
    target.router().start()
    target.workload.promote({"web": old})
    yield target
    target.lease.release()


@contextmanager
def toy_workload(folder: Path) -> Iterator[WorkloadKind]:
    """Of a file."""
    with toy(folder) as target:
        service = target.plan.services[0]
        assert service.stable is not None
        yield WorkloadKind(target.workload, "web", service.stable, service.canary)


@contextmanager
def simulated_router(folder: Path) -> Iterator[RouterKind]:
    """Of the world in memory."""
    ports = World(make_plan()).ports()
    yield RouterKind(ports.router, ports.source, {Arm.CANARY: {"backend-api": []}})


@contextmanager
def envoy(folder: Path) -> Iterator[RouterKind]:
    """A real one."""
    with bench() as rig:
        stable, canary = [rig.at("stable", "v1")], [rig.at("canary", "v2")]
        both: dict[Arm, Endpoints] = {Arm.STABLE: {"backend-api": stable}, Arm.CANARY: {"backend-api": canary}}
        yield RouterKind(rig.router, rig.source, both)


@contextmanager
def toy_router(folder: Path) -> Iterator[RouterKind]:
    """Of a file."""
    with toy(folder) as target:
        where = {arm: {"web": [Endpoint("127.0.0.1", 1, name)]} for arm, name in zip(Arm, ("v1", "v2"), strict=True)}
        yield RouterKind(target.router(), target.source, dict(where))


Make = Callable[[Path], AbstractContextManager[WorkloadKind]]
WORKLOADS: dict[str, Make] = {
    "simulation": lambda folder: simulated_workload(folder, Traits()),
    "simulation in place": lambda folder: simulated_workload(folder, Traits(in_place=True)),
    "process": processes,
    "external": addresses,
    "toy": toy_workload,
}
ROUTERS: dict[str, Callable[[Path], AbstractContextManager[RouterKind]]] = {
    "simulation": simulated_router,
    "toy": toy_router,
    "envoy": envoy,
}
SLOW = {"envoy"}
"""Rows that need more than a second."""
