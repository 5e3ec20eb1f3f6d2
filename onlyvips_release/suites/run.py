"""Runs a suite as a gate: pytest in a process group of its own, with two clocks; its event stream makes the verdict."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onlyvips_release.clients.process import Process, end, family, send, spawn
from onlyvips_release.core.model import SuiteResult, Verdict
from onlyvips_release.core.ports import Clock, SuiteRequest
from onlyvips_release.core.reasons import SuiteReason
from onlyvips_release.core.suite import Access, SuiteContext
from onlyvips_release.errors import TargetError
from onlyvips_release.state.layout import SUITES
from onlyvips_release.suites.context import write_context
from onlyvips_release.suites.secrets import Mask
from onlyvips_release.suites.tally import Conclusion, Tally, Terms

SILENCE = 60.0
"""Seconds without an event after which a suite is taken for hung."""

REPORT_GRACE = 5.0
"""Seconds left to pytest to write its report after a critical failure."""

INTERRUPT_GRACE, TERMINATE_GRACE = 2.0, 1.0
"""Seconds left to pytest to end after SIGINT, and then after SIGTERM."""

USAGE = 4
"""pytest's exit code for a command line, a conftest or a marker that cannot be used."""

SHIPPED = ("smoke_tests", "canary_checks")
"""The suites that come with the tool."""

FLAGS = (
    *("-p", "onlyvips_release.pytest_plugin", "-p", "no:rerunfailures"),
    *("-W", "error::pytest.PytestReturnNotNoneWarning"),
    *("-W", "error::pytest.PytestUnhandledThreadExceptionWarning"),
)
TARGET_VARIABLES = ("ONLYVIPS_TARGET", "ONLYVIPS_STABLE", "ONLYVIPS_REVISION")
"""Variables that would point a suite at something else than the release: no suite of a release inherits them."""


@dataclass(frozen=True)
class PytestChecks:
    """Port Checks. `access`: how suites reach each routed service; `cwd`: where the plan lies; `env`: the suites';
    `hidden`: secrets that must be in nothing that a suite leaves, beside those of its context."""

    reports: Path
    access: Mapping[str, Access]
    cwd: Path
    python: str
    clock: Clock
    env: Mapping[str, str]
    hidden: Sequence[str] = ()

    def start(self, request: SuiteRequest) -> PytestRun:
        """Write what the suite may know, and run it in a session and a folder of its own."""
        return PytestRun(self, request, self._folder(request), self.context(request))

    def context(self, request: SuiteRequest) -> SuiteContext:
        """What the suite may know, with the way to reach both arms and what this run is."""
        context = request.context.reached_by(self.access)
        return replace(context, suite=request.name, arm=request.arm, weight=request.weight, gate=request.suite.gate)

    def _folder(self, request: SuiteRequest) -> Path:
        suites = self.reports / SUITES
        number = next(n for n in itertools.count(1) if not any(suites.glob(f"{n}-*")))
        folder = suites / f"{number}-{request.name}-{request.arm}-{request.weight}"
        folder.mkdir(parents=True)
        return folder

    def find(self, path: str) -> Path:
        """A suite of the plan's folder; the two that come with the tool may also lie in the wheel or in a clone."""
        here, package = self.cwd / path, Path(__file__).parents[1]
        for candidate in (here, package / "_suites" / path, package.parent / path):
            if candidate.exists() and (candidate is here or path in SHIPPED):
                return candidate
        return here

    def environment(self, context: SuiteContext, scratch: Path) -> dict[str, str]:
        """pytest's variables; they name the context, which is a private file."""
        path = scratch / "context.json"
        write_context(context, path)
        env = {name: value for name, value in self.env.items() if name not in TARGET_VARIABLES}
        return {**env, "ONLYVIPS_CONTEXT": str(path), "PYTHONDONTWRITEBYTECODE": "1"}

    def command(self, request: SuiteRequest, folder: Path, run: str, scratch: Path) -> list[str]:
        """pytest's command line. The cache lies apart, so that a suite's `--lf` finds nothing of an earlier run."""
        path = self.find(request.suite.path)
        base = Path(str(path).partition("::")[0])
        return [
            *(self.python, "-m", "pytest", *FLAGS, "--rootdir", str(base if base.is_dir() else base.parent)),
            *("--release-events", str(folder / "events.jsonl"), "--release-run", run),
            *("--junitxml", str(folder / "junit.xml"), "-o", f"cache_dir={scratch / 'cache'}", "-q", str(path)),
        ]


