"""Carries a release out: next command, do it, record what happened, until nothing is left. Decides nothing.

plan -> shift -> observe -> judge -> promote or roll back: `core.commands` names the command, `core.policy` the verdict,
the ports do it, and every event is in the journal before the next command.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from onlyvips_release import rescue
from onlyvips_release.core import commands, events, policy, proof
from onlyvips_release.core.events import Event, Noted, Phase
from onlyvips_release.core.lifecycle import Release
from onlyvips_release.core.model import Arm, Instance, Percent, Sample
from onlyvips_release.core.outcome import ending
from onlyvips_release.core.ports import Ports, SuiteRequest, SuiteRun
from onlyvips_release.core.suite import release_context
from onlyvips_release.errors import (
    Interfered,
    Interrupted,
    JournalError,
    LeaseLost,
    Refused,
    ReleaseError,
    TargetError,
    Unavailable,
)
from onlyvips_release.upkeep import POLL_INTERVAL, Upkeep

SUITE_INTERVAL = 0.05
"""Seconds between two polls of a suite."""

PATIENCE_IN_ROLLBACK = 60.0
"""Seconds of failed attempts after which a rollback is reported as not confirmed."""


class Runner:
    """One release on its ports. `on_event` is called for each event, after it was journalled."""

    def __init__(self, release: Release, ports: Ports, on_event: Callable[[Event], None] = lambda event: None) -> None:
        self.release, self.ports, self.on_event = release, ports, on_event
        self.upkeep = Upkeep(release, ports, self.record)
        self.suite: SuiteRun | None = None
        self.suite_due = 0.0
        self.counts_due = 0.0
        self.failing_since: float | None = None
        self.tick_origin = 0.0

    # --- the whole flow -------------------------------------------------------------------------------------------

    def run(self, *taken_over: Event) -> Release:
        """Until the release is final, or stays open: paused, or not confirmed. `taken_over`: nobody held it before."""
        self.tick_origin = self.ports.clock.monotonic() - (self.release.evidence.last_tick + 1) * self.tick
        try:
            if taken_over:
                try:
                    rescue.take_over(self.upkeep, taken_over)
                except Interrupted as stop:
                    self.record(*taken_over)
                    self._interrupted(stop)
            while (command := commands.next_command(self.release)) is not None:
                self.carry_out(command)
        except LeaseLost:
            self._end_suite()
            rescue.look_after_loss(self.upkeep)
        except JournalError as error:
            rescue.stop_unrecorded(self.upkeep, error)
            raise
        finally:
            self._end_suite()
        return self.release

    def carry_out(self, command: commands.Command) -> None:
        """One command; whatever goes wrong becomes an event."""
        try:
            self.upkeep.renew_lease(command)
            if self.failing_since is not None:
                self.ports.clock.sleep(POLL_INTERVAL)
                self.upkeep.revive()
            self._do(command)
            self.failing_since = None
        except Interrupted as stop:
            self._interrupted(stop)
        except LeaseLost:
            raise
        except Exception as error:
            self._trouble(error)

    def _interrupted(self, stop: Interrupted) -> None:
        self.record(events.Requested("abort", f"signal {stop.signal_number}", stop.signal_number))
        self.record(*policy.after_signal(self.release))

    def record(self, *happened: Event) -> None:
        """Fold, then journal: nothing illegal is recorded, nothing happens unrecorded."""
        for event in happened:
            self.release.apply(event)
            self.ports.journal.append(event)
            self.on_event(event)
            self.ports.notifier.notify(event)

    def _do(self, command: commands.Command) -> None:
        match command:
            case commands.Prepare():
                self._prepare()
            case commands.StartCanary(revisions, weight):
                self._start_canary(revisions, weight)
            case commands.RunSmoke(arm):
                self._run_smoke(arm)
            case commands.Shift(weight):
                self._shift(weight)
            case commands.Observe():
                self._observe()
            case commands.ReplaceUnrouted(revisions):
                self._replace_unrouted(revisions)
            case commands.Commit():
                self.record(events.Committed(safe_weight=100))
            case commands.ReplaceStable(revisions):
                self._replace_stable(revisions)
            case commands.EndPromotion():
                self._end_promotion()
            case commands.EndRollback():
                self._end_rollback()
            case commands.Leave():
                self._end_suite()
                self._shift(0)
                self.record(ending(self.release))
            case commands.Finish():
                self._end_suite()
                self._empty_canary()
                self.ports.router.reset()
                self.record(ending(self.release))

    # --- one command each -----------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Weight 0 with this release's pins, then the proof of what users can be sent back to."""
        self.ports.router.reset()
        self.ports.router.set_weight(0)
        self.upkeep.mend_endpoints(Arm.STABLE)
        self.upkeep.prove(Arm.STABLE, self.upkeep.routed(self.release.installed))
        way_back = {i.service: i.identity for i in self.ports.workload.inspect() if i.arm is Arm.STABLE}
        self.record(events.Prepared(way_back))
        for name in proof.unproven(self.release):
            self.record(
                Noted(f"{name}: revision not proven: only the router names it (give the service an `identity`)")
            )

    def _start_canary(self, which: Arm, weight: Percent) -> None:
        """Also a restore (then the old revision takes the canary track), and a canary that must grow for more weight.

        Users are on the safe side meanwhile, unless they are on this very track already.
        """
        if not self.release.proven or self.release.weight is None:
            self.ports.router.set_weight(self.upkeep.safe_weight())
        try:
            instances = self.upkeep.start_track(which, weight)
        except TargetError as error:
            if not (self.release.committed and which is Arm.CANARY and self.release.phase is Phase.ROLLING_BACK):
                raise
            self.record(events.Unconfirmed(f"the canary track does not answer: {error}", self._now(), self.by_hand()))
            return
        self.upkeep.point_canary(instances, which)
        self.upkeep.prove(Arm.CANARY, self.upkeep.routed(self.upkeep.names(which)))
        self.ports.router.prepare_safe_weights()
        self.upkeep.start_guardian()
        self.record(events.CanaryStarted(instances, weight))

    def _run_smoke(self, arm: Arm) -> None:
        before = self.release.phase
        run = self._start_suite("smoke", arm)
        while (result := run.poll()) is None:
            self.ports.clock.sleep(SUITE_INTERVAL)
            if self.upkeep.poll() and self.release.phase is not before:
                self._end_suite()
                return
        self.suite = None
        self.record(events.SuiteRan(result))
        self.record(*policy.after_suite(self.release, result))

    def _shift(self, weight: Percent) -> None:
        began = self.ports.clock.monotonic()
        try:
            self.ports.router.set_weight(weight)
        except Unavailable:
            self.ports.router.revive()
            self.ports.router.set_weight(weight)
        now = self.ports.clock.monotonic()
        self.suite_due, self.counts_due = now, now + self.ports.source.lag
        rolling_back = self.release.phase is Phase.ROLLING_BACK and weight == 0
        proven = (
            rolling_back
            and not self.release.committed
            and self.upkeep.is_proven(Arm.STABLE, self.upkeep.routed(self.release.old))
        )
        self.record(events.Shifted(weight, self._now(), round((now - began) * 1000, 1), proven))

    def _replace_unrouted(self, which: Arm) -> None:
        for service in self.release.plan.unrouted:
            if self.release.keeps(service.name):
                continue
            revision = self.upkeep.revision(service.name, which)
            instances = self.ports.workload.promote({service.name: revision})
            self.record(events.Replaced({service.name: revision.name}, instances))

    def _replace_stable(self, which: Arm) -> None:
        """Users are on the canary track meanwhile; the new stable is proven before anybody is sent there."""
        self.upkeep.start_guardian()
        every = self.upkeep.names(which) if self.release.one_act else self.upkeep.routed(self.upkeep.names(which))
        names = {name: revision for name, revision in every.items() if not self.release.keeps(name)}
        routed = self.upkeep.routed(names)
        if self.ports.workload.replaces:
            self.ports.router.point(Arm.STABLE, {name: [] for name in routed})
        instances = self.ports.workload.promote({name: self.upkeep.revision(name, which) for name in names})
        self.ports.router.point(Arm.STABLE, proof.endpoints(instances, routed))
        self.upkeep.prove(Arm.STABLE, routed)
        self.record(events.Replaced(names, instances))

    def _end_promotion(self) -> None:
        """Users are on the proven new stable: what cannot be cleaned up now is no reason to take them back."""
        try:
            self._empty_canary(keep_idle=True)
        except TargetError as error:
            self.record(Noted(f"the canary track could not be emptied yet: {error}"))
        self.record(events.Promoted(self._now()))

    def _end_rollback(self) -> None:
        self._end_suite()
        self._empty_canary()
        new = [service for service in self.release.plan.services if service.name not in self.release.installed]
        if new:
            self.ports.router.point(Arm.STABLE, {service.name: [] for service in new if service.routed})
            self.ports.workload.remove([service.name for service in new])
        self.upkeep.mend_endpoints(Arm.STABLE)
        self.upkeep.prove(Arm.STABLE, self.upkeep.routed(self.release.installed))
        if self.release.committed and not self.release.first:
            self.record(events.Restored(dict(self.release.old)))
        self.record(events.RolledBack(self._now()))

    def _empty_canary(self, *, keep_idle: bool = False) -> None:
        self.ports.router.point(Arm.CANARY, {service.name: [] for service in self.release.plan.routed})
        self.ports.workload.remove_canary(self.release.old if keep_idle else {})

    # --- one tick -------------------------------------------------------------------------------------------------

    def _observe(self) -> None:
        """Wait for the next tick, look at everything once, let the policy decide."""
        tick = self._next_tick()
        if tick is None:
            return
        observed, sample, trouble = self._look()
        trouble = policy.trouble(self.release, observed, trouble)
        is_new = policy.is_new(self.release, observed)
        self.record(events.Sampled(tick, sample.arms, trouble, sample.lost))
        if is_new:
            self.record(observed)
        self._run_checks()
        self.record(*policy.decide(self.release))

    def _next_tick(self) -> int | None:
        """Its index on the release's clock; None when an operator's request came first. The first one comes at once,
        or as soon as the source counts what came after the shift."""
        evidence = self.release.evidence
        goal = max(self._tick_now(), evidence.last_tick) + 1
        due = self.tick_origin + goal * self.tick
        if evidence.first_tick is None:
            goal = max(self._tick_now(), evidence.last_tick + 1)
            due = self.counts_due
        while (left := due - self.ports.clock.monotonic()) > 0:
            self.ports.clock.sleep(min(left, POLL_INTERVAL))
            if self.upkeep.poll():
                return None
        return max(goal, self._tick_now()) if evidence.first_tick is None else goal

    def _look(self) -> tuple[events.Observed, Sample, str]:
        """Instances first: a canary that the target itself knows to be gone is not probed. The text says why this tick
        cannot be judged, "" = it can."""
        trouble, weight, sample = self.upkeep.lease_trouble, None, Sample({})
        instances = self._instances()
        try:
            weight = self.ports.router.read_weight()
            sample = self.ports.source.sample()
        except Unavailable as error:
            trouble = str(error)
        probed = self.release.phase is not Phase.WATCHING and not trouble
        gone = policy.lost(self.release.canary, instances)
        probes = self.ports.prober.probe(Arm.CANARY, 1) if probed and not gone else ()
        return events.Observed(instances, probes, weight), sample, trouble

    def _run_checks(self) -> None:
        """canary_checks at the start of a step, then every few minutes, never two at once; the last run counts."""
        every = self.release.plan.canary.every
        if self.release.phase is Phase.WATCHING:
            return
        if self.suite is None and self.ports.clock.monotonic() >= self.suite_due:
            self.suite = self._start_suite("canary", Arm.CANARY)
            self.suite_due += every.total_seconds() if every else float("inf")
        result = self.suite.poll() if self.suite else None
        if result:
            self.suite = None
            self.record(events.SuiteRan(result))

    # --- when something goes wrong --------------------------------------------------------------------------------

    def _trouble(self, error: Exception) -> None:
        """Outside of a rollback: go back. Inside: try again, and after a minute report that it is not confirmed."""
        what = str(error) or type(error).__name__
        expected = isinstance(error, TargetError | Interfered | Refused)
        if self.release.finished or (isinstance(error, ReleaseError) and not expected):
            raise error
        if self.release.phase not in (Phase.ROLLING_BACK, Phase.PROMOTED, Phase.ROLLED_BACK):
            cause = what if expected else f"error of the tool: {type(error).__name__}: {what}"
            if isinstance(error, Interfered):
                self.record(events.Interfered(cause))
            self.record(events.RollbackStarted(cause, tool=not expected))
            return
        now = self.ports.clock.monotonic()
        self.failing_since = now if self.failing_since is None else self.failing_since
        if now - self.failing_since >= PATIENCE_IN_ROLLBACK:
            self.record(events.Unconfirmed(what, self._now(), self.by_hand()), self._given_up(what))

    def _given_up(self, what: str) -> events.Finished:
        """What proved stable was a while ago: an end that claims it needs it once more."""
        end, promoted = ending(self.release), self.release.phase is Phase.PROMOTED
        revisions = self.upkeep.routed(self.release.new if promoted else self.release.installed)
        if end.exit == 4 or self.upkeep.is_proven(Arm.STABLE, revisions):
            return end
        return replace(end, exit=4, sentence=f"NOT CONFIRMED that users are on stable: {what}")

    def by_hand(self) -> str:
        """How a person takes users to the safe side without the tool."""
        return self.ports.router.by_hand(self.release.safe_weight)

    # --- small things ---------------------------------------------------------------------------------------------

    def _start_suite(self, name: str, arm: Arm) -> SuiteRun:
        suite = self.release.plan.smoke if name == "smoke" else self.release.plan.canary
        context = release_context(self.release, self._instances())
        self.suite = self.ports.checks.start(SuiteRequest(name, suite, arm, self.release.weight or 0, context))
        return self.suite

    def _instances(self) -> tuple[Instance, ...]:
        """As they are, or as they were when the control plane answered last."""
        try:
            return self.ports.workload.inspect()
        except Unavailable:
            return self.release.observed.instances if self.release.observed else self.release.canary

    def _end_suite(self) -> None:
        if self.suite:
            self.suite.stop()
            self.suite = None

    @property
    def tick(self) -> float:
        """Seconds between two samples."""
        return self.release.plan.judge.tick.total_seconds()

    def _tick_now(self) -> int:
        return int((self.ports.clock.monotonic() - self.tick_origin) / self.tick)

    def _now(self) -> str:
        return self.ports.clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
