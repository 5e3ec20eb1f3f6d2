"""Suites that others write: the example, and what `init` begins with."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from onlyvips_release.cli.app import main
from onlyvips_release.cli.init import FILES
from onlyvips_release.core.model import Verdict
from onlyvips_release.planfile import load
from onlyvips_release.sandbox.demo import free_ports
from tests.suites.mutations import ROOT
from tests.suites.test_suites import ready
from tests.testing.suite_box import Box, box, instead, own_environment
from tests.testing.suite_rig import ended, started

EXAMPLE = ROOT / "examples" / "own_checks"


@pytest.fixture
def platform() -> Iterator[Box]:
    """A sound one."""
    with tempfile.TemporaryDirectory(prefix="onlyvips-box-") as folder, box(Path(folder)) as found:
        yield found


@pytest.mark.slow
def test_example_uses_every_fixture_and_passes_in_a_release(platform: Box, tmp_path: Path) -> None:
    text = (EXAMPLE / "test_own.py").read_text()
    for fixture in ("release:", "service:", "api:", "stable_api:", "metrics:", "left_behind:"):
        assert fixture in text
    counted = {"miniapp": {"errors": {"canary": [0, 90], "stable": [1, 900]}}}
    known = {**platform.context(), "metrics": counted}
    result = ended(started(EXAMPLE, tmp_path, context=known))
    assert (result.verdict, result.passed) == (Verdict.PASS, 11), result


@pytest.mark.slow
def test_example_finds_what_it_is_written_for(platform: Box, tmp_path: Path) -> None:
    platform.wrap["miniapp", "canary"] = instead("/", 200, "x" * 5000, "text/html")
    counted = {"miniapp": {"errors": {"canary": [7, 90], "stable": [1, 900]}}}
    result = ended(started(EXAMPLE, tmp_path, context={**platform.context(), "metrics": counted}))
    assert result.verdict is Verdict.FAIL
    assert [node.rpartition("::")[2] for node in result.failed] == [
        "test_page_has_not_grown[miniapp]",
        "test_no_error_was_counted[miniapp]",
    ]


@pytest.mark.slow
def test_example_runs_against_a_bare_url(platform: Box) -> None:
    target = f"--release-target=miniapp=http://127.0.0.1:{platform.ports['miniapp']}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE), target]
    done = subprocess.run(
        command, cwd=ROOT, env=own_environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
    assert done.stdout.count("not tested: needs") == 2
    assert "left behind: miniapp: an example, of nothing" in done.stdout


def test_init_writes_a_plan_that_loads_and_never_overwrites(tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["init", str(tmp_path / "shop")])
    assert told.exit_code == 0, told.output
    plan, _ = load(tmp_path / "shop" / "release.yaml")
    assert (plan.platform, [service.name for service in plan.services]) == ("shop", ["web"])
    assert {str(path.relative_to(tmp_path / "shop")) for path in (tmp_path / "shop").rglob("*.*")} == set(FILES)
    first = (tmp_path / "shop" / "release.yaml").read_text().splitlines()[0]
    schema = json.loads((tmp_path / "shop" / first.rpartition("$schema=")[2]).read_text())
    assert {"services", "steps", "judge"} <= set(schema["properties"])
    (tmp_path / "shop" / "release.yaml").write_text("mine")
    again = CliRunner().invoke(main, ["init", str(tmp_path / "shop")])
    assert again.exit_code == 6
    assert "release.yaml" in again.output
    assert (tmp_path / "shop" / "release.yaml").read_text() == "mine"


@pytest.mark.slow
def test_starter_suite_passes_and_its_guard_is_on(tmp_path: Path) -> None:
    CliRunner().invoke(main, ["init", str(tmp_path)])
    (port,) = free_ports(["web"]).values()
    words = ["-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path / "v2")]
    server = subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL)
    try:
        ready(f"http://127.0.0.1:{port}/")
        command = [sys.executable, "-m", "pytest", "-q", "test_smoke.py"]
        command += [f"--release-target=web=http://127.0.0.1:{port}", "-p", "no:cacheprovider"]
        outcomes = []
        for more in ([], ["--setup-plan"]):
            done = subprocess.run(
                [*command, *more], cwd=tmp_path / "checks", env=own_environment(), capture_output=True, text=True,
                timeout=60, check=False,
            )  # fmt: skip
            outcomes.append((done.returncode, "2 passed" in done.stdout, "release guard" in done.stdout))
        assert outcomes == [(0, True, False), (1, False, True)]
    finally:
        server.kill()
        server.wait()
