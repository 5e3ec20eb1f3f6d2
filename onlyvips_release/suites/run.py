"""Suites as gates: pytest in a subprocess, the verdict from its event stream, fail-closed (verdict.md sections 3 to 5).

An exit code is no verdict: ten of the 46 known hostile suites exit 0 although something failed or was not proved. So
the code may only make a verdict worse, and only what the stream proves counts.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onlyvips_release.core.model import SuiteResult, Verdict
from onlyvips_release.core.plan import SEVERITIES, Suite
from onlyvips_release.core.ports import Clock, SuiteRequest
from onlyvips_release.core.suite import Access, SuiteContext
from onlyvips_release.errors import TargetError
from onlyvips_release.suites.context import write_context
from onlyvips_release.suites.secrets import Mask

SILENCE = 60.0
"""Seconds without an event after which a suite is taken for hung."""

LAST_WORDS = 5.0
"""Seconds that a suite has to write its report after a critical failure was acted upon."""

INTERRUPTED, TERMINATED = 2.0, 1.0
"""Seconds that a suite has to end after SIGINT, and then after SIGTERM."""

RETRIES = 3
"""So many repeated connections in one suite are a failed check of their own."""

USAGE = 4
"""pytest's exit code for a command line, a conftest or a marker that cannot be used."""

STOPPING = ("blocker", "critical")
OURS = ("smoke_tests", "canary_checks")
"""The suites that come with the tool."""

FLAGS = (
    "-p",
    "onlyvips_release.pytest_plugin",
    "-p",
    "no:rerunfailures",
    "-W",
    "error::pytest.PytestReturnNotNoneWarning",
    "-W",
    "error::pytest.PytestUnhandledThreadExceptionWarning",
)
ELSEWHERE = ("ONLYVIPS_TARGET", "ONLYVIPS_STABLE", "ONLYVIPS_REVISION")
"""Variables that would point a suite at something else than the release; they stay outside."""


