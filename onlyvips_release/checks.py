"""Suites as gates: pytest in a subprocess, the verdict from its event stream, fail-closed (verdict.md sections 3 to 5).

An exit code is no verdict: ten of the 46 known hostile suites exit 0 although something failed or was not proved.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onlyvips_release.model import SuiteResult, Verdict
from onlyvips_release.plan import SEVERITIES, Suite
from onlyvips_release.ports import Clock, SuiteRequest

SILENCE = 60.0
"""Seconds without an event after which a suite is taken for hung."""

LAST_WORDS = 5.0
"""Seconds that a suite has to write its report after a critical failure was acted upon."""

RETRIES = 3
"""So many repeated connections in one suite are a failed check of their own."""

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


# --- pure: events to a verdict ----------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What the events of one run have said so far."""

    suite: Suite
    run: str
    started: bool = False
    blind: list[str] = field(default_factory=list)
    planned: list[str] = field(default_factory=list)
    deselected: int = 0
    collect_errors: list[str] = field(default_factory=list)
    reported: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    workers_down: int = 0
    retries: int = 0
    running: str = ""
    exit: int | None = None

    def feed(self, event: Mapping[str, Any]) -> None:
        """One event; those of another run are none of ours."""
        if event.get("run") != self.run:
            return
        match event["k"]:
            case "start":
                self.started = True
                self.blind += [f"{name} plugin" for name in ("warnings", "threads") if not event.get(name, True)]
            case "collected":
                self.planned = max(self.planned, event["ids"], key=len)
            case "deselected":
                self.deselected += len(event["ids"])
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
        self.retries = max(self.retries, int(event.get("retries", 0)))
        if when == "call" or outcome != "passed":
            self.reported.add(node)
        if outcome == "failed":
            self.failures.append((node, when, event["severity"]))
            self.passed.discard(node)
        elif outcome == "skipped":
            self.skipped.append((node, event["severity"]))
        elif when == "call" and not any(node == failed for failed, _, _ in self.failures):
            self.passed.add(node)

    def counted(self, severity: str) -> bool:
        """Whether a failure of this severity is at or above the gate."""
        return SEVERITIES.index(severity) <= SEVERITIES.index(self.suite.gate)

    def failed(self, *, at_once: bool = False) -> str:
        """The first failure that counts (`at_once`: blocker and critical only), "" = none."""
        for node, when, severity in self.failures:
            if self.counted(severity) and (not at_once or severity in ("blocker", "critical")):
                return f"{node} ({when})"
        if self.retries >= RETRIES:
            return f"{self.retries} connections had to be made again"
        return ""

    def unproved(self, code: int | None, *, late: str = "") -> str:
        """Why this is no PASS, "" = everything was proved."""
        missing = [node for node in self.planned if node not in self.reported]
        absent = [node for node in self.suite.required if not any(same_node(node, p) for p in self.passed)]
        below = [node for node, _, severity in self.failures if not self.counted(severity)]
        counts = f"{len(self.passed)} passed, {len(self.planned)} collected"
        hidden = [node for node, severity in self.skipped if severity in ("blocker", "critical")]
        reasons = (
            (bool(late), late),
            (not self.started, "no event stream: pytest never started"),
            (bool(self.collect_errors), f"collection error in {', '.join(self.collect_errors)}"),
            (self.exit is None, f"died before finish{' in ' + self.running if self.running else ''} (exit {code})"),
            (bool(missing) and bool(self.planned), f"{len(missing)} of {len(self.planned)} planned never reported"),
            (len(self.passed) < self.suite.min_passed, counts),
            (code != 0 and not (code == 1 and below), f"pytest exit {code}"),
            (bool(absent), f"required but not passed: {', '.join(absent)}"),
            (self.workers_down > 0, f"{self.workers_down} workers were lost"),
            (bool(hidden), f"skipped although critical: {', '.join(hidden)}"),
            (self.deselected > 0 and not self.suite.deselect, f"{self.deselected} deselected"),
            (bool(self.blind), f"its event stream lacks what it needs: {' and '.join(self.blind)}"),
        )
        return next((why for holds, why in reasons if holds), "")

    def verdict(self, code: int | None, *, late: str = "") -> tuple[Verdict, str]:
        """Failures first, then proof, else INCONCLUSIVE with its reason."""
        if failure := self.failed():
            return Verdict.FAIL, failure
        if why := self.unproved(code, late=late):
            return Verdict.INCONCLUSIVE, why
        extra = f", {self.deselected} deselected" if self.deselected else ""
        return Verdict.PASS, f"{len(self.passed)} passed of {len(self.planned)}{extra}"


def same_node(wanted: str, node: str) -> bool:
    """A required id may leave out the folders and the parameters."""
    return node == wanted or node.endswith("/" + wanted) or node.split("[", maxsplit=1)[0].endswith(wanted)


# --- running it -------------------------------------------------------------------------------------------------------


