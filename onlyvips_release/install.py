"""Between releases: the first installation, bringing back what died, taking all down. The same ports as a release."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from onlyvips_release.core import policy as algebra
from onlyvips_release.core.model import Arm, Instance, SuiteResult, Verdict
from onlyvips_release.core.plan import ReleasePlan, Revision
from onlyvips_release.core.ports import Clock, Prober, Router, SuiteRun, Workload
from onlyvips_release.errors import NotReady, Refused


class KeptWorkload(Workload, Protocol):
    """A workload whose stable instances we keep between releases."""

    def stable(self) -> Revision | None:
        """The revision that serves (or must), None before the first installation."""

    def wait_ready(self) -> tuple[Instance, ...]:
        """Wait until stable answers, else NotReady."""

    def stop_all(self) -> None:
        """Stop and forget every instance."""


class KeptRouter(Router, Protocol):
    """A router that we keep between releases."""

    def start(self) -> None:
        """Run it, with the routes it had, or empty ones."""

    def stop(self) -> None:
        """Let requests in flight finish, then end it."""


def install(
    plan: ReleasePlan,
    router: KeptRouter,
    workloads: Mapping[str, KeptWorkload],
    prober: Prober,
    smoke: Callable[[], SuiteRun],
    clock: Clock,
) -> Iterator[str]:
    """Start the router and every service's stable revision, prove them; says each step. Repeatable.

    What was installed before is started as it was (also after a promotion). Raises Refused before anything is
    touched, NotReady when something does not come up or its smoke tests do not pass.
    """
    for service in plan.services:
        known = workloads[service.name].stable()
        if known is None and service.stable is None:
            raise Refused(f"{service.name}: no stable revision is known", remedy="give the plan `stable` for it")
    router.start()
    yield f"router listens on {plan.listen[0]}:{plan.listen[1]}"
    instances: list[Instance] = []
    for service in plan.services:
        instances += bring_up(workloads[service.name], service.stable, routed=service.routed)
        yield f"{service.name} {instances[-1].revision} is ready"
    names = {i.service: i.revision for i in instances if i.endpoint}
    router.point(Arm.STABLE, algebra.endpoints(instances, names))
    router.set_weight(0)
    algebra.prove(prober.probe(Arm.STABLE, 20), Arm.STABLE, names)
    result = wait(smoke(), clock)
    yield f"smoke suite on stable: {result.verdict} ({result.reason})"
    if result.verdict is not Verdict.PASS:
        raise NotReady(f"the smoke tests of the installation did not pass: {result.reason}", remedy=result.report)


def bring_up(workload: KeptWorkload, planned: Revision | None, *, routed: bool) -> tuple[Instance, ...]:
    """Stable of one service: what was there before, else the plan's."""
    known = workload.stable()
    if known is not None:
        workload.revive()
        return workload.wait_ready()
    if planned is None:
        raise Refused("no stable revision is known", remedy="give the plan `stable`")
    if routed:
        workload.start_canary(planned)
    return workload.promote(planned)


def wait(run: SuiteRun, clock: Clock) -> SuiteResult:
    """Until a suite's verdict is known; it is ended when we are interrupted."""
    try:
        while (result := run.poll()) is None:
            clock.sleep(0.05)
    except BaseException:
        run.stop()
        raise
    return result


def take_down(router: KeptRouter, workloads: Mapping[str, KeptWorkload]) -> Iterator[str]:
    """Stop everything that `install` started: the router first, so that nobody is sent to a dying service."""
    router.stop()
    yield "router stopped"
    for name, workload in workloads.items():
        workload.stop_all()
        yield f"{name} stopped"


def repairs(router: Router, workloads: Mapping[str, KeptWorkload]) -> list[str]:
    """Start again what must run and died; says what."""
    done = list(router.revive())
    for workload in workloads.values():
        done += workload.revive()
    return done
