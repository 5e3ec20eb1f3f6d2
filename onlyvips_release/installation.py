"""What may be released or installed: plans filled with what users are on. It reads; it starts what died, no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

from onlyvips_release.core.model import Arm
from onlyvips_release.core.plan import ReleasePlan, Revision, Service
from onlyvips_release.core.target import Target
from onlyvips_release.errors import PlanError, Problem, Refused

WATCH = timedelta(seconds=15)
"""Longest watch of a first installation: no users were there before it whom a longer one could protect."""

Revisions = Mapping[str, Mapping[Arm, str]]
"""service -> arm -> name of its revision, "" = none."""


def new_services(plan: ReleasePlan, serving: Mapping[str, Revision]) -> dict[str, Revision]:
    """What must be installed: `stable` of each service that nothing serves yet, else its `canary`."""
    return {s.name: s.stable or s.canary for s in plan.services if s.name not in serving}


def same_services(one: ReleasePlan, other: ReleasePlan) -> bool:
    """Whether two plans have the same services; else the newer one must be recorded before anything goes by it."""
    return {service.name for service in one.services} == {service.name for service in other.services}


def installation(
    plan: ReleasePlan, serving: Mapping[str, Revision], new: Mapping[str, Revision]
) -> tuple[ReleasePlan, Revisions]:
    """The plan of a first installation, in which services that are served already stay as they are.

    The revision to be installed is the canary; there is no stable one to compare it with.
    """
    wanted = {**new, **serving}
    services = tuple(replace(s, stable=None, canary=wanted[s.name]) for s in plan.services)
    revisions = {
        s.name: {Arm.STABLE: serving[s.name].name if s.name in serving else "", Arm.CANARY: wanted[s.name].name}
        for s in plan.services
    }
    return replace(plan, services=services, watch=min(plan.watch, WATCH)), revisions


def may_be_released(target: Target, plan: ReleasePlan, before: Iterable[Mapping[str, Revision]]) -> ReleasePlan:
    """The plan as it is carried out: each stable filled in, what each name means fixed. `before`: what users were on.

    Raises Refused or PlanError: no canary was started, no user was moved.
    """
    router, workload = target.router(), target.workload
    if not router.running():
        raise Refused("the router does not run", remedy="install first: onlyvips-release up PLAN")
    if (weight := router.read_weight()) != 0:
        raise Refused(f"{weight} % of users are on a canary without a release", remedy="onlyvips-release recover")
    serving, canaries = workload.stable(), workload.resolve({s.name: s.canary for s in plan.services})
    services = tuple(with_stable(replace(s, canary=canaries[s.name]), serving) for s in plan.services)
    refuse_used_names(services, before)
    workload.revive()
    workload.wait_ready()
    return replace(plan, services=services)


def with_stable(service: Service, serving: Mapping[str, Revision]) -> Service:
    """The service with the revision that users are on as its stable one. Raises Refused or PlanError."""
    now, planned = serving.get(service.name), service.stable
    if now is None:
        raise Refused(f"{service.name} is not installed", remedy="onlyvips-release up PLAN starts it")
    if planned is not None and planned.name != now.name:
        raise Refused(
            f"{service.name}: the plan says that {planned.name} is stable, but users are on {now.name}",
            remedy=f"write `stable: {{revision: {now.name}, …}}`, or leave `stable` out",
        )
    if planned is not None and planned != now:
        raise Refused(
            f"{service.name}: {now.name} runs, but not as the plan describes it",
            remedy="a revision's name is for ever: give the changed one another name",
        )
    try:
        return replace(service, stable=now)
    except PlanError as error:
        problems = tuple(Problem(0, 0, f"services.{service.name}.{p.key}", p.message) for p in error.problems)
        raise PlanError(problems) from error


def refuse_used_names(services: Iterable[Service], before: Iterable[Mapping[str, Revision]]) -> None:
    """A name that once meant another revision cannot tell the two apart. `before`: what users were on."""
    before = tuple(before)
    for service in services:
        named = [revisions[service.name] for revisions in before if service.name in revisions]
        if any(one.name == service.canary.name and one != service.canary for one in named):
            raise Refused(
                f"{service.name}: users were on another {service.canary.name} before",
                remedy="a revision's name is for ever: give this one another name",
            )
