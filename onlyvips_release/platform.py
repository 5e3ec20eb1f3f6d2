"""One platform: install it, release to it, take a release over or back, look at it. Over ports only.

Every command that changes something holds the lease. A release is carried out with the parts of its own plan, also
where a newer plan file exists by now.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from onlyvips_release import between
from onlyvips_release.clock import SystemClock
from onlyvips_release.core import events
from onlyvips_release.core.events import Phase, Requested
from onlyvips_release.core.lifecycle import FINAL, Release
from onlyvips_release.core.model import Arm, SuiteResult, Verdict
from onlyvips_release.core.plan import ReleasePlan, Revision
from onlyvips_release.core.policy import after_takeover, too_late
from onlyvips_release.core.ports import Guardian, SuiteRequest
from onlyvips_release.core.target import Target
from onlyvips_release.environment import Environment, caller, read_environment
from onlyvips_release.errors import Interrupted, JournalError, NotConfirmed, NotReady, Refused
from onlyvips_release.guardian import NoGuardian
from onlyvips_release.installation import installation, may_be_released, new_services, same_services
from onlyvips_release.runner import Runner
from onlyvips_release.state.journal import Reading, read_release, read_started
from onlyvips_release.state.layout import Layout, Reports
from onlyvips_release.state.requests import frozen
from onlyvips_release.wayback import Past, listing, past_of, started_revisions, way_back
from onlyvips_release.wiring import Parts, wire

OnEvent = Callable[[events.Event, Release], None]
Tell = Callable[[str], None]

LAST_MESSAGES = 5.0
"""Seconds that messages to people have at the end of a command."""

REPAIR = "repair"
"""What the supervisor of `up --foreground` holds a lease for: others wait for it."""


def silent(_: events.Event, __: Release) -> None:
    """Nobody looks on."""


class Platform:
    """One platform, by one plan. `folder` is where the plan file is: suites are found from there."""

    def __init__(
        self,
        plan: ReleasePlan,
        *,
        folder: Path | None = None,
        sha256: str = "",
        environment: Environment | None = None,
        clock: SystemClock | None = None,
    ) -> None:
        self.plan = plan
        self.folder = (folder or Path.cwd()).absolute()
        self.environment = environment or read_environment()
        self.clock = clock or SystemClock()
        self.guardian: Guardian = NoGuardian()
        self.signal = 0
        self.parts = wire(plan, self.folder, self.environment, self.clock, sha256)

    @classmethod
    def load(
        cls, path: Path | str, environment: Environment | None = None, clock: SystemClock | None = None
    ) -> Platform:
        """From a plan file; raises PlanError with every fault and its place."""
        from onlyvips_release.planfile import load  # noqa: PLC0415 - pydantic is slow to import

        path = Path(path)
        plan, source = load(path)
        return cls(plan, folder=path.absolute().parent, sha256=source.text_sha256, environment=environment, clock=clock)

    @classmethod
    def opened(cls, layout: Layout) -> Platform | None:
        """From the newest journal of a platform alone; None = there is none."""
        for journal in reversed(layout.journals()):
            if started := read_started(journal):
                environment = replace(read_environment(), state=layout.state)
                return cls(started.plan, folder=Path(started.holder.get("folder") or "/"), environment=environment)
        return None

    @property
    def target(self) -> Target:
        """Where it runs."""
        return self.parts.target

    @property
    def layout(self) -> Layout:
        """Where this machine keeps its records."""
        return self.parts.layout

    @property
    def reports(self) -> Reports:
        """Where this machine writes its reports."""
        return self.parts.reports

    # --- between releases ---------------------------------------------------------------------------------------------

    def up(self, tell: Tell = lambda _: None, on_event: OnEvent = silent, *, guardian: bool = True) -> Release | None:
        """Start the router and what was promoted last, prove them; install what was never installed.

        The installation is a release, which is returned; None = there was nothing to install. So is the first start
        without a service that was taken off: from then on its plan is the one in force. While a release is open
        only what its users need is started.
        """
        with self._held("up"):
            if name := self.open_release():
                release = self._begun(name).release
                between.serve_open(self.parts.for_plan(release.plan).target, release, tell)
                return None
            past = self.past()
            self._refuse_left_out(past)
            serving = self.target.workload.stable()
            new = self.target.workload.resolve(new_services(self.plan, serving))
            self.target.router().start()
            tell(f"router listens on {self.plan.listen[0]}:{self.plan.listen[1]}")
            if serving:
                between.serve(self.target, self.plan, serving, tell)
            if not new and (not past or same_services(past[-1].plan, self.plan)):
                self._prove_by_smoke(tell)
                return None
            plan, revisions = installation(self.plan, serving, new)
            started = self.parts.for_plan(plan).started(revisions, first=True)
            release = self._begin(started, on_event=on_event, guardian=guardian)
            between.remove_router(self.target, tell)
            return release

    def _prove_by_smoke(self, tell: Tell) -> None:
        result = self._check("smoke", Arm.STABLE, "up")
        tell(f"smoke suite on stable: {result.verdict} ({result.reason})")
        if result.verdict is not Verdict.PASS:
            raise NotReady(f"stable does not pass its smoke tests: {result.reason}", remedy=f"read {result.report}")

    def supervise(self, tell: Tell = lambda _: None) -> None:
        """Start again whatever dies between releases, until interrupted or taken down; a release looks after itself.

        A signal that came during the last `up` counts: it raises Interrupted at once.
        """
        if self.signal:
            raise Interrupted(self.signal)
        while (state := between.state_of(self.target)) != between.DOWN:
            if state == between.BROKEN and not self.holder():
                with self._held(REPAIR):
                    between.repair(self.target, tell)
            self.clock.sleep(0.5)
        tell("the platform was taken down")

    def down(self, tell: Tell = lambda _: None) -> None:
        """Stop router and services; what was stable stays on record. Raises NotConfirmed where something still runs."""
        with self._held("down"):
            plans = [past.plan for past in self.past()[-1:]]
            if (name := self.open_release()) and (plan := self._reading(name).release.plan):
                plans.append(plan)
            between.take_down([self.target, *(self.parts.for_plan(plan).target for plan in plans)], tell)

    # --- a release ----------------------------------------------------------------------------------------------------

    def run(self, on_event: OnEvent = silent, *, until_paused: bool = False, guardian: bool = True) -> Release:
        """The release, to its end; `release.finished` has exit code and sentence. Writes the report folder.

        `until_paused`: end with exit 5 at the first pause, weight 0, the canary kept warm.
        """
        with self._held("run"):
            plan = self.preflight()
            late, notes = self.target.requests.take(), tuple[str, ...]()
            if late:
                notes = (f"not obeyed: {late.what} by {late.by} was asked before this release began",)
            started = self.parts.for_plan(plan).started(started_revisions(plan), notes)
            release = Release(until_paused=until_paused)
            return self._begin(started, on_event=on_event, guardian=guardian, release=release)

    def preflight(self) -> ReleasePlan:
        """The plan as it is carried out: every stable filled in, every revision's name made immutable.

        Raises Refused: nothing was started, nothing was touched.
        """
        if reason := frozen(self.parts.layout):
            raise Refused(f"releases are frozen: {reason}", remedy="onlyvips-release unfreeze PLAN")
        self._refuse_open()
        past = self.past()
        self._refuse_left_out(past)
        return may_be_released(self.target, self.plan, [one.revisions for one in past])

    def take_over(
        self, request: Requested, on_event: OnEvent = silent, *, until_paused: bool = False, guardian: bool = True
    ) -> Release | None:
        """Go on with an unfinished release that nobody holds, as `request.what` says; None = nothing was unfinished.

        `recover` leaves a release alone that was paused with exit 5. Where nothing is open it raises NotConfirmed if
        users are refused.
        """
        with self._held(request.what):
            name = self.open_release()
            if name is None:
                self._clean_up(request)
                return None
            reading = self._begun(name, samples=True)
            release = reading.release
            parts = self.parts.for_plan(release.plan)
            release.until_paused = until_paused
            if request.what == "recover" and release.phase is Phase.PAUSED and release.finished:
                between.serve_open(parts.target, release, lambda _: None)
                return release
            next_ = [*after_takeover(release, request), *(events.Noted(str(one)) for one in reading.damage)]
            self._carry_out(parts, name, release, on_event, guardian, taken_over=next_)
            between.remove_router(parts.target, lambda _: None)
            return release

    def recover(self, on_event: OnEvent = silent) -> Release | None:
        """End an unfinished release that nobody holds: users on stable, then clean-up. None = nothing was open."""
        return self.take_over(Requested("recover", caller()), on_event)

    def _clean_up(self, request: Requested) -> None:
        if self.target.router().running():
            self.target.router().reset()
        between.remove_router(self.target, lambda _: None)
        if request.what == "recover" and (refused := between.refused(self.target, self.plan)):
            why = "no release is unfinished, but users are refused: " + "; ".join(refused)
            raise NotConfirmed(why, remedy="onlyvips-release up PLAN starts what does not run")

    # --- the way back -------------------------------------------------------------------------------------------------

    def rollback(
        self,
        to: str | None = None,
        reason: str = "",
        on_event: OnEvent = silent,
        *,
        guardian: bool = True,
        tell: Tell = lambda _: None,
    ) -> Release | None:
        """Bring back what users were on before the newest promotion, or what `to` names; None = they are on it."""
        with self._held("rollback"):
            self._refuse_open()
            past = self.past()
            way = way_back(past, self._serving(past), to or "")
            tell(way.sentence)
            if way.plan is None:
                return None
            by = f"{caller()} ({reason})" if reason else caller()
            cause = events.RollbackStarted(f"{way.sentence}, as {by} asked")
            started = self.parts.for_plan(way.plan).started(way.revisions, way.notes, restore=True)
            return self._begin(started, cause, on_event=on_event, guardian=guardian)

    def restorable(self) -> list[str]:
        """Lines for `rollback --list`."""
        return listing(past := self.past(), self._serving(past))

    def past(self) -> list[Past]:
        """What ended releases and installations left users on, oldest first."""
        return past_of(self.parts.journals())

    def _serving(self, past: list[Past]) -> dict[str, Revision]:
        """By the plan that is in force, which may have other services than ours."""
        return (self.parts.for_plan(past[-1].plan) if past else self.parts).target.workload.stable()

    # --- looking ------------------------------------------------------------------------------------------------------

    def check(self, name: str, arm: Arm) -> SuiteResult:
        """One suite once against an arm that runs; no traffic is moved."""
        with self._held("check"):
            return self._check(name, arm, "check")

    def _check(self, name: str, arm: Arm, release: str) -> SuiteResult:
        token = os.urandom(16).hex()
        router = self.target.router(release, token)
        router.set_weight(router.read_weight())
        suite = self.plan.smoke if name == "smoke" else self.plan.canary
        run = self.parts.checks(release, token).start(SuiteRequest(name, suite, arm, 0, self.parts.context(release)))
        try:
            while (result := run.poll()) is None:
                self.clock.sleep(0.05)
            return result
        finally:
            run.stop()
            router.reset()

    def forecast(self) -> list[str]:
        """What the bake can find out with the traffic there is, and which history that is from."""
        return self.parts.forecast()

    def ask(self, request: Requested) -> bool:
        """Leave a request for the running release and wait until it takes it; False = nobody holds the platform.

        Raises Refused where the release can no longer do it: it goes back already, or all its users are on the canary.
        """
        if not self.holder():
            return False
        if (name := self.open_release()) and (late := too_late(self._reading(name).release, request)):
            raise Refused(late, remedy="when it has ended, `onlyvips-release rollback PLAN` undoes a promotion")
        requests = self.target.requests
        requests.ask(request)
        while requests.waits():
            claim = self.target.lease.look()
            if claim is None or claim.released or claim.expired:
                requests.withdraw()
                return False
            self.clock.sleep(0.1)
        return True

    def wait(self) -> Release | None:
        """Until the release that runs has ended or is nobody's; what its journal says then."""
        while self.holder():
            self.clock.sleep(0.2)
        names = self.target.archive.names()
        return self._reading(names[-1]).release if names else None

    def holder(self) -> str:
        """Who holds the platform now, "" = nobody."""
        claim = self.target.lease.look()
        return claim.who if claim and not (claim.released or claim.expired) else ""

    def open_release(self) -> str | None:
        """The id of a release that has no end, None = nothing is open."""
        names = self.target.archive.names()
        return names[-1] if names and self._reading(names[-1]).unfinished else None

    def by_hand(self, release: Release) -> str:
        """How a person takes users to the safe side without this tool."""
        return self.parts.for_plan(release.plan).target.router(release.id).by_hand(release.safe_weight)

    # --- carrying a release out ---------------------------------------------------------------------------------------

    def _begin(
        self,
        started: events.Started,
        *then: events.Event,
        on_event: OnEvent,
        guardian: bool,
        release: Release | None = None,
    ) -> Release:
        parts = self.parts.for_plan(started.plan)
        return self._carry_out(parts, started.release, release or Release(), on_event, guardian, (started, *then))

    def _carry_out(
        self,
        parts: Parts,
        name: str,
        release: Release,
        on_event: OnEvent,
        guardian: bool,
        begun: Sequence[events.Event] = (),
        taken_over: Sequence[events.Event] = (),
    ) -> Release:
        """To its end: `begun` are the first events of a new release, `taken_over` the next ones of an open one."""
        ports = parts.ports(name, guardian=guardian)
        self.guardian = ports.guardian
        runner = Runner(release, ports, lambda event: on_event(event, release))
        try:
            runner.record(*begun)
            runner.run(*taken_over)
        finally:
            if problem := parts.publish(release.id):
                on_event(events.Noted(problem), release)
        self.signal = release.signal
        if release.finished and release.phase in FINAL:
            parts.learn(release.id)
        return release

    @contextlib.contextmanager
    def _held(self, what: str) -> Iterator[None]:
        lease = self.target.lease
        lease.acquire(what)
        try:
            claim = lease.look()
            slowest = max(self.plan.smoke.deadline, self.plan.canary.deadline)
            lease.renew(slowest + between.ACT, claim.safe_weight if claim else 0)
            yield
        finally:
            lease.release()
            self.guardian.stop()
            self.parts.alerts.close(LAST_MESSAGES)

    def _reading(self, name: str, *, samples: bool = False) -> Reading:
        return read_release(self.parts.layout.journal(name), samples=samples)

    def _begun(self, name: str, *, samples: bool = False) -> Reading:
        reading = self._reading(name, samples=samples)
        if not reading.release.id:
            raise JournalError(f"what began {name} cannot be read: {reading.damage[0]}", remedy="restore its journal")
        return reading

    def _refuse_left_out(self, past: list[Past]) -> None:
        in_force = self.parts.for_plan(past[-1].plan) if past else self.parts
        between.refuse_left_out(in_force.target, in_force.plan, self.plan)

    def _refuse_open(self) -> None:
        if (name := self.open_release()) is not None:
            remedy = "go on with it: onlyvips-release resume PLAN; or end it: onlyvips-release recover PLAN"
            raise Refused(f"release {name} is not finished", remedy=remedy)
