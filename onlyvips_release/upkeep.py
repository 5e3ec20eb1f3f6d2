"""What a running release must look after in every phase: its lease, what must live, where it answers, who asks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

from onlyvips_release.core import policy, proof
from onlyvips_release.core.commands import (
    Command,
    EndPromotion,
    EndRollback,
    Finish,
    Observe,
    ReplaceStable,
    ReplaceUnrouted,
    StartCanary,
)
from onlyvips_release.core.events import Event, Noted, Notified, Phase
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.model import Arm, Instance, Percent
from onlyvips_release.core.plan import Revision
from onlyvips_release.core.ports import Ports
from onlyvips_release.errors import ReleaseError, TargetError, Unavailable

POLL_INTERVAL = 0.5
"""Seconds between two polls of instance health and operator requests."""

MAIN_LOOP = timedelta(seconds=30)
"""Longest time between two lease renewals, not counting service start-up and drain."""

WORKLOAD_ACTS: dict[type, str] = {
    StartCanary: "start_canary",
    ReplaceUnrouted: "promote",
    ReplaceStable: "promote",
    EndPromotion: "remove_canary",
    EndRollback: "remove_canary",
    Finish: "remove_canary",
}
"""The workload's act in each command that waits for instances."""


class Upkeep:
    """Of one release on its ports; `record` folds and journals an event. `lease_trouble`: why the lease could not be
    renewed the last time, "" = it was."""

    def __init__(self, release: Release, ports: Ports, record: Callable[..., None]) -> None:
        self.release, self.ports, self.record = release, ports, record
        self.poll_due = 0.0
        self.lease_trouble = ""

    def renew_lease(self, command: Command) -> None:
        """Renew the lease and state when the next renewal is due."""
        act = WORKLOAD_ACTS.get(type(command))
        within = MAIN_LOOP + (self.ports.workload.within(act) if act else timedelta(0))
        self.lease_trouble = ""
        try:
            self.ports.lease.renew(within, self.safe_weight())
        except Unavailable as error:
            self.lease_trouble = f"the lease cannot be reached: {error}"

    def poll(self) -> bool:
        """Between two acts, at most every half second: renew the lease, start again what died, take requests.

        True when an operator asked for something.
        """
        now = self.ports.clock.monotonic()
        if now < self.poll_due:
            return False
        self.poll_due = now + POLL_INTERVAL
        self.renew_lease(Observe())
        for revived in self.revive():
            self.record(Noted(f"{revived} had died and was started again"))
        if self.release.phase is not Phase.PROMOTING:
            self.mend_endpoints(Arm.STABLE)
        self.record(*self.deliveries())
        request = self.ports.requests.take()
        if request:
            self.record(*policy.after_request(self.release, request))
        return request is not None

    def deliveries(self) -> list[Event]:
        """Messages that reached people since the last call."""
        return [Notified(sink, key) for sink, key in self.ports.notifier.delivered()]

    def revive(self) -> list[str]:
        """Start again what must run and died. A control plane that is away is no reason to give the release up."""
        revived = list(self.ports.router.revive())
        with contextlib.suppress(Unavailable):
            revived += self.ports.workload.revive()
        return revived

    def mend_endpoints(self, arm: Arm) -> None:
        """Instances may have come back at other addresses: the router must point at where they answer."""
        with contextlib.suppress(Unavailable):
            written = self.ports.router.points_at(arm)
            if written is None:
                return
            instances = [i for i in self.ports.workload.inspect() if i.arm is arm]
            if moved := proof.moved(written, instances):
                self.ports.router.point(arm, moved)
                self.record(Noted(f"{', '.join(moved)}: the router points at where {arm} answers now"))

    def safe_weight(self) -> int:
        """Where users are safe now: never an arm without a ready instance while the other one has some."""
        safe, track = self.release.safe_weight, self.release.track
        if track is None:
            return safe
        wanted = self.release.old if track is Arm.STABLE else self.release.new
        try:
            serving = [i for i in self.ports.workload.inspect() if i.serves]
        except Unavailable:
            return safe
        routed = [service.name for service in self.release.plan.routed]
        tracked = {i.service for i in serving if i.revision == wanted[i.service]}
        stable = {i.service for i in serving if i.arm is Arm.STABLE}
        return 0 if stable.issuperset(routed) and not tracked.issuperset(routed) else safe

    def start_guardian(self) -> None:
        """Have it watch before any user depends on it."""
        if watcher := self.ports.guardian.start():
            self.record(Noted(watcher))

    def prove(self, arm: Arm, revisions: Mapping[str, str]) -> None:
        """Raise NotReady unless this arm answers with these revisions."""
        prober = self.ports.prober
        proof.prove(prober.probe(arm, prober.proof), self.ports.workload.inspect(), arm, revisions)

    def is_proven(self, arm: Arm, revisions: Mapping[str, str]) -> bool:
        """Whether it does."""
        try:
            self.prove(arm, revisions)
        except TargetError:
            return False
        return True

    # --- which revisions ------------------------------------------------------------------------------------------

    def start_track(self, which: Arm, weight: Percent) -> tuple[Instance, ...]:
        """Run the revisions of `which` in the canary track; what runs already stays as it is."""
        names = [name for name in self.routed(self.names(which)) if not self.release.keeps(name)]
        return self.ports.workload.start_canary({name: self.revision(name, which) for name in names}, weight)

    def point_canary(self, instances: Iterable[Instance], which: Arm) -> None:
        """A service that the release keeps as it is answers on both arms from the same instances."""
        there = self.ports.workload.inspect()
        kept = [i for i in there if i.arm is Arm.STABLE and self.release.keeps(i.service)]
        where = proof.endpoints([*instances, *kept], self.routed(self.names(which)))
        self.ports.router.point(Arm.CANARY, where)

    def names(self, which: Arm) -> dict[str, str]:
        """service -> revision name of the old (STABLE) or the new (CANARY) revisions."""
        return self.release.new if which is Arm.CANARY else self.release.old

    def routed(self, revisions: Mapping[str, str]) -> dict[str, str]:
        """Those of the services that take traffic."""
        return {s.name: revisions[s.name] for s in self.release.plan.routed if s.name in revisions}

    def revision(self, service: str, which: Arm) -> Revision:
        """As the plan describes it."""
        planned = next(s for s in self.release.plan.services if s.name == service)
        revision = planned.canary if which is Arm.CANARY else planned.stable
        if revision is None:
            raise ReleaseError(f"{service}: no stable revision is known", remedy="give the plan `stable`")
        return revision
