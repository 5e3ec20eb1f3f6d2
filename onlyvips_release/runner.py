"""Carries a release out: next command, do it, record what happened, until nothing is left. Decides nothing.

plan -> shift -> observe -> judge -> promote or roll back: `lifecycle` names the command, `algebra` the verdict, the
ports do it, and every event is in the journal before the next command.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta

from onlyvips_release import errors
from onlyvips_release.core import policy as algebra
from onlyvips_release.core.events import (
    CanaryStarted,
    Command,
    Commit,
    Committed,
    EndPromotion,
    EndRollback,
    Event,
    Finish,
    Interfered,
    Leave,
    Noted,
    Observe,
    Phase,
    Prepare,
    Prepared,
    Promoted,
    Replaced,
    ReplaceStable,
    ReplaceUnrouted,
    Requested,
    Restored,
    RollbackStarted,
    RolledBack,
    RunSmoke,
    Sampled,
    Shift,
    Shifted,
    StartCanary,
    SuiteRan,
    Unconfirmed,
)
from onlyvips_release.core.lifecycle import Release, next_command
from onlyvips_release.core.model import Arm, Instance, Percent, Probe
from onlyvips_release.core.plan import Revision
from onlyvips_release.core.ports import Ports, SuiteRequest, SuiteRun
from onlyvips_release.errors import (
    Interrupted,
    JournalError,
    LeaseLost,
    NotConfirmed,
    ReleaseError,
    TargetError,
    Unavailable,
)

BEAT = 0.5
"""Seconds between two looks at what must live and at what people ask."""

PROOF = 20
"""Pinned requests that prove an arm before it gets any weight (contract.md section 5)."""

MAIN_LOOP = timedelta(seconds=30)
"""What the main loop may need between two signs of life, besides what services need to start and stop."""

STABLE_WITHIN = 30.0
"""Seconds that a revived stable has before the release goes on."""

PATIENCE_IN_ROLLBACK = 60.0
"""Seconds that a rollback retries an act before it ends as not confirmed."""


class Runner:
    """One release under way. `tell` is called after each event was journalled."""

    def __init__(self, release: Release, ports: Ports, tell: Callable[[Event], None] = lambda _: None) -> None:
        self.release, self.ports, self.tell = release, ports, tell
        self.look = algebra.Look()
        self.suite: SuiteRun | None = None
        self.suite_due = 0.0
        self.failing_since: float | None = None
        self.zero = 0.0

    # --- the whole flow -------------------------------------------------------------------------------------------

    def run(self, *taken_over: Event) -> Release:
        """Until the release is final, or stays open: paused, or not confirmed. `taken_over`: it was nobody's before."""
        self.zero = self.ports.clock.monotonic() - (self.release.last_tick + 1) * self.tick
        try:
            if taken_over:
                self._take_over(taken_over)
            while (command := next_command(self.release)) is not None:
                self.carry_out(command)
        except JournalError as error:
            self._unrecorded(error)
            raise
        finally:
            self._end_suite()
        return self.release

    def carry_out(self, command: Command) -> None:
        """One command; whatever goes wrong becomes an event."""
        try:
            self._go_on(command)
            if self.failing_since is not None:
                self.ports.clock.sleep(BEAT)
                self._revive()
            for event in self._do(command):
                self.record(event)
            self.failing_since = None
        except Interrupted as stop:
            self.record(Requested("abort", f"signal {stop.signal_number}", stop.signal_number))
            self.record(*algebra.after_signal(self.release))
        except LeaseLost:
            raise
        except Exception as error:
            self._trouble(error)

    def record(self, *events: Event) -> None:
        """Fold, then journal: nothing illegal is recorded, nothing happens unrecorded."""
        for event in events:
            self.release.apply(event)
            self.ports.journal.append(event)
            self.tell(event)
            self.ports.notifier.notify(event)

    def _do(self, command: Command) -> Iterator[Event]:
        match command:
            case Prepare():
                yield from self._prepare()
            case StartCanary(revisions):
                yield from self._start_canary(revisions)
            case RunSmoke(arm):
                yield from self._run_smoke(arm)
            case Shift(weight):
                yield from self._shift(weight)
            case Observe():
                yield from self._observe()
            case ReplaceUnrouted(revisions):
                yield from self._replace_unrouted(revisions)
            case Commit():
                yield Committed(safe_weight=100)
            case ReplaceStable(revisions):
                yield from self._replace_stable(revisions)
            case EndPromotion():
                self._empty_canary(spare=True)
                yield Promoted(self._now())
            case EndRollback():
                yield from self._end_rollback()
            case Leave():
                self._end_suite()
                yield from self._shift(0)
                yield algebra.ending(self.release)
            case Finish():
                self._end_suite()
                self._empty_canary()
                self.ports.router.reset()
                yield algebra.ending(self.release)

    # --- one command each -----------------------------------------------------------------------------------------

    def _prepare(self) -> Iterator[Event]:
        self.ports.router.reset()
        self.ports.router.set_weight(0)
        algebra.prove(self.ports.prober.probe(Arm.STABLE, PROOF), Arm.STABLE, self._routed(self.release.old))
        yield Prepared({i.service: i.identity for i in self._inspect() if i.arm is Arm.STABLE})
        for name in algebra.unproven(self.release):
            yield Noted(f"{name}: revision not proven: only the router names it (give the service an `identity`)")

    def _start_canary(self, which: Arm) -> Iterator[Event]:
        """Also the way back after the point of no return: then the old revision takes the canary track.

        Users are on the safe side meanwhile, and this release's pins are in force.
        """
        self.ports.router.set_weight(self.release.safe_weight)
        started: list[Instance] = []
        for service in self.release.plan.routed:
            started += self.ports.workloads[service.name].start_canary(self._revision(service.name, which))
        names = self._routed(self.release.new if which is Arm.CANARY else self.release.old)
        self.ports.router.point(Arm.CANARY, algebra.endpoints(started, names))
        algebra.prove(self.ports.prober.probe(Arm.CANARY, PROOF), Arm.CANARY, names)
        self.ports.router.brace()
        if watcher := self.ports.guardian.start():
            yield Noted(watcher)
        yield CanaryStarted(tuple(started))

    def _run_smoke(self, arm: Arm) -> Iterator[Event]:
        run, before = self._start_suite("smoke", arm), self.release.phase
        while (result := run.poll()) is None:
            self.ports.clock.sleep(0.05)
            self._go_on(Observe())
            if self._asked() and self.release.phase is not before:
                self._end_suite()
                return
        self.suite = None
        yield SuiteRan(result)
        yield from algebra.after_suite(self.release, result)

    def _shift(self, weight: Percent) -> Iterator[Event]:
        begun = self.ports.clock.monotonic()
        try:
            self.ports.router.set_weight(weight)
        except Unavailable:
            self.ports.router.revive()
            self.ports.router.set_weight(weight)
        self.suite_due = self.ports.clock.monotonic()
        yield Shifted(weight, self._now(), round((self.suite_due - begun) * 1000, 1))

    def _replace_unrouted(self, which: Arm) -> Iterator[Event]:
        for service in self.release.plan.unrouted:
            revision = self._revision(service.name, which)
            yield Replaced({service.name: revision.name}, self.ports.workloads[service.name].promote(revision))

    def _replace_stable(self, which: Arm) -> Iterator[Event]:
        """Users are on the canary arm meanwhile; the new stable is proven before anybody is sent there."""
        instances: list[Instance] = []
        names = self._routed(self.release.new if which is Arm.CANARY else self.release.old)
        for name in names:
            instances += self.ports.workloads[name].promote(self._revision(name, which))
        self.ports.router.point(Arm.STABLE, algebra.endpoints(instances, names))
        algebra.prove(self.ports.prober.probe(Arm.STABLE, PROOF), Arm.STABLE, names)
        yield Replaced(names, tuple(instances))

    def _end_rollback(self) -> Iterator[Event]:
        self._end_suite()
        self._empty_canary()
        algebra.prove(self.ports.prober.probe(Arm.STABLE, PROOF), Arm.STABLE, self._routed(self.release.old))
        if self.release.committed:
            yield Restored(dict(self.release.old))
        yield RolledBack(self._now())

    def _empty_canary(self, *, spare: bool = False) -> None:
        self.ports.router.point(Arm.CANARY, {service.name: [] for service in self.release.plan.routed})
        for name, workload in self.ports.workloads.items():
            workload.remove_canary(spare=self.release.old[name] if spare else "")

    # --- one tick -------------------------------------------------------------------------------------------------

    def _observe(self) -> Iterator[Event]:
        """Wait for the next tick, see everything once, let the algebra decide."""
        tick = self._next_tick()
        if tick is None:
            return
        seen = self._see()
        yield Sampled(tick, seen.counters or {}, algebra.trouble(self.release, seen))
        yield from self._checks()
        yield from self.look.decide(self.release, seen)

    def _next_tick(self) -> int | None:
        """Its index on the release's clock; None when a person's wish came first. The first one comes at once."""
        now = self._tick_now()
        if self.release.first_tick is None:
            return max(now, self.release.last_tick + 1)
        goal = max(now, self.release.last_tick) + 1
        while (left := self.zero + goal * self.tick - self.ports.clock.monotonic()) > 0:
            self.ports.clock.sleep(min(left, BEAT))
            self._go_on(Observe())
            for done in self._revive():
                self.record(Noted(f"{done} had died and was started again"))
            if self._asked():
                return None
        return goal

    def _asked(self) -> bool:
        """Hear what a person asks for."""
        asked = self.ports.operator.pending()
        if asked:
            self.record(*algebra.after_request(self.release, asked))
        return asked is not None

    def _see(self) -> algebra.Observation:
        watching = self.release.phase is Phase.WATCHING
        try:
            weight = self.ports.router.read_weight()
            counters = self.ports.source.sample()
        except Unavailable as error:
            return algebra.Observation(self._inspect(), trouble=str(error))
        probes: tuple[Probe, ...] = () if watching else self.ports.prober.probe(Arm.CANARY, 1)
        return algebra.Observation(self._inspect(), probes, weight, counters)

    def _checks(self) -> Iterator[Event]:
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
            yield SuiteRan(result)

    # --- small things ---------------------------------------------------------------------------------------------

    def _trouble(self, error: Exception) -> None:
        """Outside of a rollback: go back. Inside: try again, and after a minute say that it is not confirmed."""
        what = str(error) or type(error).__name__
        known = isinstance(error, TargetError | errors.Interfered)
        if self.release.finished or (isinstance(error, ReleaseError) and not known):
            raise error
        if self.release.phase not in (Phase.ROLLING_BACK, Phase.PROMOTED, Phase.ROLLED_BACK):
            told = what if known else f"error of the tool: {type(error).__name__}: {what}"
            if isinstance(error, errors.Interfered):
                self.record(Interfered(told))
            self.record(RollbackStarted(told, tool=not known))
            return
        now = self.ports.clock.monotonic()
        self.failing_since = now if self.failing_since is None else self.failing_since
        if now - self.failing_since >= PATIENCE_IN_ROLLBACK:
            self.record(Unconfirmed(what, self._now(), self.by_hand()), algebra.ending(self.release))

    def _take_over(self, events: Iterable[Event]) -> None:
        """Users first: the safe weight is written even where no router runs, then what must run is started."""
        self.ports.lease.renew(MAIN_LOOP, self.release.safe_weight)
        with contextlib.suppress(TargetError):
            self.ports.router.set_weight(self.release.safe_weight)
        revived = [done for workload in self.ports.workloads.values() for done in workload.revive()]
        end = self.ports.clock.monotonic() + STABLE_WITHIN
        self._go_on(StartCanary(Arm.STABLE))
        with contextlib.suppress(TargetError):
            revived += self.ports.router.revive()
        while revived and self.ports.clock.monotonic() < end and not self._stable_answers():
            self.ports.clock.sleep(BEAT)
        self.record(*events, *(Noted(f"{done} was dead and was started again") for done in revived))

    def _stable_answers(self) -> bool:
        return all(probe.status == 200 for probe in self.ports.prober.probe(Arm.STABLE, 1))

    def _unrecorded(self, error: JournalError) -> None:
        """What cannot be recorded is not gone on with: users go to the safe side, which needs no disk space."""
        told = f"{error}; users are not proven on stable"
        try:
            self.ports.router.set_weight(self.release.safe_weight)
        except TargetError as failed:
            raise NotConfirmed(told, remedy=self.by_hand()) from failed
        if self.release.safe_weight:
            raise NotConfirmed(told, remedy=self.by_hand()) from error

    def by_hand(self) -> str:
        """How a person takes users to the safe side without the tool."""
        return self.ports.router.by_hand(self.release.safe_weight)

    def _go_on(self, command: Command) -> None:
        """A sign of life, and how long the next one may take before this controller must be taken for hung."""
        within = MAIN_LOOP
        if not isinstance(command, Observe | RunSmoke | Shift):
            for service in self.release.plan.services:
                within += service.runs.drain
                within += service.health.within if service.health else MAIN_LOOP
        self.ports.lease.renew(within, self.release.safe_weight)

    def _start_suite(self, name: str, arm: Arm) -> SuiteRun:
        suite = self.release.plan.smoke if name == "smoke" else self.release.plan.canary
        context = algebra.context(self.release, self._inspect())
        self.suite = self.ports.checks.start(SuiteRequest(name, suite, arm, self.release.weight or 0, context))
        return self.suite

    def _end_suite(self) -> None:
        if self.suite:
            self.suite.stop()
            self.suite = None

    def _inspect(self) -> tuple[Instance, ...]:
        return tuple(i for workload in self.ports.workloads.values() for i in workload.inspect())

    def _revive(self) -> list[str]:
        revived = list(self.ports.router.revive())
        for workload in self.ports.workloads.values():
            revived += workload.revive()
        return revived

    def _revision(self, service: str, arm: Arm) -> Revision:
        found = next(s for s in self.release.plan.services if s.name == service)
        revision = found.canary if arm is Arm.CANARY else found.stable
        if revision is None:
            raise ReleaseError(f"{service}: no stable revision is known", remedy="give the plan `stable`")
        return revision

    def _routed(self, revisions: dict[str, str]) -> dict[str, str]:
        return {service.name: revisions[service.name] for service in self.release.plan.routed}

    @property
    def tick(self) -> float:
        """Seconds between two samples."""
        return self.release.plan.judge.tick.total_seconds()

    def _tick_now(self) -> int:
        return int((self.ports.clock.monotonic() - self.zero) / self.tick)

    def _now(self) -> str:
        return self.ports.clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
