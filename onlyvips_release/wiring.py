"""Plan and environment become ports: the only importer of adapters, and the only reader of the environment."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from onlyvips_release import events, install
from onlyvips_release.algebra import described
from onlyvips_release.checks import PytestChecks
from onlyvips_release.clock import SystemClock
from onlyvips_release.errors import LeaseLost, PlanError, Problem, Refused, ReleaseError
from onlyvips_release.guardian import NoGuardian
from onlyvips_release.journal import FileJournal
from onlyvips_release.lease import REPAIR, FileLease, held, holder
from onlyvips_release.lifecycle import FINAL, Release, replay
from onlyvips_release.masking import is_secret, secrets_in
from onlyvips_release.model import Arm, SuiteResult
from onlyvips_release.operator import RequestFile
from onlyvips_release.place import Place, find_place
from onlyvips_release.plan import ReleasePlan, Service, Suite
from onlyvips_release.ports import Ports, SuiteRequest, SuiteRun
from onlyvips_release.reporting import summary
from onlyvips_release.runner import Runner
from onlyvips_release.targets import ADMIN
from onlyvips_release.telemetry.envoy import EnvoySource
from onlyvips_release.telemetry.probe import RouterProber
from onlyvips_release.traffic.envoy import EnvoyRouter
from onlyvips_release.workloads.external import ExternalWorkload
from onlyvips_release.workloads.process import ProcessWorkload

OnEvent = Callable[[events.Event, Release], None]


class Nobody:
    """A notifier without anybody to tell."""

    def notify(self, event: events.Event) -> None:
        """Dropped."""


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
        place: Place | None = None,
        clock: SystemClock | None = None,
    ) -> None:
        self.plan, self.sha256 = plan, sha256
        self.folder = (folder or Path.cwd()).absolute()
        self.place = place or find_place()
        self.state = self.place.state / plan.platform
        self.clock = clock or SystemClock()
        self.lease = FileLease(self.state / "live", self.clock)
        self.workloads: dict[str, install.KeptWorkload] = {s.name: self._workload(s) for s in plan.services}

    @classmethod
    def load(cls, path: Path | str, place: Place | None = None, clock: SystemClock | None = None) -> Platform:
        """From a plan file; raises PlanError with every fault and its place."""
        from onlyvips_release.planfile import load  # noqa: PLC0415 - pydantic is slow to import

        path = Path(path)
        plan, source = load(path)
        return cls(plan, folder=path.absolute().parent, sha256=source.text_sha256, place=place, clock=clock)

    # --- commands ---------------------------------------------------------------------------------------------------

    def up(self, tell: Callable[[str], None] = lambda _: None) -> None:
        """Start router and stable, prove them. On failure of a first installation everything is taken down again."""
        token = secrets.token_hex(16)
        with self._held("up"):
            first = not any(workload.stable() for workload in self.workloads.values())
            router = self.router("up", token)
            try:
                for said in install.install(
                    self.plan, router, self.workloads, self.prober(token), lambda: self._smoke("up", token), self.clock
                ):
                    tell(said)
                    self.lease.renew(timedelta(minutes=10))
            except ReleaseError as error:
                if first and not isinstance(error, Refused | LeaseLost):
                    for said in install.take_down(router, self.workloads):
                        tell(said)
                raise
            router.reset()

    def supervise(self, tell: Callable[[str], None] = lambda _: None) -> None:
        """Start again whatever dies between releases, until interrupted; a running release looks after itself."""
        router = self.router()
        while True:
            self.clock.sleep(0.5)
            if held(self.state / "live") or not self._broken(router):
                continue
            with self._held(REPAIR):
                for said in install.repairs(router, self.workloads):
                    tell(f"{said} had died and was started again")

    def down(self, tell: Callable[[str], None] = lambda _: None) -> None:
        """Stop router and services; journals and logs stay."""
        with self._held("down"):
            for said in install.take_down(self.router(), self.workloads):
                tell(said)

    def run(self, on_event: OnEvent = lambda event, release: None) -> Release:
        """The release, to its end; `release.finished` has exit code and sentence. Writes the report folder."""
        with self._held("run"):
            plan = self.preflight()
            name = f"r{int((self.releases() or ['r0'])[-1][1:]) + 1:04d}"
            release, ports = Release(), self.ports(name, plan)
            started = self._started(name, plan)
            release.apply(started)
            ports.journal.append(started)
            on_event(started, release)
            return self._carry_out(release, ports, on_event)

    def recover(self, on_event: OnEvent = lambda event, release: None) -> Release | None:
        """End an unfinished release that nobody holds: users on stable, then clean-up. None = nothing was open."""
        with self._held("recover"):
            name = self.open_release()
            if name is None:
                return None
            release = replay(FileJournal(self._journal(name)).read())
            ports = self.ports(name, release.plan)
            runner = Runner(release, ports, lambda event: on_event(event, release))
            ports.router.revive()
            if release.phase is events.Phase.ROLLING_BACK:
                runner.record(events.Resumed("recover"))
            elif release.phase not in FINAL:
                runner.record(events.RollbackStarted("the controller died; `recover` takes users back"))
            return self._carry_out(release, ports, on_event)

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

    def ask(self, what: str) -> None:
        """Leave a wish for the running release; Refused when none runs."""
        if not held(self.state / "live"):
            raise Refused("no release is running", remedy="see `onlyvips-release status`, or `recover`")
        RequestFile(self.state / "live").ask(what, f"{holder()['user']}@{holder()['host']}")

    # --- before a release -------------------------------------------------------------------------------------------

    def preflight(self) -> ReleasePlan:
        """The plan with every stable filled in. Raises Refused: nothing was started, nothing was touched."""
        if (name := self.open_release()) is not None:
            raise Refused(f"release {name} is not finished", remedy="end it first: onlyvips-release recover PLAN")
        if not self.router().running():
            raise Refused("the router does not run", remedy="install first: onlyvips-release up PLAN")
        self.router().read_weight()
        for workload in self.workloads.values():
            workload.revive()
            workload.wait_ready()
        return replace(self.plan, services=tuple(self._with_stable(service) for service in self.plan.services))

    def _with_stable(self, service: Service) -> Service:
        known = self.workloads[service.name].stable()
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
        if not names:
            return None
        last = replay(FileJournal(self._journal(names[-1])).read(samples=False))
        return None if last.finished and last.phase in FINAL else names[-1]

    def releases(self) -> list[str]:
        """Ids, oldest first."""
        return sorted(
            (path.parent.name for path in self.state.glob("releases/r*/journal.jsonl")), key=lambda name: int(name[1:])
        )

    # --- making ports -----------------------------------------------------------------------------------------------

    def ports(self, release: str, plan: ReleasePlan) -> Ports:
        """Everything the runner needs for one release; its pin token is kept in the release's folder (0600)."""
        token = self._token(release)
        workloads = {service.name: self._workload(service) for service in plan.services}
        return Ports(
            router=self.router(release, token),
            workloads=workloads,
            source=EnvoySource(self.state, plan),
            prober=self.prober(token),
            checks=self.checks(release, token),
            journal=FileJournal(self._journal(release), self.clock, self.lease.fence),
            lease=self.lease,
            guardian=NoGuardian(),
            notifier=Nobody(),
            operator=RequestFile(self.state / "live"),
            clock=self.clock,
        )

    def router(self, release: str = "", token: str = "") -> EnvoyRouter:
        """The router of this platform."""
        return EnvoyRouter(self.state, self.plan, self.lease, self.clock, self.place.envoy, release, token)

    def prober(self, token: str) -> RouterProber:
        """Pinned requests with this token."""
        return RouterProber(self.plan, token, self.clock)

    def checks(self, release: str, token: str) -> PytestChecks:
        """The suites, with what they need to reach both arms."""
        env = {name: value for name, value in self.place.env.items() if not is_secret(name)}
        folder, known = self.place.reports / release, {"services": self._addresses(token)}
        hidden = secrets_in(self.place.env)
        return PytestChecks(folder, known, self.folder, sys.executable, self.clock, env, hidden)

    def _addresses(self, token: str) -> dict[str, Any]:
        host, port = self.plan.listen
        url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
        pins = {str(arm): f"{arm}-{token}" for arm in Arm}
        found: dict[str, Any] = {}
        for service in self.plan.routed:
            identity = service.identity and {"header": service.identity.header, "json": service.identity.json}
            found[service.name] = {
                "url": url,
                "host": service.host.replace("*", "onlyvips.local") or "onlyvips.local",
                "health": service.health.path if service.health else "/",
                "pins": pins,
                "identity": identity,
                "admin": self.place.env.get(ADMIN, ""),
            }
        return found

    def _workload(self, service: Service) -> ProcessWorkload | ExternalWorkload:
        if service.process is None:
            return ExternalWorkload(service, self.state, self.lease)
        return ProcessWorkload(service, self.state, self.lease, self.clock, self.place.env)

    # --- small things -----------------------------------------------------------------------------------------------

    def _carry_out(self, release: Release, ports: Ports, on_event: OnEvent) -> Release:
        started = ports.clock.now()
        try:
            Runner(release, ports, lambda event: on_event(event, release)).run()
        except LeaseLost:
            self._after_loss(release, ports)
        finally:
            found = summary.summary(release, started.isoformat(), ports.clock.now().isoformat())
            summary.write(self.place.reports, found)
        return release

    def _after_loss(self, release: Release, ports: Ports) -> None:
        """Somebody else holds the platform: nothing is touched, only looked at for five seconds."""
        end = ports.clock.monotonic() + 5
        while ports.clock.monotonic() < end:
            with contextlib.suppress(ReleaseError):
                if ports.router.read_weight() == 0:
                    break
            ports.clock.sleep(0.2)
        else:
            release.finished = events.Finished(release.phase, 4, "the claim was lost, and users may be on the canary")
            return
        release.finished = events.Finished(release.phase, 3, "the claim was lost; users are on stable")

    @contextlib.contextmanager
    def _held(self, what: str) -> Iterator[None]:
        self.lease.acquire(what)
        try:
            yield
        finally:
            self.lease.release()

    def _broken(self, router: EnvoyRouter) -> bool:
        dead = [i for w in self.workloads.values() for i in w.inspect() if i.arm is Arm.STABLE and not i.alive]
        mine = [i for i in dead if i.pid is not None]
        return bool(mine) or not router.running()

    def _started(self, name: str, plan: ReleasePlan) -> events.Started:
        revisions = {
            s.name: {Arm.STABLE: s.stable.name if s.stable else "", Arm.CANARY: s.canary.name} for s in plan.services
        }
        env = self.place.env
        ci = {
            "ci": env.get("CI_JOB_URL")
            or "/".join(env.get(k, "") for k in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")).strip("/"),
            "commit": env.get("GITHUB_SHA") or env.get("CI_COMMIT_SHA") or "",
        }
        who = {key: str(value) for key, value in {**holder(), **ci}.items()}
        return events.Started(name, plan.target, plan, self.sha256, who, revisions)

    def _smoke(self, release: str, token: str) -> SuiteRun:
        return self._suite("smoke", Arm.STABLE, release, token)

    def _suite(self, name: str, arm: Arm, release: str, token: str) -> SuiteRun:
        suite: Suite = self.plan.smoke if name == "smoke" else self.plan.canary
        request = SuiteRequest(name, suite, arm, 0, self.context(release))
        return self.checks(release, token).start(request)

    def context(self, release: str) -> dict[str, Any]:
        """What a suite may know of the platform as it stands, outside of a release."""
        kept = {name: workload.stable() for name, workload in self.workloads.items()}
        serves = {name: revision.name if revision else "" for name, revision in kept.items()}
        instances = [i for workload in self.workloads.values() for i in workload.inspect()]
        return {"release": release, "step": 0, "services": described(self.plan, serves, instances)}

    def _token(self, release: str) -> str:
        path = self.state / "releases" / release / "token"
        if path.exists():
            return path.read_text()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        token = secrets.token_hex(16)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(token)
        return token

    def _journal(self, release: str) -> Path:
        return self.state / "releases" / release / "journal.jsonl"