class PytestChecks:
    """Port Checks. `static`: what the suites need to reach both arms; `cwd`: where the plan lies."""

    def __init__(
        self, reports: Path, static: Mapping[str, Any], cwd: Path, python: str, clock: Clock, env: Mapping[str, str]
    ) -> None:
        self.reports, self.static, self.cwd = reports, static, cwd
        self.python, self.clock, self.env = python, clock, env

    def start(self, request: SuiteRequest) -> PytestRun:
        """Write what the suite may know, and run it in a session and a folder of its own."""
        folder = self._folder(request)
        context = folder / "context.json"
        known = {**request.context, "suite": request.name, "arm": str(request.arm), "weight": request.weight}
        services = known.get("services", {})
        fixed = self.static.get("services", {})
        known["services"] = {name: {**facts, **fixed.get(name, {})} for name, facts in services.items()}
        descriptor = os.open(context, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(known, file)
        return PytestRun(self, request, folder, context)

    def _folder(self, request: SuiteRequest) -> Path:
        for number in itertools.count(1):
            folder = self.reports / "suites" / f"{number}-{request.name}-{request.arm}-{request.weight}"
            if not any((self.reports / "suites").glob(f"{number}-*")):
                folder.mkdir(parents=True)
                return folder
        raise AssertionError

    def find(self, path: str) -> Path:
        """A suite of the plan's folder; the two that come with the tool are found there too."""
        here = self.cwd / path
        package = Path(__file__).parent
        for candidate in (here, package / "_suites" / path, package.parent / path):
            if candidate.exists():
                return candidate
        return here


class PytestRun:
    """Port SuiteRun: one suite under way."""

    def __init__(self, checks: PytestChecks, request: SuiteRequest, folder: Path, context: Path) -> None:
        self.clock, self.request, self.folder, self.context = checks.clock, request, folder, context
        self.tally = Tally(request.suite, secrets.token_hex(8))
        self.events = folder / "events.jsonl"
        self.position = 0
        path = checks.find(request.suite.path)
        command = [checks.python, "-m", "pytest", *FLAGS, "--rootdir", str(path if path.is_dir() else path.parent)]
        command += ["--release-events", str(self.events), "--release-run", self.tally.run]
        command += ["--junitxml", str(folder / "junit.xml"), "-o", f"cache_dir={folder / 'cache'}", "-q", str(path)]
        env = {**checks.env, "ONLYVIPS_CONTEXT": str(context), "PYTHONDONTWRITEBYTECODE": "1"}
        for leftover in ("ONLYVIPS_TARGET", "ONLYVIPS_STABLE", "ONLYVIPS_REVISION"):
            env.pop(leftover, None)  # of somebody's shell: it would send the suite elsewhere
        with (folder / "output.txt").open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=checks.cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.begun = self.heard = self.clock.monotonic()
        self.result: SuiteResult | None = None

    def poll(self) -> SuiteResult | None:
        """Read what is new; a critical failure is the verdict at once."""
        if self.result:
            return self.result
        code = self.process.poll()
        self._read()
        if failure := self.tally.failed(at_once=True):
            last_words = threading.Timer(LAST_WORDS, self._kill)  # users first: pytest stops by itself meanwhile
            last_words.daemon = True
            last_words.start()
            return self._end(Verdict.FAIL, failure, kill=False)
        if code is not None:
            return self._end(*self.tally.verdict(code))
        now = self.clock.monotonic()
        late = ""
        if now - self.begun > self.request.suite.deadline.total_seconds():
            late = f"deadline of {self.request.suite.deadline} passed"
        elif now - self.heard > SILENCE:
            late = f"no event for {SILENCE:g} s"
        if late:
            self._kill()
            self._read()
            doing = f" in {self.tally.running}" if self.tally.running else ""
            return self._end(*self.tally.verdict(self.process.returncode, late=late + doing))
        return None

    def stop(self) -> None:
        """End it; nobody asks for its verdict any more."""
        self._kill()
        self.context.unlink(missing_ok=True)

    def _read(self) -> None:
        """Whole lines only."""
        with contextlib.suppress(FileNotFoundError), self.events.open("rb") as file:
            file.seek(self.position)
            data = file.read()
            whole = data.rfind(b"\n") + 1
            self.position += whole
            for line in data[:whole].splitlines():
                self.heard = self.clock.monotonic()
                try:
                    self.tally.feed(json.loads(line))
                except (ValueError, KeyError, TypeError, AttributeError):
                    self.tally.blind.append("readable event")

    def _end(self, verdict: Verdict, reason: str, *, kill: bool = True) -> SuiteResult:
        if kill:
            self._kill()
        self.context.unlink(missing_ok=True)
        tally, request = self.tally, self.request
        self.result = SuiteResult(
            request.name,
            request.arm,
            request.weight,
            verdict,
            reason,
            len(tally.passed),
            len(tally.planned),
            tuple(dict.fromkeys(node for node, _, _ in tally.failures)),
            tuple(node for node in tally.planned if node not in tally.reported),
            tally.retries,
            str(self.folder),
        )
        return self.result

    def _kill(self) -> None:
        """SIGINT, SIGTERM, SIGKILL to its group, each with a little time."""
        for number, within in ((signal.SIGINT, 2.0), (signal.SIGTERM, 1.0), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            end = time.monotonic() + within
            while self.process.poll() is None and time.monotonic() < end:
                time.sleep(0.02)
            if self.process.poll() is not None:
                break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
