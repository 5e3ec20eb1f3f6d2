"""Puts together what one plan needs: its target, and what belongs to no target (suites, reports, history, messages)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from onlyvips_release import forecast as outlook
from onlyvips_release.alerts.queue import Alerts
from onlyvips_release.clock import SystemClock
from onlyvips_release.core import events
from onlyvips_release.core.plan import ReleasePlan
from onlyvips_release.core.ports import Guardian, Ports
from onlyvips_release.core.suite import Access, SuiteContext, service_contexts
from onlyvips_release.core.target import Target
from onlyvips_release.environment import Environment, describe_caller
from onlyvips_release.errors import JournalError
from onlyvips_release.guardian import NoGuardian
from onlyvips_release.installation import Revisions
from onlyvips_release.reporting.folder import publish
from onlyvips_release.state.baselines import Baselines, measured_by
from onlyvips_release.state.layout import Layout, Reports
from onlyvips_release.suites.context import ADMIN
from onlyvips_release.suites.run import PytestChecks
from onlyvips_release.suites.secrets import is_secret, secrets_in
from onlyvips_release.targets import open_target


@dataclass(frozen=True)
class Parts:
    """All parts of one plan. `folder`: where the plan file is; suites are found from there. `sha256`: of its text."""

    plan: ReleasePlan
    target: Target
    folder: Path
    environment: Environment
    clock: SystemClock
    alerts: Alerts
    sha256: str = ""

    def for_plan(self, plan: ReleasePlan) -> Parts:
        """The same platform under the plan of another release: everything is made from that one."""
        return replace(self, plan=plan, target=self.target.for_plan(plan))

    @property
    def layout(self) -> Layout:
        """Where this machine keeps the platform's records."""
        return Layout(self.environment.state, self.plan.platform)

    @property
    def reports(self) -> Reports:
        """Where this machine writes the platform's reports."""
        return Reports(self.environment.reports, self.plan.platform)

    @property
    def baselines(self) -> Baselines:
        """What earlier releases measured."""
        return Baselines(self.layout.history)

    def ports(self, release: str, *, guardian: bool = True) -> Ports:
        """Everything that the runner needs for one release."""
        token = self.target.archive.token(release)
        watcher: Guardian = self.target.guardian(release) if guardian else NoGuardian()
        return Ports(
            router=self.target.router(release, token),
            workload=self.target.workload,
            source=self.target.source,
            prober=self.target.prober(token),
            checks=self.checks(release, token),
            journal=self.target.archive.journal(release),
            lease=self.target.lease,
            guardian=watcher,
            notifier=self.alerts,
            requests=self.target.requests,
            clock=self.clock,
        )

    def started(
        self,
        revisions: Revisions,
        notes: tuple[str, ...] = (),
        *,
        first: bool = False,
        restore: bool = False,
    ) -> events.Started:
        """The first event of the next release, which has this plan."""
        history, sources = self.baselines.read(self.plan, self.clock.now())
        newest = (self.target.archive.names() or ["r0"])[-1]
        return events.Started(
            release=f"r{int(newest[1:]) + 1:04d}",
            target=self.plan.target,
            plan=self.plan,
            plan_sha256=self.sha256,
            holder={**describe_caller(self.environment), "folder": str(self.folder)},
            revisions=revisions,
            history=history,
            notes=(*sources, *notes),
            one_act=self.target.workload.one_act,
            first=first,
            restore=restore,
        )

    def checks(self, release: str, token: str) -> PytestChecks:
        """The suites, with what they need to reach both arms."""
        variables = self.environment.variables
        shown = {name: value for name, value in variables.items() if not is_secret(name)}
        folder, hidden = self.reports.release(release), secrets_in(variables)
        return PytestChecks(folder, self.access(token), self.folder, sys.executable, self.clock, shown, hidden)

    def access(self, token: str) -> dict[str, Access]:
        """How suites reach each service with traffic."""
        admin = self.environment.variables.get(ADMIN, "")
        return {name: replace(access, admin=admin) for name, access in self.target.access(token).items()}

    def context(self, release: str) -> SuiteContext:
        """What a suite may know of the platform as it stands, outside of a release."""
        stable = self.target.workload.stable()
        serves = {s.name: stable[s.name].name if s.name in stable else "" for s in self.plan.services}
        services = service_contexts(self.plan, serves, self.target.workload.inspect())
        return SuiteContext(release, services=services)

    def forecast(self) -> list[str]:
        """What the bake can find out with the traffic there is, and which history that is from."""
        serving = self.target.workload.stable()
        known = [(s, serving.get(s.name)) for s in self.plan.services]
        filled = (replace(s, stable=now) if now and now.name != s.canary.name else s for s, now in known)
        plan = replace(self.plan, services=tuple(filled))
        history, notes = self.baselines.read(plan, self.clock.now())
        return [*outlook.describe(plan, history), *(f"  {note}" for note in notes)]

    def journals(self) -> Iterator[list[events.Event]]:
        """The records of all releases, oldest first; those that cannot be read are left out."""
        for name in self.target.archive.names():
            with suppress(JournalError):
                yield list(self.target.archive.journal(name).read(samples=False))

    def publish(self, release: str) -> str:
        """Write the report of a release. It decides nothing: what goes wrong with it is returned, "" = nothing."""
        try:
            publish(self.layout.journal(release), self.reports, self.environment.keep_reports)
        except Exception as error:
            return f"the report could not be written: {error or type(error).__name__}"
        return ""

    def learn(self, release: str) -> None:
        """Keep what a finished release measured."""
        journal = self.target.archive.journal(release).read()
        with suppress(JournalError):  # a damaged journal gives no baseline
            self.baselines.keep(measured_by(journal, self.clock.now().isoformat()))


def wire(plan: ReleasePlan, folder: Path, environment: Environment, clock: SystemClock, sha256: str) -> Parts:
    """The parts of a plan."""
    return Parts(plan, open_target(plan, environment, clock), folder, environment, clock, Alerts(), sha256)
