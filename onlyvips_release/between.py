"""What is done to a platform between its releases: serve, repair, take down, see who is refused. Over ports only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from onlyvips_release.core import proof
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.model import Arm, Instance
from onlyvips_release.core.plan import ReleasePlan, Revision
from onlyvips_release.core.target import Target
from onlyvips_release.errors import Interfered, NotConfirmed, Refused, TargetError, Unavailable

Tell = Callable[[str], None]

ACT = timedelta(minutes=10)
"""Longest time of one act: a service that starts."""

SERVES, BROKEN, DOWN = "serves", "broken", "down"


def serve(target: Target, plan: ReleasePlan, serving: Mapping[str, Revision], tell: Tell) -> None:
    """Users are on these revisions: start what does not run, send users there, prove it."""
    workload, token = target.workload, os.urandom(16).hex()
    router, prober = target.router("up", token), target.prober(token)
    target.lease.renew(ACT, 0)
    workload.promote(serving)
    instances = workload.wait_ready()
    for instance in instances:
        tell(f"{instance.service} {instance.revision} is ready")
    routed = {s.name: serving[s.name].name for s in plan.routed if s.name in serving}
    router.point(Arm.STABLE, proof.endpoints(instances, routed))
    router.set_weight(0)
    proof.prove(prober.probe(Arm.STABLE, prober.proof), workload.inspect(), Arm.STABLE, routed)
    router.reset()


def serve_open(target: Target, release: Release, tell: Tell) -> None:
    """What users of an open release need; what becomes of it is for `resume` or `recover` to say."""
    safe, workload = release.safe_weight, target.workload
    target.lease.renew(ACT, safe)
    router = target.router(release.id, target.archive.token(release.id))
    with contextlib.suppress(Unavailable):  # the weight is written also where nothing runs
        router.set_weight(safe)
    for name in (*router.revive(), *workload.revive()):
        tell(f"{name} is started")
    workload.promote(workload.stable())  # also where `down` stopped it
    workload.wait_ready()
    mend_stable(target)
    router.set_weight(safe)
    tell(f"release {release.id} is not finished, {safe} % of users are on its canary arm: resume it, or recover")


def state_of(target: Target) -> str:
    """Whether the platform serves, is broken, or was taken down."""
    instances, runs = stable_of(target), target.router().running()
    if not instances and not runs:
        return DOWN
    return SERVES if runs and all(i.alive or i.pid is None for i in instances) else BROKEN


def repair(target: Target, tell: Tell) -> None:
    """Start again what must run and died."""
    for name in (*target.router().revive(), *target.workload.revive()):
        tell(f"{name} had died and was started again")
    mend_stable(target)


def mend_stable(target: Target) -> None:
    """Instances may have come back at other addresses: the router must point at where they answer."""
    router = target.router()
    if moved := proof.moved(router.points_at(Arm.STABLE) or {}, stable_of(target)):
        router.point(Arm.STABLE, moved)


def take_down(targets: Sequence[Target], tell: Tell) -> None:
    """Stop the router first, so that nobody is sent to a dying service. `targets`: of the plans that may have services.

    Raises NotConfirmed where something still runs or answers.
    """
    running = [i for target in targets for i in target.workload.inspect() if i.alive]
    targets[0].router().stop()
    tell("router stopped")
    for target in targets:
        target.workload.stop_all()
    for name in dict.fromkeys(f"{i.service} {i.revision}" for i in running):
        tell(f"{name} stopped")
    left = [i for target in targets for i in target.workload.inspect() if i.alive]
    lines = [f"{i.service} {i.revision} still runs ({i.identity})" for i in left]
    answers = [probe for probe in targets[0].prober("").probe(None, 1) if probe.status is not None]
    lines += [f"{probe.service}: users still get {proof.answer_of(probe)}" for probe in answers]
    if lines:
        raise NotConfirmed("; ".join(lines), remedy="end what still answers, then `down` again")


def remove_router(target: Target, tell: Tell) -> None:
    """Where nothing is installed: it was started for an installation that failed."""
    if not target.workload.stable() and target.router().running():
        target.router().stop()
        tell("nothing is installed: router stopped")


def refused(target: Target, plan: ReleasePlan) -> list[str]:
    """Whose users are not answered now. Nobody's where nothing was ever installed, or it was taken down."""
    stable, instances = target.workload.stable(), stable_of(target)
    if not stable or state_of(target) == DOWN:
        return []
    probes = [p for p in target.prober("").probe(None, 1) if p.service in stable and p.status != 200]
    serve_now = {i.service for i in instances if i.serves}
    dead = [s.name for s in plan.unrouted if s.name in stable and s.name not in serve_now]
    return [*(f"{p.service}: {proof.answer_of(p)}" for p in probes), *(f"{name} does not run" for name in dead)]


def refuse_left_out(target: Target, in_force: ReleasePlan, plan: ReleasePlan) -> None:
    """Raise Refused where a service serves by the plan in force that `plan` leaves out. `target`: of that in force."""
    names = {service.name for service in plan.services}
    if names.issuperset(service.name for service in in_force.services):
        return
    answered = {probe.service for probe in target.prober("").probe(None, 1) if probe.status == 200}
    unrouted = {service.name for service in in_force.unrouted}
    running = {i.service for i in stable_of(target) if i.serves and i.service in unrouted}
    if left := sorted((answered | running) - names):
        raise Refused(
            f"users are on {', '.join(left)}, which this plan leaves out: the router would refuse them",
            remedy="add it to the plan; to take it off: onlyvips-release down PLAN, then up PLAN",
        )


def at_rest(target: Target, plan: ReleasePlan) -> bool:
    """Whether `recover` has nothing to do where no release is open: all users are on stable, which answers them.

    It only looks: where something is in doubt, False.
    """
    try:
        if (state := state_of(target)) == SERVES:
            answered = bool(target.workload.stable()) and not refused(target, plan)
            return answered and target.router().read_weight() == 0
    except (TargetError, Interfered):
        return False
    return state == DOWN


def stable_of(target: Target) -> list[Instance]:
    """Stable's instances; none where it was taken down."""
    return [i for i in target.workload.inspect() if i.arm is Arm.STABLE]
