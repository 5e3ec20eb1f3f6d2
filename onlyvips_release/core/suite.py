"""What a suite may know of the platform and of the release that it tests: the content of ONLYVIPS_CONTEXT. Pure.

The runner's side writes it, and every pytest run of a suite reads it: so nothing here imports the judge at run time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from onlyvips_release.core.model import Arm, Instance, Percent
from onlyvips_release.core.plan import Identity, ReleasePlan

if TYPE_CHECKING:
    from onlyvips_release.core.lifecycle import Release

Counts = Mapping[str, Mapping[str, Mapping[str, tuple[int, int]]]]
"""service -> metric -> arm -> (bad, total)."""


@dataclass(frozen=True, slots=True)
class InstanceContext:
    """One running copy of a service. `port`: where it answers without the router, None = it answers no HTTP."""

    arm: str = ""
    revision: str = ""
    identity: str = ""
    pid: int | None = None
    alive: bool = False
    log: str = ""
    port: int | None = None

    @classmethod
    def of(cls, i: Instance) -> InstanceContext:
        """What a suite may know of an instance."""
        return cls(i.arm, i.revision, i.identity, i.pid, i.alive, i.log, i.endpoint.port if i.endpoint else None)


@dataclass(frozen=True, slots=True)
class Access:
    """How a suite reaches both arms of a routed service through the router.

    `host`: the Host header; `health`: path of the health request; `pins`: arm -> value of the header that chooses it
    (secret); `identity`: where the app names its revision; `admin`: an admin's bearer token (secret), "" = none.
    """

    url: str = ""
    host: str = ""
    health: str = ""
    pins: Mapping[str, str] = field(default_factory=dict, repr=False)
    identity: Identity | None = None
    admin: str = field(default="", repr=False)

    @property
    def secrets(self) -> list[str]:
        """What must not stay in a report: the pins' tokens and the admin's."""
        tokens = [pin.partition("-")[2] for pin in self.pins.values()]
        return [*tokens, *([self.admin] if self.admin else [])]


@dataclass(frozen=True, slots=True)
class ServiceContext(Access):
    """One service. `revisions`: arm -> the revision that must answer there; a service without traffic has no URL."""

    routed: bool = False
    revisions: Mapping[str, str] = field(default_factory=dict)
    instances: tuple[InstanceContext, ...] = ()

    def reached_by(self, access: Access) -> ServiceContext:
        """The same service, with the way to reach it."""
        return replace(self, **{one.name: getattr(access, one.name) for one in fields(Access)})


@dataclass(frozen=True, slots=True)
class SuiteContext:
    """One run of a suite: its release and step, the arm under test (None = not yet chosen), the weight in percent.

    `gate`: the lowest severity whose failure counts; `metrics`: what the judge had counted when the run began.
    """

    release: str = ""
    step: int = 0
    metrics: Counts = field(default_factory=dict)
    services: Mapping[str, ServiceContext] = field(default_factory=dict)
    suite: str = ""
    arm: Arm | None = None
    weight: Percent = 0
    gate: str = "normal"

    def reached_by(self, access: Mapping[str, Access]) -> SuiteContext:
        """The same, with the way to reach each service that is named."""
        services = {name: self.services.get(name, ServiceContext()).reached_by(one) for name, one in access.items()}
        return replace(self, services={**self.services, **services})


def release_context(release: Release, instances: Iterable[Instance]) -> SuiteContext:
    """What a suite may know at this moment of a release."""
    serves = release.new if release.committed and release.cause is None else release.old
    services = service_contexts(release.plan, serves, instances)
    return SuiteContext(release.id, release.step, judged_counts(release), services)


def judged_counts(release: Release) -> Counts:
    """What the judge has counted since the first step; a service without a counted request is left out."""
    counted: dict[str, dict[str, dict[str, tuple[int, int]]]] = {}
    for view in (view for view in release.evidence.judge.views() if view.canary_total or view.stable_total):
        counts = {"canary": (view.canary_bad, view.canary_total), "stable": (view.stable_bad, view.stable_total)}
        counted.setdefault(view.service, {})[view.metric] = counts
    return counted


def service_contexts(
    plan: ReleasePlan, serves: Mapping[str, str], instances: Iterable[Instance]
) -> dict[str, ServiceContext]:
    """Each service of the plan with the revision of either arm (`serves`: that of stable) and its instances."""
    running, contexts = tuple(instances), {}
    for service in plan.services:
        revisions = {"stable": serves[service.name], "canary": service.canary.name}
        mine = tuple(InstanceContext.of(instance) for instance in running if instance.service == service.name)
        contexts[service.name] = ServiceContext(routed=service.routed, revisions=revisions, instances=mine)
    return contexts
