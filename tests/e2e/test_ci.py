"""The workflow templates' shell lines, run as the CI systems run them; and what `run` gives to a CI system."""

from __future__ import annotations

import json
import os
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from onlyvips_release.operator import RequestFile
from tests.e2e.rig import ROOT, Rig

pytestmark = pytest.mark.slow
QUICK: dict[str, Any] = {
    "steps": [{"weight": 10, "bake": "2s"}],
    "patience": "0s",
    "watch": "2s",
    "accept": "no_evidence_of_harm",
}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig(("miniapp",)) as made:
        del made.env["ONLYVIPS_REPORTS"]
        made.up()
        made.load(60)
        yield made


def shell(rig: Rig, lines: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    """These lines in one bash, that ends at the first that fails; output and errors together, as a CI log."""
    script = rig.folder / "step.sh"
    script.write_text("\n".join(lines) + "\n")
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
    return subprocess.run(
        command,
        cwd=rig.folder,
        env=rig.env | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


def test_github_workflow_releases_and_shows_what_happened(rig: Rig) -> None:
    rig.write(rig.plan("v2", **QUICK))
    workflow = yaml.safe_load((ROOT / "docs" / "ci" / "github.yml").read_text())
    env = {"GITHUB_ACTIONS": "true"}
    env |= {name: str(rig.folder / name) for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT")}
    told = ""
    for step in workflow["jobs"]["release"]["steps"]:
        if "run" in step:
            done = shell(rig, [step["run"]], **env)
            assert done.returncode == 0, done.stdout
            told += done.stdout
    rig.stable = "v2"
    assert "::group::release\n" in told
    assert "::endgroup::\n" in told
    assert "::error" not in told
    assert "\x1b" not in told
    assert told.rstrip().endswith("nothing is unfinished")
    summary = Path(env["GITHUB_STEP_SUMMARY"]).read_text()
    assert summary.startswith("## Promoted (PASS) r0001\n")
    assert "xychart-beta" in summary
    outputs = dict(line.split("=") for line in Path(env["GITHUB_OUTPUT"]).read_text().splitlines())
    assert outputs["verdict"] == "PASS"
    assert (rig.folder / outputs["report"]).read_text().count("<h1>Promoted</h1>") == 1


def test_gitlab_job_leaves_a_report_and_junit_and_an_old_wish_is_not_obeyed(rig: Rig) -> None:
    rig.write(rig.plan("v3", **QUICK))
    RequestFile(rig.state / "e2e" / "live").ask("abort", "who came too late for the release before")
    job = yaml.safe_load((ROOT / "docs" / "ci" / "gitlab.yml").read_text())["release"]
    for lines in (job["script"], job["after_script"]):
        done = shell(rig, lines)
        assert done.returncode == 0, done.stdout
    rig.stable = "v3"
    found = sorted(rig.folder.glob(job["artifacts"]["reports"]["junit"]))
    assert [path.parent.name for path in found] == ["r0001", "r0002"]
    case = ET.parse(found[-1]).getroot().find("testsuite/testcase")
    assert case is not None
    assert case.get("name") == "Release decision"
    assert case.find("failure") is None


def test_timeout_takes_users_back_and_every_event_is_in_the_stream(rig: Rig) -> None:
    plan = rig.write(rig.plan("v4", **{**QUICK, "steps": [{"weight": 10, "bake": "5m"}]}))
    stream, notices = rig.folder / "events.jsonl", {"GITHUB_ACTIONS": "true"}
    words = ["onlyvips-release", "run", str(plan), "--json", "--timeout", "4s", "--events", str(stream)]
    done = subprocess.run(
        words, cwd=rig.folder, env=rig.env | notices, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3, done.stderr
    found = json.loads(done.stdout)
    assert "aborted by --timeout of 4 s" in found["sentence"]
    assert "::error title=r0003 Rolled back::" in done.stderr
    seen = [json.loads(line) for line in stream.read_text().splitlines()]
    journal = rig.state / "e2e" / "releases" / "r0003" / "journal.jsonl"
    kept = [json.loads(line)["event"] for line in journal.read_text().splitlines()]
    assert [event["event"] for event in seen] == kept
    assert seen[-1]["sentence"] == found["sentence"]
    assert {"t", "phase"} <= set(seen[0])


def test_report_that_cannot_be_written_is_told_and_changes_no_exit_code(rig: Rig) -> None:
    plan = rig.write(
        rig.plan("v5", **{**QUICK, "checks": {"smoke": {"path": "nothing"}, "canary": {"path": "nothing"}}})
    )
    done = subprocess.run(
        ["onlyvips-release", "run", str(plan)],
        cwd=rig.folder,
        env=rig.env | {"ONLYVIPS_REPORTS": str(rig.folder / "elsewhere"), "PYTHONPATH": str(broken(rig.folder))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "the report could not be written: drawn badly" in done.stdout
    assert not (rig.folder / "elsewhere" / "r0004" / "report.html").exists()


def broken(folder: Path) -> Path:
    """A folder that makes every interpreter's chart fail."""
    place = folder / "broken"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        "from onlyvips_release.reporting import chart\n"
        "def svg(story):\n    raise RuntimeError('drawn badly')\n"
        "chart.svg = svg\n"
    )
    assert os.access(place, os.R_OK)
    return place