class PytestRun:
    """Port SuiteRun: one suite under way. `context` holds secrets: a private file, removed when the suite has ended."""

    def __init__(self, checks: PytestChecks, request: SuiteRequest, folder: Path, context: SuiteContext) -> None:
        self.clock, self.request, self.folder = checks.clock, request, folder
        suite = request.suite
        terms = Terms(suite.min_passed, suite.required, suite.gate, suite.deselect)
        self.tally = Tally(terms, secrets.token_hex(8))
        self.mask = Mask([*(s for one in context.services.values() for s in one.secrets), *checks.hidden])
        self.events, self.position = folder / "events.jsonl", 0
        self.scratch = Path(tempfile.mkdtemp(prefix="onlyvips-suite-"))
        env = checks.environment(context, self.scratch)
        self.process = self._spawn(checks.command(request, folder, self.tally.run, self.scratch), checks.cwd, env)
        self.started = Process.of(self.process.pid)
        self.started_at = self.last_event_at = self.clock.monotonic()
        self.late: Conclusion | None = None
        self.late_since = 0.0
        self.sent: set[signal.Signals] = set()
        self.ends: list[threading.Thread] = []
        self.result: SuiteResult | None = None

    def poll(self) -> SuiteResult | None:
        """Read what is new; never waits. A critical failure is the verdict at once, all else at the suite's end."""
        if self.result is None:
            self._advance()
        return self.result

    def stop(self) -> None:
        """End it without waiting; its verdict is not needed any more."""
        if self.result is None:
            words = "stopped: its verdict was not needed any more"
            self._conclude(Conclusion(Verdict.INCONCLUSIVE, SuiteReason.STOPPED, words))
            self._end(0.0)

    def _spawn(self, command: list[str], cwd: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / "output.txt").open("wb") as output:
            try:
                return spawn(command, cwd=cwd, env=env, stdout=output, stderr=output)
            except OSError as error:
                shutil.rmtree(self.scratch, ignore_errors=True)
                remedy = "see that its Python and folder exist"
                raise TargetError(f"cannot start pytest: {error}", remedy=remedy) from error

    def _advance(self) -> None:
        code = self.process.poll()
        self._read()
        if failure := self.tally.failure(at_once=True):
            self._conclude(failure)
            self._end(REPORT_GRACE)
        elif code is not None:
            self._clean_up(0.0)
            conclusion = self.tally.conclude(code, self.late)
            unused = code == USAGE or not self.tally.started
            self._conclude(self._with_last_line(conclusion) if unused else conclusion)
        elif self._overdue():
            self._signal_when_due()

    def _end(self, grace: float) -> None:
        """Stop the suite in the background, so that a rollback need not wait. The thread is not a daemon: the process
        waits for it at exit."""
        self.ends.append(threading.Thread(target=self._clean_up, args=(grace,), name="end of a suite"))
        self.ends[-1].start()

    def _overdue(self) -> bool:
        if self.late:
            return True
        now, deadline = self.clock.monotonic(), self.request.suite.deadline.total_seconds()
        where = f" in {self.tally.running}" if self.tally.running else ""
        if now - self.started_at > deadline:
            words = f"deadline of {deadline:g} s passed{where}"
            self.late = Conclusion(Verdict.INCONCLUSIVE, SuiteReason.DEADLINE, words)
        elif now - self.last_event_at > SILENCE:
            words = f"no event for {SILENCE:g} s{where}"
            self.late = Conclusion(Verdict.INCONCLUSIVE, SuiteReason.SILENCE, words)
        self.late_since = now
        return self.late is not None

    def _signal_when_due(self) -> None:
        """The signal that is due by now, once. What the suite still reports counts, but can no longer make a PASS."""
        waited = self.clock.monotonic() - self.late_since
        due = signal.SIGINT
        if waited > INTERRUPT_GRACE:
            due = signal.SIGTERM if waited <= INTERRUPT_GRACE + TERMINATE_GRACE else signal.SIGKILL
        if due not in self.sent:
            self.sent.add(due)
            send(family(self.started), due)

    def _read(self) -> None:
        """Whole lines only."""
        with contextlib.suppress(FileNotFoundError), self.events.open("rb") as file:
            file.seek(self.position)
            data = file.read()
            whole = data.rfind(b"\n") + 1
            self.position += whole
            for line in data[:whole].splitlines():
                self.last_event_at = self.clock.monotonic()
                self.tally.feed_line(line)

    def _conclude(self, conclusion: Conclusion) -> None:
        tally, request = self.tally, self.request
        self.result = SuiteResult(
            request.name,
            request.arm,
            request.weight,
            conclusion.verdict,
            self.mask(conclusion.reason),
            passed=len(tally.passed),
            planned=len(tally.planned),
            failed=tally.names_failed,
            missing=tally.missing,
            connection_retries=tally.repeated,
            report=str(self.folder),
            kind=conclusion.kind,
        )

    def _with_last_line(self, conclusion: Conclusion) -> Conclusion:
        """With the last line that pytest printed, which names the broken option, marker or conftest."""
        lines = (self.folder / "output.txt").read_text(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return conclusion._replace(reason=f"{conclusion.reason} ({last[:200]})") if last else conclusion

    def _clean_up(self, grace: float) -> None:
        """All that it started ends, the secrets go: what is left is a report that anybody may read."""
        ladder = ((0, grace), (signal.SIGINT, INTERRUPT_GRACE), (signal.SIGTERM, TERMINATE_GRACE))
        end(self.started, ladder if self.process.poll() is None else (), whole=False)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.mask.scrub(self.folder)
