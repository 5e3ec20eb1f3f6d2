"""`doctor`: find what stands in the way of a release. It reads; it touches nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import click

from onlyvips_release.cli.options import JSON, PLAN, echo_line
from onlyvips_release.core.model import Arm
from onlyvips_release.core.plan import Suite
from onlyvips_release.core.ports import SuiteRequest
from onlyvips_release.core.target import Finding, guarded, ok, problem
from onlyvips_release.environment import Environment, read_environment
from onlyvips_release.errors import ReleaseError
from onlyvips_release.platform import Platform
from onlyvips_release.suites.context import ADMIN
from onlyvips_release.suites.stream import Collected, read_stream

OLDEST_PYTEST = 9


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
    yield from platform.target.examine()
    yield guarded("lease", lease, platform)
    yield guarded("journal", unfinished, platform)
    yield writable("reports", environment.reports)
    yield writable("state", environment.state)
    here = shutil.which("node") is not None
    yield Finding("Node", "note", "here" if here else "not here: no Allure HTML; our own report needs nothing")
    there = bool(environment.variables.get(ADMIN))
    yield Finding("admin", "note", f"{ADMIN} is set" if there else f"{ADMIN} is not set: an admin's work is not tested")


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
    checks = platform.parts.checks("doctor", "0" * 32)
    path = checks.find(suite.path)
    request = SuiteRequest(name, suite, Arm.CANARY, 0, platform.parts.context("doctor"))
    with tempfile.TemporaryDirectory(prefix="onlyvips-doctor-") as name_of_folder:
        folder = Path(name_of_folder)
        command = checks.command(request, folder, "doctor", folder)
        command += ["--collect-only", "-o", "release_guard=false"]
        env = checks.environment(checks.context(request), folder)
        done = subprocess.run(command, cwd=checks.cwd, env=env, capture_output=True, text=True, timeout=60, check=False)
        collections = [event for event in read_stream(folder / "events.jsonl") if isinstance(event, Collected)]
    levels = collections[-1].levels if collections else {}
    if done.returncode == 0 and levels:
        return ok(f"suite {name}", ", ".join(f"{number} {level}" for level, number in sorted(levels.items())))
    lines = (done.stdout + done.stderr).strip().splitlines()
    last = lines[-1] if lines else "pytest printed nothing"
    return problem(f"suite {name}", f"{suite.path} cannot be collected: {last}", f"run: pytest --collect-only {path}")


def lease(name: str, platform: Platform) -> Finding:
    """Whether nobody holds the platform."""
    holder = platform.holder()
    return problem(name, f"held: {holder}", "wait for it, or abort it") if holder else ok(name, "free")


def unfinished(name: str, platform: Platform) -> Finding:
    """Whether a release is still open."""
    found, fix = platform.open_release(), "onlyvips-release recover PLAN"
    return problem(name, f"{found} is not finished", fix) if found else ok(name, "all ended")


def writable(name: str, folder: Path) -> Finding:
    """Whether a folder can be written, or made."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    fine = os.access(there, os.W_OK)
    return ok(name, str(folder)) if fine else problem(name, f"{folder} cannot be written", f"give this user {there}")


def line(finding: Finding) -> str:
    """A finding as people read it."""
    fix = f"\n        how to fix: {finding.fix}" if finding.fix else ""
    return f"{finding.state:8}{finding.name}: {finding.text}{fix}"
