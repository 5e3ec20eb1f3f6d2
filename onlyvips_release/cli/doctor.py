"""`doctor`: find what stands in the way of a release. It reads; it touches nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import httpx

from onlyvips_release.cli.options import JSON, PLAN, echo_line
from onlyvips_release.core.model import Arm
from onlyvips_release.core.plan import Service, Suite
from onlyvips_release.core.ports import SuiteRequest
from onlyvips_release.environment import Environment, read_environment
from onlyvips_release.errors import ReleaseError
from onlyvips_release.platform import Platform
from onlyvips_release.state.lease import held_by
from onlyvips_release.suites.context import ADMIN, write_context
from onlyvips_release.suites.stream import Collected, read_stream
from onlyvips_release.telemetry.envoy import EnvoySource

OLDEST_PYTEST = 9
SKEW = 5.0
"""Seconds by which the clock of another machine may differ."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: `state` is ok, problem or note; `fix` says what to do about a problem."""

    name: str
    state: str
    text: str
    fix: str = ""


@click.command()
@PLAN
@JSON
def doctor(plan: Path, as_json: bool) -> None:
    """Find what stands in the way of a release of PLAN.

    Nothing is touched. Exit 0, or 6 with a problem; each problem says how to fix it.

    \b
    Examples:
      onlyvips-release doctor release.yaml
      onlyvips-release doctor release.yaml --json
    """
    findings = []
    for finding in examine(plan, read_environment()):
        findings.append(finding)
        if not as_json:
            echo_line(line(finding))
    if as_json:
        echo_line(json.dumps([asdict(finding) for finding in findings], indent=1))
    sys.exit(6 if any(finding.state == "problem" for finding in findings) else 0)


def ok(name: str, text: str) -> Finding:
    """Nothing to do."""
    return Finding(name, "ok", text)


def problem(name: str, text: str, fix: str) -> Finding:
    """A release would be refused, or could not be trusted."""
    return Finding(name, "problem", text, fix)


def examine(path: Path, environment: Environment) -> Iterator[Finding]:
    """Everything, one after the other; a problem does not hide those after it."""
    yield from versions()
    try:
        platform = Platform.load(path, environment)
    except ReleaseError as error:
        yield problem("plan", str(error), error.remedy)
        return
    yield ok("plan", f"{path}: {len(platform.plan.services)} services, {len(platform.plan.steps)} steps")
    for name, suite in (("smoke", platform.plan.smoke), ("canary", platform.plan.canary)):
        yield collected(platform, name, suite)
    for service in platform.plan.services:
        yield from (guarded(f"{service.name}: {what}", look, service, platform) for what, look in LOOKS)
    yield guarded("router", router, platform)
    yield guarded("metrics", metrics, platform)
    yield guarded("lease", lease, platform)
    yield guarded("journal", unfinished, platform)
    yield writable("reports", environment.reports)
    yield writable("state", environment.state)
    here = shutil.which("node") is not None
    yield Finding("Node", "note", "here" if here else "not here: no Allure HTML; our own report needs nothing")
    there = bool(environment.variables.get(ADMIN))
    yield Finding("admin", "note", f"{ADMIN} is set" if there else f"{ADMIN} is not set: an admin's work is not tested")


def guarded(name: str, look: Callable[..., Finding], *words: Any) -> Finding:
    """A look whose error is its finding."""
    try:
        return look(name, *words)
    except (ReleaseError, httpx.HTTPError, OSError) as error:
        fix = error.remedy if isinstance(error, ReleaseError) else "see that it runs, and that its address is right"
        return problem(name, f"{type(error).__name__}: {error}", fix)


def versions() -> Iterator[Finding]:
    """Python, pytest and our plugin."""
    yield ok("Python", sys.version.split()[0])
    pytest = metadata.version("pytest")
    new = int(pytest.split(".")[0]) >= OLDEST_PYTEST
    yield ok("pytest", pytest) if new else problem("pytest", pytest, f"install pytest>={OLDEST_PYTEST}")
    plugins = [point.value for point in metadata.entry_points(group="pytest11")]
    known = "onlyvips_release.pytest_plugin" in plugins
    fix = "install the package (pip install -e .): pytest finds the plugin by its entry point"
    yield ok("plugin", "known to pytest") if known else problem("plugin", "pytest does not know it", fix)


def collected(platform: Platform, name: str, suite: Suite) -> Finding:
    """Whether a suite can be collected, and how many checks of each severity it has."""
    checks = platform.checks("doctor", "0" * 32)
    request = SuiteRequest(name, suite, Arm.CANARY, 0, platform.context("doctor"))
    with tempfile.TemporaryDirectory(prefix="onlyvips-doctor-") as folder:
        context, stream = Path(folder) / "context.json", Path(folder) / "events.jsonl"
        write_context(checks.context(request), context)
        path = checks.find(suite.path)
        command = [checks.python, "-m", "pytest", "-p", "onlyvips_release.pytest_plugin", "--collect-only", "-q"]
        command += ["-p", "no:cacheprovider", "--release-events", str(stream), "-o", "release_guard=false", str(path)]
        env = {**checks.env, "ONLYVIPS_CONTEXT": str(context), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=checks.cwd, env=env, capture_output=True, text=True, timeout=60, check=False)
        collections = [event for event in read_stream(stream) if isinstance(event, Collected)]
    levels = collections[-1].levels if collections else {}
    if done.returncode == 0 and levels:
        return ok(f"suite {name}", ", ".join(f"{number} {level}" for level, number in sorted(levels.items())))
    lines = (done.stdout + done.stderr).strip().splitlines()
    last = lines[-1] if lines else "pytest printed nothing"
    return problem(f"suite {name}", f"{suite.path} cannot be collected: {last}", f"run: pytest --collect-only {path}")