# --- pure: events to a verdict ----------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What the events of one run have said so far."""

    suite: Suite
    run: str
    started: bool = False
    origin: str = ""
    blind: list[str] = field(default_factory=list)
    damaged: int = 0
    planned: list[str] = field(default_factory=list)
    deselected: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    collect_errors: list[str] = field(default_factory=list)
    reported: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    surprising: set[str] = field(default_factory=set)
    attempts: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    workers_down: int = 0
    retries: dict[str, int] = field(default_factory=dict)
    running: str = ""
    exit: int | None = None

    def feed_line(self, line: bytes) -> None:
        """One line of the stream; what is no event of ours was damaged by somebody."""
        try:
            self.feed(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            self.damaged += 1

    def feed(self, event: Mapping[str, Any]) -> None:
        """One event; those of another run are none of ours."""
        if event.get("run") != self.run:
            return
        match event["k"]:
            case "start":
                self.started, self.origin = True, event.get("targets", "")
                self.blind = [name for name in ("warnings", "threads") if not event.get(name)]
            case "collected":
                self.planned = max(self.planned, event["ids"], key=len)
            case "deselected":
                self.deselected |= set(event["ids"])
            case "lost":
                self.lost |= set(event["ids"])
            case "collect_error":
                self.collect_errors.append(event["node"])
            case "worker_down":
                self.workers_down += 1
            case "logstart":
                self.running = event["node"]
            case "report":
                self._report(event)
            case "finish":
                self.exit = event["exit"]
            case _:
                pass

    def _report(self, event: Mapping[str, Any]) -> None:
        node, when, outcome = event["node"], event["when"], event["outcome"]
        self.retries[node] = max(self.retries.get(node, 0), int(event.get("retries", 0)))
        if outcome == "rerun":
            self.attempts[node] = self.attempts.get(node, 1) + 1
            return
        if when == "call" or outcome != "passed":
            self.reported.add(node)
        if outcome == "failed":
            self.failures.append((node, when, event["severity"]))
            self.passed.discard(node)
        elif outcome == "skipped":
            self.skipped.append((node, event["severity"]))
            self.passed.discard(node)
        elif when == "call" and not any(node == failed for failed, _, _ in self.failures):
            self.passed.add(node)
            if event.get("wasxfail"):
                self.surprising.add(node)

    @property
    def repeated(self) -> int:
        """Connections that had to be made again."""
        return sum(self.retries.values())

    def counted(self, severity: str) -> bool:
        """Whether a failure of this severity is at or above the gate; one that nobody knows is."""
        return severity not in SEVERITIES or SEVERITIES.index(severity) <= SEVERITIES.index(self.suite.gate)

    def failed(self, *, at_once: bool = False) -> str:
        """The first failure that counts (`at_once`: blocker and critical only), "" = none."""
        for node, when, severity in self.failures:
            if self.counted(severity) and (not at_once or severity in STOPPING):
                return f"{node} ({when})"
        return f"{self.repeated} connections had to be made again" if self.repeated >= RETRIES else ""

    def unproved(self, code: int | None, *, late: str = "") -> str:
        """Why this is no PASS, "" = everything was proved. `code`: pytest's exit; `late`: which clock ran out."""
        missing = [node for node in self.planned if node not in self.reported]
        absent = [node for node in self.suite.required if not any(same_node(node, p) for p in self.passed)]
        below = any(not self.counted(severity) for _, _, severity in self.failures)
        hidden = [node for node, severity in self.skipped if severity in STOPPING]
        where = f" in {self.running}" if self.running else ""
        reasons = (
            (bool(late), late),
            (not self.started, "no event stream: pytest never started"),
            (self.origin != "context", f"it did not test this release: target by {self.origin or 'nobody'}"),
            (self.damaged > 0, f"{self.damaged} lines of the event stream are damaged"),
            (bool(self.collect_errors), f"collection error in {', '.join(self.collect_errors)}"),
            (self.exit is None, f"died before finish{where} (exit {code})"),
            (bool(missing), f"{len(missing)} of {len(self.planned)} planned never reported"),
            (len(self.passed) < self.suite.min_passed, f"{len(self.passed)} passed, {len(self.planned)} collected"),
            (code != 0 and not (code == 1 and below), f"pytest exit {code}"),
            (bool(absent), f"required but not passed: {', '.join(absent)}"),
            (self.workers_down > 0, f"{self.workers_down} workers were lost"),
            (bool(hidden), f"skipped although critical: {', '.join(hidden)}"),
            (bool(self.lost), f"collected, then dropped without a word: {', '.join(sorted(self.lost))}"),
            (bool(self.deselected) and not self.suite.deselect, f"{len(self.deselected)} deselected"),
            (bool(self.blind), f"pytest ran without its {' and '.join(self.blind)} plugin"),
        )
        return next((why for holds, why in reasons if holds), "")

    def verdict(self, code: int | None, *, late: str = "") -> tuple[Verdict, str]:
        """Failures first, then proof, else INCONCLUSIVE with its reason."""
        if failure := self.failed():
            return Verdict.FAIL, failure
        if why := self.unproved(code, late=late):
            return Verdict.INCONCLUSIVE, why
        return Verdict.PASS, ", ".join([f"{len(self.passed)} passed of {len(self.planned)}", *self.remarks()])

    def remarks(self) -> list[str]:
        """What a reader of a PASS should know."""
        below = ", ".join(f"{severity} {node}" for node, _, severity in self.failures)
        return [
            *([f"{len(self.deselected)} deselected"] if self.deselected else []),
            *([f"failed below the gate: {below}"] if below else []),
            *(f"{node} passed unexpectedly" for node in sorted(self.surprising)),
            *(f"{node}: {number} attempts" for node, number in sorted(self.attempts.items())),
            *([f"{self.repeated} connections made again"] if self.repeated else []),
        ]

    @property
    def names_failed(self) -> tuple[str, ...]:
        """Every test that failed, each once, in order."""
        own = ["connections"] if self.repeated >= RETRIES else []
        return tuple(dict.fromkeys([*(node for node, _, _ in self.failures), *own]))

    @property
    def missing(self) -> tuple[str, ...]:
        """Planned tests that never reported."""
        return tuple(node for node in self.planned if node not in self.reported)


def same_node(wanted: str, node: str) -> bool:
    """Whether a required id means this test. Folders may be left out (or be there too), and so may the parameters."""
    exact = "[" in wanted
    path, _, name = (node if exact else node.split("[", maxsplit=1)[0]).partition("::")
    wanted_path, _, wanted_name = wanted.partition("::") if "::" in wanted else ("", "", wanted)
    fits = ("/" + path).endswith("/" + wanted_path) or ("/" + wanted_path).endswith("/" + path)
    return name == wanted_name and (not wanted_path or fits)


# --- running it -------------------------------------------------------------------------------------------------------


class PytestChecks:
    """Port Checks. `access`: how suites reach each routed service; `cwd`: where the plan lies; `env`: the suites';
    `hidden`: secrets that must be in nothing that a suite leaves, beside those of its context."""

    def __init__(
        self,
        reports: Path,
        access: Mapping[str, Access],
        cwd: Path,
        python: str,
        clock: Clock,
        env: Mapping[str, str],
        hidden: Iterable[str] = (),
    ) -> None:
        self.reports, self.access, self.cwd = reports, access, cwd
        self.python, self.clock, self.env, self.hidden = python, clock, env, tuple(hidden)

    def start(self, request: SuiteRequest) -> PytestRun:
        """Write what the suite may know, and run it in a session and a folder of its own."""
        return PytestRun(self, request, self._folder(request), self.context(request))

    def context(self, request: SuiteRequest) -> SuiteContext:
        """What the suite may know, with the way to reach both arms and what this run is."""
        known = request.context.reached_by(self.access)
        return replace(known, suite=request.name, arm=request.arm, weight=request.weight, gate=request.suite.gate)

    def _folder(self, request: SuiteRequest) -> Path:
        suites = self.reports / "suites"
        number = next(n for n in itertools.count(1) if not any(suites.glob(f"{n}-*")))
        folder = suites / f"{number}-{request.name}-{request.arm}-{request.weight}"
        folder.mkdir(parents=True)
        return folder

    def find(self, path: str) -> Path:
        """A suite of the plan's folder; the two that come with the tool are found there too (wheel, then clone)."""
        here, package = self.cwd / path, Path(__file__).parents[1]
        for candidate in (here, package / "_suites" / path, package.parent / path):
            if candidate.exists() and (candidate is here or path in OURS):
                return candidate
        return here

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
    """Port SuiteRun: one suite under way. `context` holds secrets: a private file, gone when the suite has ended."""

    def __init__(self, checks: PytestChecks, request: SuiteRequest, folder: Path, context: SuiteContext) -> None:
        self.clock, self.request, self.folder = checks.clock, request, folder
        self.tally = Tally(request.suite, secrets.token_hex(8))
        self.mask = Mask([*(s for one in context.services.values() for s in one.secrets), *checks.hidden])
        self.events, self.position = folder / "events.jsonl", 0
        self.scratch = Path(tempfile.mkdtemp(prefix="onlyvips-suite-"))
        known = self.scratch / "context.json"
        write_context(context, known)
        env = {name: value for name, value in checks.env.items() if name not in ELSEWHERE}
        env |= {"ONLYVIPS_CONTEXT": str(known), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = self._spawn(checks.command(request, folder, self.tally.run, self.scratch), checks.cwd, env)
        self.begun = self.heard = self.clock.monotonic()
        self.late, self.late_since = "", 0.0
        self.sent: set[signal.Signals] = set()
        self.ends: list[threading.Thread] = []
        self.result: SuiteResult | None = None

    def poll(self) -> SuiteResult | None:
        """Read what is new; never waits. A critical failure is the verdict at once, all else at the suite's end."""
        if self.result is None:
            self._advance()
        return self.result

    def stop(self) -> None:
        """End it without waiting; nobody asks for its verdict any more."""
        if self.result is None:
            self._conclude(Verdict.INCONCLUSIVE, "stopped: nobody asks any more")
            self._end(0.0)

    def _spawn(self, command: list[str], cwd: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / "output.txt").open("wb") as output:
            try:
                return subprocess.Popen(
                    command,
                    cwd=cwd,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except OSError as error:
                shutil.rmtree(self.scratch, ignore_errors=True)
                raise TargetError(
                    f"cannot start pytest: {error}", remedy="see that its Python and folder exist"
                ) from error

    def _advance(self) -> None:
        code = self.process.poll()
        self._read()
        if failure := self.tally.failed(at_once=True):
            self._conclude(Verdict.FAIL, failure)
            self._end(LAST_WORDS)
        elif code is not None:
            self._clean_up(0.0)
            verdict, reason = self.tally.verdict(code, late=self.late)
            unused = code == USAGE or not self.tally.started
            self._conclude(verdict, self._with_last_line(reason) if unused else reason)
        elif self._overdue():
            self._press()

    def _end(self, grace: float) -> None:
        """Users first. Not a daemon: a command that ends now waits for it, and leaves no suite behind."""
        self.ends.append(threading.Thread(target=self._clean_up, args=(grace,), name="end of a suite"))
        self.ends[-1].start()

    def _overdue(self) -> bool:
        if self.late:
            return True
        now, deadline = self.clock.monotonic(), self.request.suite.deadline.total_seconds()
        doing = f" in {self.tally.running}" if self.tally.running else ""
        if now - self.begun > deadline:
            self.late = f"deadline of {deadline:g} s passed{doing}"
        elif now - self.heard > SILENCE:
            self.late = f"no event for {SILENCE:g} s{doing}"
        self.late_since = now
        return bool(self.late)

    def _press(self) -> None:
        """The signal that is due by now, once. What the suite still reports counts, but can no longer make a PASS."""
        waited = self.clock.monotonic() - self.late_since
        due = signal.SIGINT
        if waited > INTERRUPTED:
            due = signal.SIGTERM if waited <= INTERRUPTED + TERMINATED else signal.SIGKILL
        if due not in self.sent:
            self.sent.add(due)
            signal_group(self.process, due)

    def _read(self) -> None:
        """Whole lines only."""
        with contextlib.suppress(FileNotFoundError), self.events.open("rb") as file:
            file.seek(self.position)
            data = file.read()
            whole = data.rfind(b"\n") + 1
            self.position += whole
            for line in data[:whole].splitlines():
                self.heard = self.clock.monotonic()
                self.tally.feed_line(line)

    def _conclude(self, verdict: Verdict, reason: str) -> None:
        tally, request = self.tally, self.request
        self.result = SuiteResult(
            request.name,
            request.arm,
            request.weight,
            verdict,
            self.mask(reason),
            passed=len(tally.passed),
            planned=len(tally.planned),
            failed=tally.names_failed,
            missing=tally.missing,
            connection_retries=tally.repeated,
            report=str(self.folder),
        )

    def _with_last_line(self, reason: str) -> str:
        """With the last line that pytest printed, which names the broken option, marker or conftest."""
        lines = (self.folder / "output.txt").read_text(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"{reason} ({last[:200]})" if last else reason

    def _clean_up(self, grace: float) -> None:
        """The whole group ends, the secrets go: what is left is a report that anybody may read."""
        end_group(self.process, grace)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.mask.scrub(self.folder)


def end_group(process: subprocess.Popen[bytes], grace: float) -> None:
    """SIGINT, SIGTERM, SIGKILL to its group, each with a little time; then whatever it left behind is killed."""
    for number, within in ((0, grace), (signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)):
        if process.poll() is not None:
            break
        signal_group(process, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(within)
    signal_group(process, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)


def signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """To every process of its group, if there is one left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
