"""Between releases: the first installation, bringing back what died, taking all down. The same ports as a release."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onlyvips_release.core import proof
from onlyvips_release.core.model import Arm, SuiteResult, Verdict
from onlyvips_release.core.plan import ReleasePlan
from onlyvips_release.core.ports import Clock, InstalledRouter, InstalledWorkload, Prober, Router, SuiteRun
from onlyvips_release.errors import NotReady, Refused


def install(
    plan: ReleasePlan,
    router: InstalledRouter,
    workload: InstalledWorkload,
    prober: Prober,
    smoke: Callable[[], SuiteRun],
    clock: Clock,
) -> Iterator[str]:
    """Start the router and every service's stable revision, prove them; says each step. Repeatable.

    What was installed before is started as it was (also after a promotion). Raises Refused before anything is
    touched, NotReady when something does not come up or its smoke tests do not pass.
    """
    stable = workload.stable()
    for service in plan.services:
        if service.name not in stable and service.stable is None:
            raise Refused(f"{service.name}: no stable revision is known", remedy="give the plan `stable` for it")
    router.start()
    yield f"router listens on {plan.listen[0]}:{plan.listen[1]}"
    workload.revive()
    new = {s.name: s.stable for s in plan.services if s.name not in stable and s.stable is not None}
    workload.start_canary({s.name: new[s.name] for s in plan.routed if s.name in new}, 100)
    workload.promote(new)
    instances = workload.wait_ready()
    for service in plan.services:
        yield f"{service.name} {next(i.revision for i in instances if i.service == service.name)} is ready"
    names = {i.service: i.revision for i in instances if i.endpoint}
    router.point(Arm.STABLE, proof.endpoints(instances, names))
    router.set_weight(0)
    proof.prove(prober.probe(Arm.STABLE, prober.proof), workload.inspect(), Arm.STABLE, names)
    result = wait(smoke(), clock)
    yield f"smoke suite on stable: {result.verdict} ({result.reason})"
    if result.verdict is not Verdict.PASS:
        raise NotReady(f"the smoke tests of the installation did not pass: {result.reason}", remedy=result.report)


def wait(run: SuiteRun, clock: Clock) -> SuiteResult:
    """Until a suite's verdict is known; it is ended when we are interrupted."""
    try:
        while (result := run.poll()) is None:
            clock.sleep(0.05)
    except BaseException:
        run.stop()
        raise
    return result


def take_down(router: InstalledRouter, workload: InstalledWorkload, *, forget: bool = False) -> Iterator[str]:
    """Stop everything that `install` started: the router first, so that nobody is sent to a dying service."""
    router.stop()
    yield "router stopped"
    workload.stop_all(forget=forget)
    yield "services stopped"


def repairs(router: Router, workload: InstalledWorkload) -> list[str]:
    """Start again what must run and died; says what."""
    return [*router.revive(), *workload.revive()]
