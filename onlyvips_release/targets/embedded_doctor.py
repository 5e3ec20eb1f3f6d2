"""What stands in the way of a release on this machine: services, router, counters. It reads; it touches nothing."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx

from onlyvips_release.core.model import Arm
from onlyvips_release.core.plan import Revision, Service
from onlyvips_release.core.target import Finding, guarded, ok, problem
from onlyvips_release.errors import Unavailable

if TYPE_CHECKING:
    from onlyvips_release.targets.embedded import Embedded

SKEW = 5.0
"""Seconds by which the clock of another machine may differ."""


def examine(target: Embedded) -> Iterator[Finding]:
    """All of it, one after the other; a problem does not hide those after it."""
    for service in target.plan.services:
        yield guarded(f"{service.name}: stable", stable, service, target)
        yield guarded(f"{service.name}: canary", canary, service, target)
    yield guarded("router", router, target)
    yield guarded("metrics", metrics, target)


def stable(name: str, service: Service, target: Embedded) -> Finding:
    """Whether stable answers its health request."""
    serving = target.workload.stable().get(service.name)
    mine = [i for i in target.workload.inspect() if i.service == service.name and i.arm is Arm.STABLE]
    instances = [i for i in mine if serving and i.revision == serving.name]
    if not serving or not instances or not all(i.alive for i in instances):
        return problem(name, "does not run", "onlyvips-release up PLAN")
    if not service.routed or service.health is None:
        return ok(name, f"{serving.name} runs")
    for endpoint in (i.endpoint for i in instances if i.endpoint):
        answer = ask(f"http://{endpoint.host}:{endpoint.port}{service.health.path}")
        if answer.status_code != 200:
            return problem(name, f"health answers {answer.status_code}", "mend stable before anything is released")
        if seconds := skew(answer):
            return problem(name, f"its clock differs by {seconds:.0f} s", "set the clocks by NTP")
    return ok(name, f"{serving.name} is healthy")


def canary(name: str, service: Service, target: Embedded) -> Finding:
    """Whether the canary can be reached or started, and is another revision."""
    serving, revision = target.workload.stable().get(service.name), service.canary
    if serving and (serving.name == revision.name or is_same(serving, revision)):
        return problem(name, f"{revision.name} is what runs already", "give the plan another canary")
    if revision.url:
        answer = ask(revision.url + (service.health.path if service.health else "/"))
        if answer.status_code != 200:
            return problem(name, f"{revision.url} answers {answer.status_code}", "mend the canary")
        return ok(name, f"{revision.name} answers")
    variables, program = target.environment.variables, revision.command[0]
    if program != "{python}" and shutil.which(program, path=variables.get("PATH")) is None:
        return problem(name, f"no such program: {program}", "correct the plan's command, or the PATH")
    if missing := [variable for variable in service.runs.env_from if variable not in variables]:
        return problem(name, f"variables that it needs are not set: {', '.join(missing)}", "set them for this command")
    return ok(name, f"{revision.name} can be started")


def is_same(one: Revision, other: Revision) -> bool:
    """Whether two revisions run the very same thing, whatever they are called."""
    return replace(one, name=other.name) == other


def ask(url: str) -> httpx.Response:
    """One request; no redirect is followed."""
    try:
        return httpx.get(url, timeout=5, headers={"User-Agent": "onlyvips-release"})
    except httpx.HTTPError as error:
        remedy = "see that it runs, and that its address is right"
        raise Unavailable(f"{url} does not answer ({type(error).__name__})", remedy=remedy) from error


def skew(answer: httpx.Response) -> float:
    """Seconds between the answer's clock and ours, 0 where they agree or the answer has no date."""
    date = answer.headers.get("date")
    apart = abs(time.time() - parsedate_to_datetime(date).timestamp()) if date else 0.0
    return apart if apart > SKEW else 0.0


def router(name: str, target: Embedded) -> Finding:
    """Whether it runs, which weight it has, and whether it could be given another."""
    found = target.router()
    if not found.running():
        return problem(name, "does not run", "onlyvips-release up PLAN")
    weight = found.read_weight()
    if not os.access(target.layout.router, os.W_OK):
        return problem(name, "its folder cannot be written", f"give this user {target.layout.live}")
    return ok(name, f"weight {weight} %")


def metrics(name: str, target: Embedded) -> Finding:
    """Whether the counters can be read for both arms of every routed service."""
    counters = target.source.sample().arms
    totals = {service: sum(s.good + s.bad for s in arms[Arm.STABLE]) for service, arms in counters.items()}
    if not all(arms[Arm.STABLE] for arms in counters.values()):
        return problem(name, "no series of stable", "onlyvips-release up PLAN")
    silent = sorted(service for service, total in totals.items() if not total)
    note = f"; no user's request yet: {', '.join(silent)}" if silent else ""
    return ok(name, f"{sum(totals.values())} requests counted on stable{note}")
