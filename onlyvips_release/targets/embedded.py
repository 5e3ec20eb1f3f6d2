"""The target of one machine: Envoy as the router, processes and addresses as services, files as records.

The only module that knows all of them. Adapters are imported when they are used: `status` needs a lease, no HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from onlyvips_release.core.model import Arm
from onlyvips_release.core.plan import ReleasePlan, Service
from onlyvips_release.core.ports import Clock
from onlyvips_release.core.suite import Access
from onlyvips_release.core.target import Finding, Live
from onlyvips_release.environment import Environment
from onlyvips_release.errors import Unavailable
from onlyvips_release.state.journal import FileArchive
from onlyvips_release.state.layout import Layout
from onlyvips_release.state.lease import FileLease
from onlyvips_release.state.requests import RequestFile
from onlyvips_release.targets.embedded_plan import External

if TYPE_CHECKING:
    from onlyvips_release.targets.process_guardian import ProcessGuardian
    from onlyvips_release.telemetry.gauges import GaugedSource
    from onlyvips_release.telemetry.probe import RouterProber
    from onlyvips_release.traffic.envoy import EnvoyRouter
    from onlyvips_release.workloads.services import OneService, PerService

# ruff: noqa: PLC0415 - see above


class Embedded:
    """Port Target. `lease` None = a lease of its own."""

    def __init__(
        self, plan: ReleasePlan, environment: Environment, clock: Clock, lease: FileLease | None = None
    ) -> None:
        self.plan, self.environment, self.clock = plan, environment, clock
        self.layout = Layout(environment.state, plan.platform)
        self.lease = lease or FileLease(self.layout.live, clock, plan.lease)
        self.requests = RequestFile(self.layout.request)
        self.archive = FileArchive(self.layout, clock, self.lease)

    def for_plan(self, plan: ReleasePlan) -> Embedded:
        """With the same lease."""
        return Embedded(plan, self.environment, self.clock, self.lease)

    # --- ports --------------------------------------------------------------------------------------------------------

    @cached_property
    def workload(self) -> PerService:
        """One for each service of the plan."""
        from onlyvips_release.workloads.services import PerService

        return PerService({service.name: self._service(service) for service in self.plan.services}, self.clock)

    @cached_property
    def source(self) -> GaugedSource:
        """Envoy's counters, its log of attempts, and what the operating system counts of our processes."""
        from onlyvips_release.telemetry.envoy import EnvoySource
        from onlyvips_release.telemetry.gauges import GaugedSource
        from onlyvips_release.telemetry.proc import Usage

        return GaugedSource(EnvoySource(self.layout, self.plan), Usage(self.workload.inspect))

    def router(self, release: str = "", token: str = "") -> EnvoyRouter:
        """The one Envoy of the platform."""
        from onlyvips_release.traffic.envoy import EnvoyRouter

        binary = self.environment.router_binary
        return EnvoyRouter(self.layout, self.plan, self.lease, self.clock, binary, release, token)

    def prober(self, token: str) -> RouterProber:
        """Over Envoy's own listener."""
        from onlyvips_release.telemetry.probe import RouterProber

        return RouterProber(self.url, self.plan.routed, token)

    def guardian(self, release: str) -> ProcessGuardian:
        """A process of its own on this machine."""
        from onlyvips_release.targets.process_guardian import ProcessGuardian

        return ProcessGuardian(self.layout, release, lambda: self.lease.fence, self.environment)

    @property
    def url(self) -> str:
        """Where this machine reaches the router."""
        host, port = self.plan.listen
        return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"

    def access(self, token: str) -> dict[str, Access]:
        """Through Envoy's listener, by Host header and pin."""
        pins = {str(arm): f"{arm}-{token}" for arm in Arm}
        return {
            service.name: Access(
                self.url,
                service.host.replace("*", "onlyvips.local") or "onlyvips.local",
                service.health.path if service.health else "/",
                pins,
                service.identity,
            )
            for service in self.plan.routed
        }

    def _service(self, service: Service) -> OneService:
        from onlyvips_release.workloads.external import ExternalWorkload
        from onlyvips_release.workloads.process import ProcessWorkload

        if isinstance(service.runs, External):
            return ExternalWorkload(service, self.layout, self.lease)
        return ProcessWorkload(service, self.layout, self.lease, self.clock, self.environment.variables)

    # --- what people look at ------------------------------------------------------------------------------------------

    def examine(self) -> Iterator[Finding]:
        """Services, router, counters."""
        from onlyvips_release.targets import embedded_doctor

        return embedded_doctor.examine(self)

    def live(self, seconds: float) -> Live:
        """Asked of Envoy's admin socket, twice."""
        from onlyvips_release.clients.envoy_admin import Admin

        admin = Admin(self.layout.router)
        try:
            version = admin.stats("^http.ingress.rds.main.version_text$").popitem()[1]
            before = answers(admin.stats(ANSWERED))
            self.clock.sleep(seconds)
            after = answers(admin.stats(ANSWERED))
        except (Unavailable, KeyError) as error:
            return Live(trouble=f"does not answer: {error}")
        weight = re.search(r"\.w(\d+)\"$", version)
        counts = {name: count - before.get(name, 0) for name, count in sorted(after.items())}
        return Live(int(weight[1]) if weight else None, counts, seconds)


ANSWERED = "^cluster\\.[^.]*__(stable|canary|retry)\\.upstream_rq_completed$"
"""Users' requests that an arm has answered; pinned ones run over other clusters."""


def answers(stats: Mapping[str, str]) -> dict[str, int]:
    """Requests by service and arm."""
    return {name.split(".")[1].replace("__", " "): int(value) for name, value in stats.items()}


def open_target(plan: ReleasePlan, environment: Environment, clock: Clock) -> Embedded:
    """The platform of this plan on this machine."""
    return Embedded(plan, environment, clock)