def serving(name: str, service: Service, platform: Platform) -> Finding:
    """Whether stable answers its health request."""
    kept = platform.workload.stable().get(service.name)
    mine = [i for i in platform.workload.inspect() if i.service == service.name]
    instances = [i for i in mine if kept and i.revision == kept.name]
    if not kept or not instances or not all(i.alive for i in instances):
        return problem(name, "does not run", "onlyvips-release up PLAN")
    if not service.routed or service.health is None:
        return ok(name, f"{kept.name} runs")
    for instance in instances:
        if instance.endpoint is None:
            continue
        answer = ask(f"http://{instance.endpoint.host}:{instance.endpoint.port}{service.health.path}")
        if answer.status_code != 200:
            return problem(name, f"health answers {answer.status_code}", "mend stable before anything is released")
        if skewed := skew(answer):
            return problem(name, f"its clock differs by {skewed:.0f} s", "set the clocks by NTP")
    return ok(name, f"{kept.name} is healthy")


def canary(name: str, service: Service, platform: Platform) -> Finding:
    """Whether the canary can be reached or started, and is another revision."""
    kept = platform.workload.stable().get(service.name)
    revision = service.canary
    if kept and (kept.name == revision.name or (kept.command, kept.url) == (revision.command, revision.url)):
        return problem(name, f"{revision.name} is what runs already", "give the plan another canary")
    if revision.url:
        answer = ask(revision.url + (service.health.path if service.health else "/"))
        if answer.status_code != 200:
            return problem(name, f"{revision.url} answers {answer.status_code}", "mend the canary")
        return ok(name, f"{revision.name} answers")
    word = revision.command[0]
    if word != "{python}" and shutil.which(word, path=platform.environment.variables.get("PATH")) is None:
        return problem(name, f"no such program: {word}", "correct the plan's command, or the PATH")
    wanted = service.process.env_from if service.process else ()
    missing = [name for name in wanted if name not in platform.environment.variables]
    if missing:
        return problem(name, f"variables that it needs are not set: {', '.join(missing)}", "set them for this command")
    return ok(name, f"{revision.name} can be started")


LOOKS: tuple[tuple[str, Callable[..., Finding]], ...] = (("stable", serving), ("canary", canary))


def ask(url: str) -> httpx.Response:
    """One request; no redirect is followed."""
    return httpx.get(url, timeout=5, headers={"User-Agent": "onlyvips-release"})


def skew(answer: httpx.Response) -> float:
    """Seconds between the answer's clock and ours, 0 where they agree or nothing is told."""
    told = answer.headers.get("date")
    apart = abs(time.time() - parsedate_to_datetime(told).timestamp()) if told else 0.0
    return apart if apart > SKEW else 0.0


def router(name: str, platform: Platform) -> Finding:
    """Whether it runs, says its weight, and could be given another."""
    found = platform.router()
    if not found.running():
        return problem(name, "does not run", "onlyvips-release up PLAN")
    weight = found.read_weight()
    if not os.access(platform.layout.router, os.W_OK):
        return problem(name, "its folder cannot be written", f"give this user {platform.layout.live}")
    return ok(name, f"weight {weight} %")


def metrics(name: str, platform: Platform) -> Finding:
    """Whether the counters can be read for both arms of every routed service."""
    counters = EnvoySource(platform.layout, platform.plan).sample().arms
    totals = {service: sum(s.good + s.bad for s in arms[Arm.STABLE]) for service, arms in counters.items()}
    if not all(arms[Arm.STABLE] for arms in counters.values()):
        return problem(name, "no series of stable", "onlyvips-release up PLAN")
    silent = sorted(service for service, total in totals.items() if not total)
    note = f"; no user's request yet: {', '.join(silent)}" if silent else ""
    return ok(name, f"{sum(totals.values())} requests counted on stable{note}")


def lease(name: str, platform: Platform) -> Finding:
    """Whether nobody holds the platform."""
    holder = held_by(platform.layout.live)
    return problem(name, f"held: {holder}", "wait for it, or abort it") if holder else ok(name, "free")


def unfinished(name: str, platform: Platform) -> Finding:
    """Whether a release is still open."""
    found = platform.open_release()
    return (
        problem(name, f"{found} is not finished", "onlyvips-release recover PLAN") if found else ok(name, "all ended")
    )


def writable(name: str, folder: Path) -> Finding:
    """Whether a folder can be written, or made."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    fine = os.access(there, os.W_OK)
    return ok(name, str(folder)) if fine else problem(name, f"{folder} cannot be written", f"give this user {there}")


def line(finding: Finding) -> str:
    """A finding as people read it."""
    fix = f"\n        how to fix: {finding.fix}" if finding.fix else ""
    return f"{finding.state:8}{finding.name}: {finding.text}{fix}"
