"""Plan and environment become ports: the only importer of adapters, and the only reader of the environment."""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from onlyvips_release import forecast as outlook
from onlyvips_release import install
from onlyvips_release.clock import SystemClock
from onlyvips_release.core import events
from onlyvips_release.core.lifecycle import FINAL, Release
from onlyvips_release.core.model import Arm, Request, SuiteResult
from onlyvips_release.core.plan import ReleasePlan, Revision, Service, Suite
from onlyvips_release.core.policy import after_takeover
from onlyvips_release.core.ports import Guardian, Ports, SuiteRequest, SuiteRun
from onlyvips_release.core.suite import Access, SuiteContext, service_contexts
from onlyvips_release.environment import Environment, read_environment
from onlyvips_release.errors import JournalError, LeaseLost, PlanError, Problem, Refused, ReleaseError, Unavailable
from onlyvips_release.guardian import NoGuardian, ProcessGuardian, guard, say_ready, stand_alone, stand_by
from onlyvips_release.reporting.folder import publish
from onlyvips_release.runner import Runner
from onlyvips_release.state.baselines import Baselines, measured_by
from onlyvips_release.state.files import make_folder, write_whole
from onlyvips_release.state.freeze import frozen
from onlyvips_release.state.journal import FileJournal, read_release, read_started, unfinished
from onlyvips_release.state.layout import Layout, Reports
from onlyvips_release.state.lease import REPAIR, FileLease, held_by, holder, me
from onlyvips_release.state.requests import RequestFile
from onlyvips_release.suites.context import ADMIN
from onlyvips_release.suites.run import PytestChecks
from onlyvips_release.suites.secrets import is_secret, secrets_in
from onlyvips_release.telemetry.envoy import EnvoySource
from onlyvips_release.telemetry.gauges import GaugedSource
from onlyvips_release.telemetry.probe import RouterProber
from onlyvips_release.telemetry.proc import Usage
from onlyvips_release.traffic.envoy import EnvoyRouter
from onlyvips_release.workloads.external import ExternalWorkload
from onlyvips_release.workloads.process import ProcessWorkload
from onlyvips_release.workloads.services import PerService

OnEvent = Callable[[events.Event, Release], None]


class Nobody:
    """A notifier without anybody to tell."""

    def notify(self, event: events.Event) -> None:
        """Dropped."""

    def delivered(self) -> tuple[tuple[str, str], ...]:
        """Nothing."""
        return ()


class Platform:
    """One platform on this machine: `up`, `run`, `check`, `down`, each with the lease held.

    `folder` is where the plan lies: suites and working folders are relative to it.
    """

    def __init__(
        self,
        plan: ReleasePlan,
        *,
        folder: Path | None = None,
        sha256: str = "",
        environment: Environment | None = None,
        clock: SystemClock | None = None,
    ) -> None:
        self.plan, self.sha256 = plan, sha256
        self.folder = (folder or Path.cwd()).absolute()
        self.environment = environment or read_environment()
        self.layout = Layout(self.environment.state, plan.platform)
        self.clock = clock or SystemClock()
        self.reports = Reports(self.environment.reports, plan.platform)
        self.lease = FileLease(self.layout.live, self.clock, plan.lease)
        self.guardian: Guardian = NoGuardian()
        self.baselines = Baselines(self.layout.history)
        self.workload = self._platform_workload(plan)

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

    # --- commands ---------------------------------------------------------------------------------------------------

    def up(self, tell: Callable[[str], None] = lambda _: None) -> None:
        """Start router and stable, prove them. On failure of a first installation everything is taken down again.

        While a release is open only what died is started again, with users on that release's safe side.
        """
        token = secrets.token_hex(16)
        with self._held("up"):
            if name := self.open_release():
                for said in self._serve(name):
                    tell(said)
                return
            first = not self.workload.stable()
            router = self.router("up", token)
            try:
                for said in install.install(
                    self.plan, router, self.workload, self.prober(token), lambda: self._smoke("up", token), self.clock
                ):
                    tell(said)
                    self.lease.renew(timedelta(minutes=10), 0)
            except ReleaseError as error:
                if first and not isinstance(error, Refused | LeaseLost):
                    for said in install.take_down(router, self.workload, forget=True):
                        tell(said)
                raise
            router.reset()

    def supervise(self, tell: Callable[[str], None] = lambda _: None) -> None:
        """Start again whatever dies between releases, until interrupted; a running release looks after itself."""
        router = self.router()
        while True:
            self.clock.sleep(0.5)
            if held_by(self.layout.live) or not self._broken(router):
                continue
            with self._held(REPAIR):
                for said in install.repairs(router, self.workload):
                    tell(f"{said} had died and was started again")

    def down(self, tell: Callable[[str], None] = lambda _: None) -> None:
        """Stop router and services; journals and logs stay."""
        with self._held("down"):
            for said in install.take_down(self.router(), self.workload):
                tell(said)

    def run(
        self, on_event: OnEvent = lambda event, release: None, *, until_paused: bool = False, guardian: bool = True
    ) -> Release:
        """The release, to its end; `release.finished` has exit code and sentence. Writes the report folder.

        `until_paused`: end with exit 5 at the first pause, weight 0, the canary kept warm.
        """
        with self._held("run"):
            plan = self.preflight()
            late = RequestFile(self.layout.request).take()
            name = self._next_release()
            release = Release(until_paused=until_paused)
            begun: list[events.Event] = [self._started(name, plan)]
            if late:
                begun.append(events.Noted(f"not obeyed: {late.what} by {late.by} was asked before this release began"))
            return self._carry_out(release, name, plan, on_event, guardian, begun=begun)

    def take_over(
        self,
        asked: Request,
        on_event: OnEvent = lambda event, release: None,
        *,
        until_paused: bool = False,
        guardian: bool = True,
    ) -> Release | None:
        """Go on with an unfinished release that nobody holds, as `asked.what` says; None = nothing was unfinished.

        `recover` leaves a release alone that was paused with exit 5.
        """
        with self._held(asked.what):
            name = self.open_release()
            if name is None:
                if self.router().running():
                    self.router().reset()
                return None
            reading = read_release(self.layout.journal(name))
            release = reading.release
            if not release.id:
                raise JournalError(
                    f"what began {name} cannot be read: {reading.damage[0]}", remedy="restore its journal"
                )
            release.until_paused = until_paused
            if asked.what == "recover" and release.phase is events.Phase.PAUSED and release.finished:
                self.router(name, self._token(name)).set_weight(0)
                return release
            taken_over = [*after_takeover(release, asked), *(events.Noted(str(one)) for one in reading.damage)]
            return self._carry_out(release, name, release.plan, on_event, guardian, taken_over=taken_over)

    def recover(self, on_event: OnEvent = lambda event, release: None) -> Release | None:
        """End an unfinished release that nobody holds: users on stable, then clean-up. None = nothing was open."""
        return self.take_over(Request("recover", me()), on_event)

    def rollback(
        self,
        to: str | None = None,
        reason: str = "",
        on_event: OnEvent = lambda event, release: None,
        *,
        guardian: bool = True,
    ) -> Release | None:
        """Bring back what served before the newest promotion, or what `to` promoted; None = it serves already."""
        with self._held("rollback"):
            self._refuse_open()
            plan = self._way_back(to)
            if plan is None:
                return None
            name = self._next_release()
            by = f"{me()} ({reason})" if reason else me()
            first, then = self._started(name, plan, restore=True), events.RollbackStarted(f"rollback asked for by {by}")
            return self._carry_out(Release(), name, plan, on_event, guardian, begun=(first, then))

    def check(self, name: str, arm: Arm) -> SuiteResult:
        """One suite once against an arm that runs; no traffic is moved."""
        token = secrets.token_hex(16)
        with self._held("check"):
            router = self.router("check", token)
            router.set_weight(router.read_weight())
            try:
                return install.wait(self._suite(name, arm, "check", token), self.clock)
            finally:
                router.reset()

    def forecast(self) -> list[str]:
        """What the bake can find out with the traffic there is, and which history that is from."""
        stable = self.workload.stable()
        kept = [(s, stable.get(s.name)) for s in self.plan.services]
        filled = (replace(s, stable=now) if now and now.name != s.canary.name else s for s, now in kept)
        plan = replace(self.plan, services=tuple(filled))
        known, notes = self.baselines.read(plan, self.clock.now())
        return [*outlook.describe(plan, known), *(f"  {note}" for note in notes)]

    def ask(self, asked: Request) -> bool:
        """Leave a wish for the running release and wait until it is heard; False = nobody holds the release."""
        requests = RequestFile(self.layout.request)
        if not held_by(self.layout.live):
            return False
        requests.ask(asked)
        while requests.waits():
            claim = self.lease.look()
            if claim is None or claim.released or claim.expired:
                requests.withdraw()
                return False
            self.clock.sleep(0.1)
        return True

    def wait(self) -> Release | None:
        """Until the release that runs has ended or is nobody's; what its journal says then."""
        while held_by(self.layout.live):
            self.clock.sleep(0.2)
        names = self.releases()
        return read_release(self.layout.journal(names[-1]), samples=False).release if names else None

    def by_hand(self, release: Release) -> str:
        """Commands that take users to the release's safe side without this tool."""
        return self.router(release.id).by_hand(release.safe_weight)

    # --- before a release -------------------------------------------------------------------------------------------

    def preflight(self) -> ReleasePlan:
        """The plan with every stable filled in. Raises Refused: nothing was started, nothing was touched."""
        if told := frozen(self.layout):
            raise Refused(f"releases are frozen: {told}", remedy="onlyvips-release unfreeze PLAN")
        self._refuse_open()
        if not self.router().running():
            raise Refused("the router does not run", remedy="install first: onlyvips-release up PLAN")
        if (weight := self.router().read_weight()) != 0:
            raise Refused(f"{weight} % of users are on a canary without a release", remedy="onlyvips-release recover")
        self.workload.revive()
        self.workload.wait_ready()
        return replace(self.plan, services=tuple(self._with_stable(service) for service in self.plan.services))

    def _with_stable(self, service: Service) -> Service:
        known = self.workload.stable().get(service.name)
        if known is None:
            raise Refused(f"{service.name} is not installed", remedy="onlyvips-release up PLAN starts it")
        planned = service.stable
        if planned is not None and planned.name != known.name:
            raise Refused(
                f"{service.name}: the plan says that {planned.name} is stable, but users are on {known.name}",
                remedy=f"write `stable: {{revision: {known.name}, …}}`, or leave `stable` out",
            )
        if planned is not None and planned != known:
            raise Refused(
                f"{service.name}: {known.name} runs, but not as the plan describes it",
                remedy="a revision's name is for ever: give the changed one another name",
            )
        try:
            return replace(service, stable=known)
        except PlanError as error:
            found = tuple(Problem(0, 0, f"services.{service.name}.{p.key}", p.message) for p in error.problems)
            raise PlanError(found) from error

    def open_release(self) -> str | None:
        """The id of a release that has no end, None = nothing is open."""
        names = self.releases()
        return names[-1] if names and unfinished(self.layout.journal(names[-1])) else None

    def _serve(self, name: str) -> Iterator[str]:
        """What users of an open release need; what becomes of it is for `resume` or `recover` to say."""
        safe = read_release(self.layout.journal(name), samples=False).release.safe_weight
        self.lease.renew(timedelta(minutes=10), safe)
        router = self.router(name, self._token(name))
        with contextlib.suppress(Unavailable):  # the file is written also where nothing runs
            router.set_weight(safe)
        yield from (f"{done} is started" for done in install.repairs(router, self.workload))
        router.set_weight(safe)
        self.workload.wait_ready()
        yield f"release {name} is not finished, {safe} % of users are on its canary arm: resume it, or recover"

    def _refuse_open(self) -> None:
        if (name := self.open_release()) is not None:
            raise Refused(
                f"release {name} is not finished",
                remedy="go on with it: onlyvips-release resume PLAN; or end it: onlyvips-release recover PLAN",
            )

    def _next_release(self) -> str:
        return f"r{int((self.releases() or ['r0'])[-1][1:]) + 1:04d}"

    def _way_back(self, to: str | None) -> ReleasePlan | None:
        """The plan of a restore: stable = what is wanted, canary = what serves now. None = it serves already."""
        promoted = {
            path.parent.name: found
            for path in self.layout.journals()
            if (found := read_release(path, samples=False).release).phase is events.Phase.PROMOTED
        }
        if not promoted or (to and to not in promoted):
            known = ", ".join(promoted) or "none"
            raise Refused(f"{to or 'any release'} was never promoted here", remedy=f"promoted releases: {known}")
        newest = promoted[to] if to else promoted[max(promoted, key=lambda name: int(name[1:]))]
        serving = self.workload.stable()
        pairs: list[tuple[Service, Revision | None, Revision | None]] = [
            (s, s.canary if to else s.stable, serving.get(s.name)) for s in newest.plan.services
        ]
        if all(wanted == serves for _, wanted, serves in pairs):
            return None
        services = []
        for service, wanted, serves in pairs:
            if wanted is None or serves is None or wanted.name == serves.name:
                told = f"{service.name} serves {serves.name if serves else 'nothing'} already, others do not"
                raise Refused(told, remedy="release what you want with a plan of its own")
            services.append(replace(service, stable=wanted, canary=serves))
        return replace(newest.plan, services=tuple(services))

    def releases(self) -> list[str]:
        """Ids, oldest first."""
        return self.layout.releases()

    # --- making ports -----------------------------------------------------------------------------------------------

    def ports(self, release: str, plan: ReleasePlan) -> Ports:
        """Everything the runner needs for one release; its pin token is kept in the release's folder (0600)."""
        token = self._token(release)
        workload = self._platform_workload(plan)
        return Ports(
            router=self.router(release, token),
            workload=workload,
            source=GaugedSource(EnvoySource(self.layout, plan), Usage(workload.inspect)),
            prober=self.prober(token),
            checks=self.checks(release, token),
            journal=FileJournal(self.layout.journal(release), self.clock, self.lease.fence),
            lease=self.lease,
            guardian=self.guardian,
            notifier=Nobody(),
            requests=RequestFile(self.layout.request),
            clock=self.clock,
        )

    def router(self, release: str = "", token: str = "") -> EnvoyRouter:
        """The router of this platform."""
        return EnvoyRouter(self.layout, self.plan, self.lease, self.clock, self.environment.envoy, release, token)

    def prober(self, token: str) -> RouterProber:
        """Pinned requests with this token."""
        return RouterProber(self.url, self.plan.routed, token)

    @property
    def url(self) -> str:
        """Where users reach the router."""
        host, port = self.plan.listen
        return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"

    def checks(self, release: str, token: str) -> PytestChecks:
        """The suites, with what they need to reach both arms."""
        variables = self.environment.variables
        env = {name: value for name, value in variables.items() if not is_secret(name)}
        folder, hidden = self.reports.release(release), secrets_in(variables)
        return PytestChecks(folder, self._access(token), self.folder, sys.executable, self.clock, env, hidden)

    def _access(self, token: str) -> dict[str, Access]:
        """How a suite reaches each routed service."""
        pins, admin = {str(arm): f"{arm}-{token}" for arm in Arm}, self.environment.variables.get(ADMIN, "")
        return {
            s.name: Access(
                self.url,
                s.host.replace("*", "onlyvips.local") or "onlyvips.local",
                s.health.path if s.health else "/",
                pins,
                s.identity,
                admin,
            )
            for s in self.plan.routed
        }

    def _platform_workload(self, plan: ReleasePlan) -> PerService:
        return PerService({service.name: self._workload(service) for service in plan.services}, self.clock)

    def _workload(self, service: Service) -> ProcessWorkload | ExternalWorkload:
        if service.process is None:
            return ExternalWorkload(service, self.layout, self.lease)
        return ProcessWorkload(service, self.layout, self.lease, self.clock, self.environment.variables)

    # --- small things -----------------------------------------------------------------------------------------------

    def _carry_out(
        self,
        release: Release,
        name: str,
        plan: ReleasePlan,
        on_event: OnEvent,
        guardian: bool,
        *,
        begun: Sequence[events.Event] = (),
        taken_over: Sequence[events.Event] = (),
    ) -> Release:
        if guardian:
            words = [sys.executable, "-m", "onlyvips_release", "guardian", str(self.layout.folder), name]
            words += [f"--router-binary={self.environment.envoy}"] if self.environment.envoy else []
            log, variables = self.layout.guardian_log, self.environment.variables
            self.guardian = ProcessGuardian(words, lambda: self.lease.fence, log, variables)
        ports = self.ports(name, plan)
        runner = Runner(release, ports, lambda event: on_event(event, release))
        try:
            runner.record(*begun)
            runner.run(*taken_over)
        finally:
            self._publish(release, on_event)
        if release.finished and release.phase in FINAL:
            journal = FileJournal(self.layout.journal(release.id)).read()
            with contextlib.suppress(JournalError):  # a damaged journal gives no baseline
                self.baselines.keep(measured_by(journal, ports.clock.now().isoformat()))
        return release

    def _publish(self, release: Release, on_event: OnEvent) -> None:
        """The report decides nothing: whatever goes wrong with it is told, and changes no exit code."""
        try:
            publish(self.layout.journal(release.id), self.reports, self.environment.keep_reports)
        except Exception as error:
            on_event(events.Noted(f"the report could not be written: {error or type(error).__name__}"), release)

    @contextlib.contextmanager
    def _held(self, what: str) -> Iterator[None]:
        self.lease.acquire(what)
        try:
            slowest = max(self.plan.smoke.deadline, self.plan.canary.deadline)
            self.lease.renew(slowest + timedelta(minutes=5), self.lease.safe_weight)
            yield
        finally:
            self.lease.release()
            self.guardian.stop()

    def _broken(self, router: EnvoyRouter) -> bool:
        dead = [i for i in self.workload.inspect() if i.arm is Arm.STABLE and not i.alive]
        mine = [i for i in dead if i.pid is not None]
        return bool(mine) or not router.running()

    def _started(self, name: str, plan: ReleasePlan, *, restore: bool = False) -> events.Started:
        revisions = {
            s.name: {Arm.STABLE: s.stable.name if s.stable else "", Arm.CANARY: s.canary.name} for s in plan.services
        }
        ci = {"ci": self.environment.ci_job, "commit": self.environment.commit}
        who = {key: str(value) for key, value in {**holder(), **ci, "folder": self.folder}.items()}
        known, notes = self.baselines.read(plan, self.clock.now())
        return events.Started(name, plan.target, plan, self.sha256, who, revisions, known, notes, restore)

    def _smoke(self, release: str, token: str) -> SuiteRun:
        return self._suite("smoke", Arm.STABLE, release, token)

    def _suite(self, name: str, arm: Arm, release: str, token: str) -> SuiteRun:
        suite: Suite = self.plan.smoke if name == "smoke" else self.plan.canary
        request = SuiteRequest(name, suite, arm, 0, self.context(release))
        return self.checks(release, token).start(request)

    def context(self, release: str) -> SuiteContext:
        """What a suite may know of the platform as it stands, outside of a release."""
        stable = self.workload.stable()
        serves = {s.name: stable[s.name].name if s.name in stable else "" for s in self.plan.services}
        instances = self.workload.inspect()
        return SuiteContext(release, services=service_contexts(self.plan, serves, instances))

    def _token(self, release: str) -> str:
        path = self.layout.token(release)
        if not path.exists():
            make_folder(path.parent)
            write_whole(path, secrets.token_hex(16).encode())
        return path.read_text()


def watch(layout: Layout, release: str, fence: int, envoy: Path | None) -> None:
    """The guardian's process, from its start to its end: watches the claim number `fence` of a release's controller."""
    stand_alone()
    clock, journal = SystemClock(), layout.journal(release)
    plan = read_release(journal, samples=False).release.plan
    lease = FileLease(layout.live, clock, plan.lease)
    token = layout.token(release).read_text()
    router = EnvoyRouter(layout, plan, lease, clock, envoy, release, token)
    try:
        stand_by(fence, lease, router)
        say_ready()
        guard(fence, lease, router, lambda mine: FileJournal(journal, clock, mine), clock)
    finally:
        lease.release()
